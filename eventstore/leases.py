"""The port of the leases: which daemons live, and which of them works on which execution.

A lease is a row for each execution with a handler owed (`index.IndexChange.busy`). A daemon joins under a new id each
time it starts, beats while it lives, and is *fenced* by others once it is dead: its row goes, and from then on the log
refuses whatever it sends. Its leases are then *orphans*, free for all, as those are that a tool made. A lease saves
work done twice, no more; what keeps two daemons from extending one execution is the version (`log.EventLog.insert`).

All times are the database's. Every implementation passes `tests/contract/test_leases.py`.

Comes from: daemon/runtime. Goes to: `memory_leases`, `sqlite_leases`, `postgres_leases`.
"""

from __future__ import annotations

import asyncio
from collections import defaultdict
from contextlib import contextmanager
from datetime import datetime
from typing import TYPE_CHECKING, Protocol
from uuid import UUID

from msgspec import Struct

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence
    from contextlib import AbstractAsyncContextManager
    from datetime import timedelta


class Member(Struct, frozen=True):
    """A daemon that has joined and was not fenced."""

    id: UUID
    name: str
    joined_at: datetime
    beat_at: datetime
    """When it last said that it lives; from `beat`, its own is the database's time of that moment."""


class Leases(Protocol):
    """Who works on what. Safe for use by many tasks of one event loop.

    Raises Unavailable when the store does not answer; the call may then have been carried out, and may be repeated.
    """

    async def join(self, daemon_id: UUID, name: str, *, ttl: timedelta) -> None:
        """Become a member, under an id never used before. Without a beat for `ttl` others may fence it.

        Raises Unusable where the store is for one daemon at a time and has one (SQLite); otherwise joining there fences
        those before.
        """

    async def beat(self, daemon_id: UUID) -> Sequence[Member]:
        """Say that it lives; return all members, those who joined first, first. Raises Fenced when it is none."""

    async def fence_dead(self, *, asker: UUID | None = None) -> Sequence[Member]:
        """Fence the members that are dead, but for the one that asks; return them. Their leases are orphans now.

        Dead is who has not beaten for its `ttl`, and, where the store can see it (Postgres), whose process is gone.
        """

    async def claim(self, daemon_id: UUID, *, limit: int) -> Sequence[UUID]:
        """Take up to `limit` orphans and return them; none goes to two daemons. Raises Fenced."""

    async def take(self, daemon_id: UUID, execution_id: UUID) -> bool:
        """Take one lease, an orphan or its own; False when another member has it or there is none. Raises Fenced."""

    async def held(self, daemon_id: UUID) -> Sequence[UUID]:
        """Return all executions whose lease it has."""

    async def drop(self, daemon_id: UUID, execution_id: UUID, *, ended_at: datetime) -> None:
        """Delete a lease that it has, of an execution that has ended then and was not taken up again since.

        Harmless when there is none.
        """

    async def hint(self, execution_id: UUID) -> bool:
        """Ask the holder to look at the execution; False when no member has the lease."""

    async def hinted(self, daemon_id: UUID) -> Sequence[UUID]:
        """Return those of its executions that it was asked to look at, and forget that."""

    async def counts(self) -> Mapping[UUID | None, int]:
        """Return the number of leases by the daemon they were last given to, be it a member or not."""

    async def members(self) -> Sequence[Member]:
        """Return all members, those who joined first, first."""

    async def holder(self, execution_id: UUID) -> Member | None:
        """Return the member that has the lease; None for an orphan, and for an execution without a lease."""

    async def leave(self, daemon_id: UUID) -> None:
        """Cease to be a member, as if fenced; harmless when it is none."""

    def news(self, daemon_id: UUID) -> AbstractAsyncContextManager[asyncio.Event]:
        """Give an event that is set when it may have been hinted at, or there may be orphans, until left.

        A hint only: `hinted` and `claim` are the proof, to be asked now and then without it.
        """


class News:
    """Who is to be woken inside this process."""

    def __init__(self) -> None:
        self._events: defaultdict[UUID, set[asyncio.Event]] = defaultdict(set)

    @contextmanager
    def of(self, daemon_id: UUID) -> Iterator[asyncio.Event]:
        """Give an event for one daemon, until left."""
        event = asyncio.Event()
        self._events[daemon_id].add(event)
        try:
            yield event
        finally:
            self._events[daemon_id].discard(event)
            if not self._events[daemon_id]:
                del self._events[daemon_id]

    def wake(self, daemon_id: UUID) -> None:
        """Wake one daemon, if it is here."""
        for event in self._events.get(daemon_id, ()):
            event.set()

    def wake_all(self) -> None:
        """Wake all that are here."""
        for events in self._events.values():
            for event in events:
                event.set()
