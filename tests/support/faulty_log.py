"""A log that fails where a test wants it to. It wraps a real one; the product has no hooks for it."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Literal

from eventstore.errors import Unavailable

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from uuid import UUID

    from eventstore.log import Append, EventLog, Recorded
    from eventstore.store import Store

Where = Literal["before", "after"]


class Crash(Exception):
    """The process dies here."""


@dataclass
class Fault:
    """Which insert fails, and how.

    `at` counts inserts from 1. `before` fails with nothing written, `after` with everything written and no answer.
    `crash` ends the daemon; otherwise the store is said to be unavailable, for this one insert.
    """

    at: int
    where: Where
    crash: bool
    inserts: int = 0


class FaultyLog:
    """Passes everything on, but for one insert."""

    def __init__(self, inner: EventLog, fault: Fault) -> None:
        self._inner = inner
        self._fault = fault

    async def insert(self, batch: Sequence[Append]) -> None:
        """Insert, or fail as planned."""
        fault = self._fault
        fault.inserts += 1
        hit = fault.inserts == fault.at
        if not hit or fault.where == "after":
            await self._inner.insert(batch)
        if hit:
            raise Crash(fault) if fault.crash else Unavailable(f"planned: {fault}")

    async def read(
        self, execution_id: UUID, *, after_version: int = 0, up_to_version: int | None = None
    ) -> Sequence[Recorded]:
        """Pass on."""
        return await self._inner.read(execution_id, after_version=after_version, up_to_version=up_to_version)

    async def read_many(self, execution_ids: Sequence[UUID], *, limit: int) -> Mapping[UUID, Sequence[Recorded]]:
        """Pass on."""
        return await self._inner.read_many(execution_ids, limit=limit)

    async def read_all(self, *, after_position: int = 0, limit: int = 1000) -> Sequence[Recorded]:
        """Pass on."""
        return await self._inner.read_all(after_position=after_position, limit=limit)

    async def head(self) -> int:
        """Pass on."""
        return await self._inner.head()


def faulty(store: Store, fault: Fault) -> Store:
    """Return the store with a log that fails as planned."""
    return replace(store, log=FaultyLog(store.log, fault))
