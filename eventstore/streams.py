"""Chunks of streams, beside the log: what steps give out while they are at work.

A stream belongs to a step. Each time that a handler begins to stream it is a new *run*; the chunks of the runs before
are dropped, and whoever still writes for one of them is refused. Chunks are numbered from 1 in each run.

Comes from: daemon/runtime/streams. Goes to: `memory_streams`, `sql_streams`.
"""

from __future__ import annotations

from datetime import datetime
from typing import TYPE_CHECKING, Protocol
from uuid import UUID

from msgspec import Struct

if TYPE_CHECKING:
    from collections.abc import Sequence


class StreamId(Struct, frozen=True):
    """Whose stream."""

    execution_id: UUID
    address: str
    """Of the step."""


class Run(Struct, frozen=True, kw_only=True):
    """The newest run of a stream."""

    number: int
    """Counts from 1."""
    attempt: int
    """Of the step."""
    chunks: int = 0
    bytes: int = 0
    began_at: datetime
    ended_at: datetime | None = None


class Batch(Struct, frozen=True):
    """Chunks `first` to `last`, encoded by the caller as one."""

    first: int
    last: int
    data: bytes


class Streams(Protocol):
    """Where chunks are kept. Every call raises Unavailable when the store does not answer, and may be repeated."""

    async def begin(self, stream: StreamId, *, attempt: int, at: datetime) -> int:
        """Begin the next run, and drop the chunks of those before; return its number."""

    async def add(self, stream: StreamId, run: int, batch: Batch, *, bytes_so_far: int) -> bool:
        """Add a batch, which follows the one before; False when another run has begun. Twice is as good as once."""

    async def end(self, stream: StreamId, run: int, *, at: datetime) -> None:
        """Note that nothing follows: its chunks may go some time later. Another run leaves it alone."""

    async def newest(self, stream: StreamId) -> Run | None:
        """Return the newest run; None when there is none, or it was dropped."""

    async def read(self, stream: StreamId, run: int, *, after: int, limit: int) -> Sequence[Batch]:
        """Return at most `limit` batches that have chunks after this number, in order."""

    async def prune(self, *, ended_before: datetime) -> int:
        """Drop streams that ended before, and those of executions that did; return how many."""

    async def oldest_end(self) -> datetime | None:
        """Return when the stream ended that ended first, of those that are there."""
