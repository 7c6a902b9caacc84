"""The leases in one SQLite file, which one daemon works on at a time: the one that holds a lock on a file beside it.

The system frees that lock when the process dies. So nobody need beat, or look for who is dead.

Comes from: `store`. Goes to: `sqlite_database`.
"""

from __future__ import annotations

import asyncio
import sqlite3
from contextlib import asynccontextmanager, suppress
from datetime import UTC, datetime
from typing import TYPE_CHECKING
from uuid import UUID

from msgspec.structs import replace

from eventstore.errors import Fenced, Unavailable, Unusable
from eventstore.leases import Member, News
from eventstore.queries import statements

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Mapping, Sequence
    from datetime import timedelta
    from typing import Any

    from eventstore.sqlite_database import SqliteDatabase

SQL = {**statements("queries.sql"), **statements("sqlite/append.sql")}
LOOKS, LOOK_S = 10, 0.05
SUFFIX = "-daemon"
"""Ends the name of the file beside, an empty SQLite database: its locks are the same on every system."""


class SqliteLeases:
    """`leases.Leases` on one file."""

    def __init__(self, database: SqliteDatabase, news: News) -> None:
        self._database = database
        self._news = news
        self._lock: sqlite3.Connection | None = None
        database.before_close(self._unlock)

    async def join(self, daemon_id: UUID, name: str, *, ttl: timedelta) -> None:  # noqa: ARG002  of the port; nobody need beat
        """See `leases.Leases`. Harmless to repeat."""
        await self._wait_to_be_the_one()
        now = self._database.micros(datetime.now(UTC))
        row = (daemon_id.hex, name, now, now)

        def work(connection: sqlite3.Connection) -> None:
            connection.execute(SQL["clear_daemons"])
            connection.execute(SQL["join"], row)

        await self._database.write(work)

    async def beat(self, daemon_id: UUID) -> Sequence[Member]:
        """See `leases.Leases`. Writes nothing: the lock says that it lives."""
        now = datetime.now(UTC)
        members = [replace(self._member(row), beat_at=now) for row in await self._database.fetch(SQL["members"], {})]
        if daemon_id not in {member.id for member in members}:
            raise Fenced([daemon_id])
        return members

    async def fence_dead(self, *, asker: UUID | None = None) -> Sequence[Member]:  # noqa: ARG002  of the port
        """See `leases.Leases`. There is never one: to join is to fence those before."""
        return []

    async def claim(self, daemon_id: UUID, *, limit: int) -> Sequence[UUID]:
        """See `leases.Leases`."""

        def work(connection: sqlite3.Connection) -> list[UUID]:
            _check(connection, daemon_id)
            return [UUID(key) for (key,) in connection.execute(SQL["claim"], (daemon_id.hex, limit)).fetchall()]

        return await self._database.write(work)

    async def take(self, daemon_id: UUID, execution_id: UUID) -> bool:
        """See `leases.Leases`."""

        def work(connection: sqlite3.Connection) -> bool:
            _check(connection, daemon_id)
            return connection.execute(SQL["take"], (daemon_id.hex, execution_id.hex)).rowcount > 0

        return await self._database.write(work)

    async def held(self, daemon_id: UUID) -> Sequence[UUID]:
        """See `leases.Leases`."""
        return [UUID(key) for (key,) in await self._database.fetch(SQL["held"], {"daemon": daemon_id})]

    async def drop(self, daemon_id: UUID, execution_id: UUID, *, ended_at: datetime) -> None:
        """See `leases.Leases`."""
        asked = {"daemon": daemon_id, "execution_id": execution_id, "ended_at": ended_at}
        await self._database.execute((SQL["drop_lease"], asked))

    async def hint(self, execution_id: UUID) -> bool:
        """See `leases.Leases`."""

        def work(connection: sqlite3.Connection) -> int:
            return connection.execute(SQL["hint_holder"], (execution_id.hex,)).rowcount

        hinted = await self._database.write(work) > 0
        if hinted:
            self._news.wake_all()
        return hinted

    async def hinted(self, daemon_id: UUID) -> Sequence[UUID]:
        """See `leases.Leases`."""
        found = await self._database.fetch(SQL["any_hint"], {"daemon": daemon_id})
        if not found:
            return []

        def work(connection: sqlite3.Connection) -> list[UUID]:
            return [UUID(key) for (key,) in connection.execute(SQL["hinted"], {"daemon": daemon_id.hex}).fetchall()]

        return await self._database.write(work)

    async def counts(self) -> Mapping[UUID | None, int]:
        """See `leases.Leases`."""
        rows = await self._database.fetch(SQL["lease_counts"], {})
        return {None if row[0] is None else self._database.id_of(row[0]): row[1] for row in rows}

    async def members(self) -> Sequence[Member]:
        """See `leases.Leases`. The one that holds the lock; a row without it is that of a dead process."""
        if self._lock is None:
            try:
                await self._become_the_one()
            except Unusable:
                pass
            else:
                await self._unlock()
                return []
        return [self._member(row) for row in await self._database.fetch(SQL["members"], {})]

    async def holder(self, execution_id: UUID) -> Member | None:
        """See `leases.Leases`."""
        rows = await self._database.fetch(SQL["holder"], {"execution_id": execution_id})
        return self._member(rows[0]) if rows else None

    async def leave(self, daemon_id: UUID) -> None:
        """See `leases.Leases`."""
        if await self._database.execute((SQL["leave"], {"daemon": daemon_id})):
            self._news.wake_all()
            await self._unlock()

    @asynccontextmanager
    async def news(self, daemon_id: UUID) -> AsyncIterator[asyncio.Event]:
        """See `leases.Leases`. Hints of other processes are not told."""
        with self._news.of(daemon_id) as event:
            yield event

    async def _wait_to_be_the_one(self) -> None:
        """Try for as long as a program that only looks who is there may have the lock."""
        for _ in range(LOOKS):
            with suppress(Unusable):
                await self._become_the_one()
                return
            await asyncio.sleep(LOOK_S)
        await self._become_the_one()

    async def _become_the_one(self) -> None:
        if self._lock is not None:
            return
        path = self._database.path + SUFFIX
        lock: sqlite3.Connection | None = None
        try:
            lock = sqlite3.connect(path, timeout=0, isolation_level=None, check_same_thread=False)
            lock.execute("BEGIN EXCLUSIVE")
        except sqlite3.OperationalError as error:
            if lock is not None:
                lock.close()
            if error.sqlite_errorcode & 0xFF in (sqlite3.SQLITE_BUSY, sqlite3.SQLITE_LOCKED):
                raise Unusable("another daemon works on this file; several daemons need Postgres") from error
            raise Unavailable(f"{path}: {error}") from error
        self._lock = lock

    async def _unlock(self) -> None:
        lock, self._lock = self._lock, None
        if lock is not None:
            lock.close()

    def _member(self, row: tuple[Any, ...]) -> Member:
        return Member(self._database.id_of(row[0]), row[1], self._database.time_of(row[2]), datetime.now(UTC))


def _check(connection: sqlite3.Connection, daemon_id: UUID) -> None:
    if connection.execute(SQL["is_member"], (daemon_id.hex,)).fetchone() is None:
        raise Fenced([daemon_id])
