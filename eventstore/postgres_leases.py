"""The leases in Postgres: who lives, who has what, and for each daemon a session that ends with its process.

The session holds a lock that nobody waits for: where it is gone, so is the process. It listens for hints and departures
too. All else is one statement each. What recovery asks has a connection of its own, and the beats another: nothing
slow delays the one, and no lock the other.

Comes from: `store`. Goes to: `postgres_database`, with the functions of `sql/postgres/0002_leases.sql`.
"""

from __future__ import annotations

import asyncio
from contextlib import aclosing, asynccontextmanager
from typing import TYPE_CHECKING
from uuid import UUID

from eventstore.errors import Fenced, Unavailable
from eventstore.leases import Member, News
from eventstore.queries import statements

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Mapping, Sequence
    from datetime import datetime, timedelta
    from typing import Any

    from eventstore.postgres_database import PostgresDatabase

SQL = {**statements("queries.sql"), **statements("postgres/append.sql")}
FIRST_SESSION_S = 10.0
"""How long `join` waits for its session."""
SESSION_PAUSE_S = 0.5
"""Pause before the next session, where the last one could not be had or ended as soon."""


class PostgresLeases:
    """`leases.Leases` on one database."""

    def __init__(self, database: PostgresDatabase) -> None:
        self._database = database
        self._news = News()
        self._sessions: dict[UUID, asyncio.Task[None]] = {}
        database.before_close(self._end_sessions)

    async def join(self, daemon_id: UUID, name: str, *, ttl: timedelta) -> None:
        """See `leases.Leases`."""
        begun = asyncio.Event()
        session = asyncio.create_task(self._session(daemon_id, begun), name="eventstore-session")
        self._sessions[daemon_id] = session
        try:
            async with asyncio.timeout(FIRST_SESSION_S):
                await begun.wait()
            await self._apart("join", daemon_id, name, ttl)
        except BaseException as error:
            await self._end_session(daemon_id)
            if isinstance(error, TimeoutError):
                raise Unavailable("no session for the leases") from error
            raise

    async def beat(self, daemon_id: UUID) -> Sequence[Member]:
        """See `leases.Leases`."""
        session = self._sessions.get(daemon_id)
        if session is not None and session.done():
            session.result()
        rows = await self._apart("beat", daemon_id)
        if not rows or not rows[0][4]:
            await self._end_session(daemon_id)
            raise Fenced([daemon_id])
        return [self._member(row) for row in rows]

    async def fence_dead(self, *, asker: UUID | None = None) -> Sequence[Member]:
        """See `leases.Leases`."""
        return [self._member(row) for row in await self._apart("fence_dead", asker)]

    async def claim(self, daemon_id: UUID, *, limit: int) -> Sequence[UUID]:
        """See `leases.Leases`."""
        claimed: list[UUID] | None = (await self._apart("claim", daemon_id, limit, again=False))[0][0]
        if claimed is None:
            raise Fenced([daemon_id])
        return claimed

    async def take(self, daemon_id: UUID, execution_id: UUID) -> bool:
        """See `leases.Leases`."""
        taken: bool | None = (await self._call("take", daemon_id, execution_id))[0][0]
        if taken is None:
            raise Fenced([daemon_id])
        return taken

    async def held(self, daemon_id: UUID) -> Sequence[UUID]:
        """See `leases.Leases`."""
        return [row[0] for row in await self._database.fetch(SQL["held"], {"daemon": daemon_id})]

    async def drop(self, daemon_id: UUID, execution_id: UUID, *, ended_at: datetime) -> None:
        """See `leases.Leases`."""
        asked = {"daemon": daemon_id, "execution_id": execution_id, "ended_at": ended_at}
        await self._database.execute((SQL["drop_lease"], asked))

    async def hint(self, execution_id: UUID) -> bool:
        """See `leases.Leases`."""
        hinted: bool = (await self._call("hint_holder", execution_id))[0][0]
        return hinted

    async def hinted(self, daemon_id: UUID) -> Sequence[UUID]:
        """See `leases.Leases`."""
        return [row[0] for row in await self._apart("hinted", daemon_id, again=False)]

    async def counts(self) -> Mapping[UUID | None, int]:
        """See `leases.Leases`."""
        rows = await self._database.fetch(SQL["lease_counts"], {})
        return {row[0]: row[1] for row in rows}

    async def members(self) -> Sequence[Member]:
        """See `leases.Leases`."""
        return [self._member(row) for row in await self._database.fetch(SQL["members"], {})]

    async def holder(self, execution_id: UUID) -> Member | None:
        """See `leases.Leases`."""
        rows = await self._database.fetch(SQL["holder"], {"execution_id": execution_id})
        return self._member(rows[0]) if rows else None

    async def leave(self, daemon_id: UUID) -> None:
        """See `leases.Leases`."""
        try:
            await self._call("leave", daemon_id)
        finally:
            await self._end_session(daemon_id)

    @asynccontextmanager
    async def news(self, daemon_id: UUID) -> AsyncIterator[asyncio.Event]:
        """See `leases.Leases`. Nothing is told before `join` and after `leave`."""
        with self._news.of(daemon_id) as event:
            yield event

    async def _call(self, name: str, *params: Any) -> list[tuple[Any, ...]]:
        return await self._database.call(SQL[name], params)

    async def _apart(self, name: str, *params: Any, again: bool = True) -> list[tuple[Any, ...]]:
        return await self._database.call_apart(SQL[name], params, again=again)

    async def _session(self, daemon_id: UUID, begun: asyncio.Event) -> None:
        """Keep a session until cancelled; a lost one is made anew at once, unless it had only begun."""
        clock = asyncio.get_running_loop().time
        while True:
            started = clock()
            try:
                async with aclosing(self._database.session(daemon_id)) as notices:
                    async for text in notices:
                        begun.set()
                        self._wake(text)
            except Unavailable:
                self._news.wake_all()
                if clock() - started < SESSION_PAUSE_S:
                    await asyncio.sleep(SESSION_PAUSE_S)

    def _wake(self, text: str) -> None:
        """Wake the daemon that a notice names; all, where it names none."""
        try:
            self._news.wake(UUID(text))
        except ValueError:
            self._news.wake_all()

    async def _end_session(self, daemon_id: UUID) -> None:
        session = self._sessions.pop(daemon_id, None)
        if session is not None:
            session.cancel()
            await asyncio.wait({session})

    async def _end_sessions(self) -> None:
        for daemon_id in list(self._sessions):
            await self._end_session(daemon_id)

    def _member(self, row: tuple[Any, ...]) -> Member:
        return Member(row[0], row[1], self._database.time_of(row[2]), self._database.time_of(row[3]))
