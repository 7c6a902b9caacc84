"""Results in memory, the least recently used dropped first when there are too many.

Comes from: `store`, daemon/main.
"""

from __future__ import annotations

from collections import OrderedDict
from typing import TYPE_CHECKING

from eventstore.results import NOTHING, Claim, Found, Kept, Result

if TYPE_CHECKING:
    from collections.abc import Collection, Sequence
    from datetime import datetime
    from uuid import UUID

    from eventstore.results import Which

MAX_BYTES = 64 * 2**20


class MemoryResults:
    """`results.Results` in a dict; of one process."""

    def __init__(self, *, max_bytes: int = MAX_BYTES) -> None:
        """`max_bytes` bounds the values; one that is larger by itself is not kept."""
        self._max_bytes = max_bytes
        self._bytes = 0
        self._rows: OrderedDict[tuple[str, str], Result | Claim] = OrderedDict()

    async def find(self, cache: str, key: str, *, now: datetime) -> Found:
        """See `results.Results`."""
        match self._fresh((cache, key), now):
            case Result() as result:
                self._rows.move_to_end((cache, key))
                return Found(result, None)
            case Claim(by=by):
                return Found(None, by)
            case _:
                return NOTHING

    async def claim(self, claim: Claim, *, now: datetime) -> bool:
        """See `results.Results`."""
        place = claim.cache, claim.key
        there = self._fresh(place, now)
        if there is not None and not (isinstance(there, Claim) and there.by == claim.by):
            return False
        self._put(place, claim)
        return True

    async def extend(self, claim: Claim) -> bool:
        """See `results.Results`."""
        place = claim.cache, claim.key
        if not self._claimed(place, claim.by):
            return False
        self._put(place, claim)
        return True

    async def release(self, cache: str, key: str, *, by: UUID) -> None:
        """See `results.Results`."""
        if self._claimed((cache, key), by):
            self._drop((cache, key))

    async def put(self, result: Result, *, by: UUID) -> bool:
        """See `results.Results`."""
        place = result.cache, result.key
        if not self._claimed(place, by):
            return False
        self._put(place, result)
        while self._bytes > self._max_bytes:
            oldest = next(place for place, row in self._rows.items() if isinstance(row, Result))
            self._drop(oldest)
        return place in self._rows

    async def kept(self, which: Which, *, now: datetime, limit: int, after: tuple[str, str] | None) -> Sequence[Kept]:
        """See `results.Results`."""
        places = sorted(place for place in self._matching(which) if after is None or place > after)
        fresh = [row for place in places if isinstance(row := self._fresh(place, now), Result)]
        return [_kept(result) for result in fresh[:limit]]

    async def clear(self, which: Which) -> int:
        """See `results.Results`."""
        dropped = [self._drop(place) for place in self._matching(which)]
        return sum(isinstance(row, Result) for row in dropped)

    async def prune(self, *, now: datetime) -> int:
        """See `results.Results`."""
        expired = [place for place in self._rows if self._fresh(place, now) is None]
        for place in expired:
            self._drop(place)
        return len(expired)

    async def close(self) -> None:
        """Nothing to do."""

    def count_of(self, executions: Collection[UUID]) -> int:
        """Return how many results there are that steps of these executions gave."""
        return len(self._places_of(executions))

    def drop_of(self, executions: Collection[UUID]) -> None:
        """Drop what steps of these executions gave."""
        for place in self._places_of(executions):
            self._drop(place)

    def _places_of(self, executions: Collection[UUID]) -> list[tuple[str, str]]:
        return [
            place for place, row in self._rows.items() if isinstance(row, Result) and row.execution_id in executions
        ]

    def _fresh(self, place: tuple[str, str], now: datetime) -> Result | Claim | None:
        row = self._rows.get(place)
        return row if row is not None and row.expires_at > now else None

    def _claimed(self, place: tuple[str, str], by: UUID) -> bool:
        row = self._rows.get(place)
        return isinstance(row, Claim) and row.by == by

    def _matching(self, which: Which) -> list[tuple[str, str]]:
        return [
            (cache, key)
            for (cache, key), row in self._rows.items()
            if which.cache in {None, cache} and which.key in {None, key} and which.workflow in {None, row.workflow}
        ]

    def _put(self, place: tuple[str, str], row: Result | Claim) -> None:
        self._drop(place)
        self._rows[place] = row
        self._bytes += len(row.value) if isinstance(row, Result) else 0

    def _drop(self, place: tuple[str, str]) -> Result | Claim | None:
        row = self._rows.pop(place, None)
        self._bytes -= len(row.value) if isinstance(row, Result) else 0
        return row


def _kept(result: Result) -> Kept:
    return Kept(
        cache=result.cache,
        key=result.key,
        bytes=len(result.value),
        workflow=result.workflow,
        execution_id=result.execution_id,
        address=result.address,
        stored_at=result.stored_at,
        expires_at=result.expires_at,
    )
