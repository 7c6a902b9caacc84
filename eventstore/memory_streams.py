"""Chunks in memory: for tests and trials.

Comes from: `store`.
"""

from __future__ import annotations

from bisect import bisect_right
from typing import TYPE_CHECKING

from msgspec.structs import replace

from eventstore.streams import Run

if TYPE_CHECKING:
    from collections.abc import Collection, Sequence
    from datetime import datetime
    from uuid import UUID

    from eventstore.memory import MemoryIndex
    from eventstore.streams import Batch, StreamId


class MemoryStreams:
    """`streams.Streams` in dicts."""

    def __init__(self, index: MemoryIndex) -> None:
        self._index = index
        self._runs: dict[StreamId, Run] = {}
        self._batches: dict[StreamId, list[Batch]] = {}

    async def begin(self, stream: StreamId, *, attempt: int, at: datetime) -> int:
        """See `streams.Streams`."""
        before = self._runs.get(stream)
        number = before.number + 1 if before is not None else 1
        self._runs[stream] = Run(number=number, attempt=attempt, began_at=at)
        self._batches[stream] = []
        return number

    async def add(self, stream: StreamId, run: int, batch: Batch, *, bytes_so_far: int) -> bool:
        """See `streams.Streams`."""
        newest = self._runs.get(stream)
        if newest is None or newest.number != run:
            return False
        if batch.last > newest.chunks:
            self._batches[stream].append(batch)
            self._runs[stream] = replace(newest, chunks=batch.last, bytes=bytes_so_far)
        return True

    async def end(self, stream: StreamId, run: int, *, at: datetime) -> None:
        """See `streams.Streams`."""
        newest = self._runs.get(stream)
        if newest is not None and newest.number == run:
            self._runs[stream] = replace(newest, ended_at=at)

    async def newest(self, stream: StreamId) -> Run | None:
        """See `streams.Streams`."""
        return self._runs.get(stream)

    async def read(self, stream: StreamId, run: int, *, after: int, limit: int) -> Sequence[Batch]:
        """See `streams.Streams`."""
        newest = self._runs.get(stream)
        if newest is None or newest.number != run:
            return []
        batches = self._batches[stream]
        first = bisect_right(batches, after, key=lambda batch: batch.last)
        return batches[first : first + limit]

    async def prune(self, *, ended_before: datetime) -> int:
        """See `streams.Streams`."""
        over = [stream for stream, run in self._runs.items() if await self._over(stream, run, ended_before)]
        for stream in over:
            del self._runs[stream], self._batches[stream]
        return len(over)

    def drop(self, execution_id: UUID) -> None:
        """Drop all of an execution."""
        for stream in [stream for stream in self._runs if stream.execution_id == execution_id]:
            del self._runs[stream], self._batches[stream]

    async def oldest_end(self) -> datetime | None:
        """See `streams.Streams`."""
        return min((run.ended_at for run in self._runs.values() if run.ended_at is not None), default=None)

    def drop_of(self, executions: Collection[UUID]) -> None:
        """Drop all streams of these executions."""
        for stream in [stream for stream in self._runs if stream.execution_id in executions]:
            del self._runs[stream], self._batches[stream]

    async def _over(self, stream: StreamId, run: Run, ended_before: datetime) -> bool:
        row = await self._index.execution(stream.execution_id)
        ends = (run.ended_at, row.finished_at if row is not None else None)
        return any(end is not None and end < ended_before for end in ends)
