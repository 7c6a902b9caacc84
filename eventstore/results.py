"""Results of steps, kept for other steps. Losing all of them loses nothing but time.

Comes from: daemon/runtime/result_cache. Goes to: `memory_results`, `sql_results`, and backends outside of the store.
"""

from __future__ import annotations

from datetime import datetime
from typing import TYPE_CHECKING, Protocol
from uuid import UUID

from msgspec import Struct

if TYPE_CHECKING:
    from collections.abc import Sequence


class Result(Struct, frozen=True, kw_only=True):
    """What one step gave, encoded by the caller."""

    cache: str
    """Name of the cache."""
    key: str
    """Unique inside it."""
    value: bytes
    workflow: str
    execution_id: UUID
    address: str
    """Of the step, which may be one of another workflow than the one that asks."""
    stored_at: datetime
    expires_at: datetime


class Claim(Struct, frozen=True, kw_only=True):
    """The right to make a result, while others wait for it."""

    cache: str
    key: str
    workflow: str
    by: UUID
    expires_at: datetime


class Kept(Struct, frozen=True, kw_only=True):
    """A result as lists show it."""

    cache: str
    key: str
    bytes: int
    workflow: str
    execution_id: UUID
    address: str
    stored_at: datetime
    expires_at: datetime


class Found(Struct, frozen=True):
    """What there is under a key."""

    result: Result | None
    """None when there is none, or it has expired."""
    claimed_by: UUID | None
    """Who makes it now; None when nobody does, or the claim has expired."""


NOTHING = Found(None, None)


class Which(Struct, frozen=True, kw_only=True):
    """Some of the results; absent fields do not restrict."""

    cache: str | None = None
    key: str | None = None
    workflow: str | None = None


class Results(Protocol):
    """Where results are kept. Times are given by the caller; daemons of one store agree on them.

    A result is stored by whoever has the claim on its key, and by nobody else: so what was cleared while it was made
    does not come back. Every call raises Unavailable when the backend does not answer, and may be repeated.
    """

    async def find(self, cache: str, key: str, *, now: datetime) -> Found:
        """Return the result, if it has not expired, and who makes it."""

    async def claim(self, claim: Claim, *, now: datetime) -> bool:
        """Claim the making of a result; False when there is one, or another has the claim. One's own is taken anew."""

    async def extend(self, claim: Claim) -> bool:
        """Let the claim last longer; False when it is lost."""

    async def release(self, cache: str, key: str, *, by: UUID) -> None:
        """Give the claim up, if one has it."""

    async def put(self, result: Result, *, by: UUID) -> bool:
        """Store the result and give the claim up; False, and nothing is stored, when the claim is lost."""

    async def kept(self, which: Which, *, now: datetime, limit: int, after: tuple[str, str] | None) -> Sequence[Kept]:
        """Return results that have not expired, by cache and key, those after this `(cache, key)`."""

    async def clear(self, which: Which) -> int:
        """Drop results, and the claims on them; return how many results there were."""

    async def prune(self, *, now: datetime) -> int:
        """Drop what has expired; return how many rows that were. Backends that do so by themselves return 0."""

    async def close(self) -> None:
        """Free connections of its own."""
