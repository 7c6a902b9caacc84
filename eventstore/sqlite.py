"""The log in one SQLite file: the eventsourcing library's recorder, with our insert.

From the library come the connections (WAL), the table, and reading the whole log. The insert is ours: it checks the
expected versions, and writes index rows and payloads in the same transaction.

Positions are rowids. SQLite lets one transaction write at a time, so they become visible in order.

Comes from: `writer`. Goes to: `sqlite_database`.
"""

from __future__ import annotations

import asyncio
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING, NamedTuple
from uuid import UUID

import msgspec
from msgspec.structs import replace

from eventstore.codec import NO_KEYS, Stored
from eventstore.errors import Conflict, Fenced, Full
from eventstore.leases import News
from eventstore.log import by_execution
from eventstore.outside import Reach
from eventstore.queries import statements
from eventstore.reads import Reads
from eventstore.relational import MAX_VERSION
from eventstore.slot_rows import put_slots
from eventstore.sqlite_rows import micros, put_index, use_keys
from eventstore.veils import veiled

if TYPE_CHECKING:
    import sqlite3
    from collections.abc import AsyncIterator, Mapping, Sequence
    from datetime import datetime

    from eventsourcing.sqlite import SQLiteCursor

    from eventstore.codec import Codec, Opened
    from eventstore.log import Append, Recorded
    from eventstore.outside import Outside
    from eventstore.sqlite_database import Recorder, SqliteDatabase

SQL = {**statements("queries.sql"), **statements("sqlite/append.sql")}


class SqliteLog:
    """`log.EventLog` and `payloads.Payloads` on one file."""

    def __init__(self, database: SqliteDatabase, codec: Codec, outside: Outside | None = None) -> None:
        self._database = database
        self._codec = codec
        self._reach = Reach(codec, outside)
        self.reads = Reads()
        self._listeners: set[asyncio.Event] = set()
        self.news = News()

    async def insert(self, batch: Sequence[Append]) -> None:
        """See `log.EventLog`."""
        await self._database.write(lambda connection: self._insert(connection, batch))
        self.tell()
        if any(append.index.hint or (append.index.busy and append.by is None) for append in batch):
            self.news.wake_all()

    def tell(self) -> None:
        """Hint to those who listen that something was appended."""
        for listener in self._listeners:
            listener.set()

    def adopt(self, connection: sqlite3.Connection, append: Append, at: datetime | None) -> None:
        """Write it, slots unchecked; what was deleted comes back at this time. Raises Conflict."""
        if at is not None and not append.after_version:
            connection.execute(SQL["restore"], (micros(at), append.execution_id.hex))
        put_slots(connection, [(append.execution_id, change) for change in append.index.slots], checked=False)
        self._insert(connection, [replace(append, index=replace(append.index, slots=()))])

    def _insert(self, connection: sqlite3.Connection, batch: Sequence[Append]) -> None:
        if self._codec.at_rest:
            batch = [veiled(append, self._codec) for append in batch]
        writers = {append.by for append in batch if append.by is not None}
        if writers:
            fenced = connection.execute(SQL["fenced"], (_json([writer.hex for writer in writers]),)).fetchall()
            if fenced:
                raise Fenced(UUID(writer) for (writer,) in fenced)
        ids = [append.execution_id.hex for append in batch]
        expected = [(key, append.after_version) for key, append in zip(ids, batch, strict=True)]
        losers = [batch[place] for (place,) in connection.execute(SQL["losers"], (_json(expected),))]
        if losers:
            first = losers[0]
            raise Conflict(first.execution_id, first.after_version, losers=[lost.execution_id for lost in losers])
        if orphans := _orphans(connection, batch):
            raise Conflict(orphans[0].execution_id, 0, losers=[orphan.execution_id for orphan in orphans])
        slots = [(append.execution_id, change) for append in batch for change in append.index.slots]
        if slots and (filled := put_slots(connection, slots, checked=True)):
            raise Full(map(UUID, filled))
        payloads: dict[str, bytes] = {}
        uses: list[tuple[int, str]] = []
        topics, states = self._codec.encode_all([event for append in batch for event in append.events], payloads, uses)
        places = [
            (execution_id, version)
            for execution_id, append in zip(ids, batch, strict=True)
            for version in range(append.after_version + 1, append.after_version + 1 + len(append.events))
        ]
        rows = [(*place, topic, state) for place, topic, state in zip(places, topics, states, strict=True)]
        connection.executemany(SQL["insert_event"], rows)
        if payloads:
            connection.executemany(SQL["put_payload"], list(payloads.items()))
        if uses:
            connection.executemany(SQL["put_use"], [(places[place][0], key) for place, key in uses])
        put_index(connection, [(append.execution_id, append.index, append.by) for append in batch])
        if used := [append for append in batch if append.key is not None]:
            use_keys(connection, used)

    async def read(
        self, execution_id: UUID, *, after_version: int = 0, up_to_version: int | None = None
    ) -> Sequence[Recorded]:
        """See `log.EventLog`."""
        last = MAX_VERSION if up_to_version is None else up_to_version

        def work(recorder: Recorder) -> _Read:
            with recorder.datastore.transaction(commit=False) as cursor:
                cursor.execute(SQL["read"], (execution_id.hex, after_version, last))
                rows = [Stored(execution_id, *row) for row in cursor.fetchall()]
            return self._decode(recorder, rows)

        return await self._whole(await self._database.read(work), self.reads)

    async def read_many(self, execution_ids: Sequence[UUID], *, limit: int) -> Mapping[UUID, Sequence[Recorded]]:
        """See `log.EventLog`."""
        wanted = _json([key.hex for key in execution_ids])

        def work(recorder: Recorder) -> _Read:
            with recorder.datastore.transaction(commit=False) as cursor:
                cursor.execute(SQL["read_many"], (wanted, limit))
                rows = [Stored(UUID(key), *rest) for key, *rest in cursor.fetchall()]
            return self._decode(recorder, rows)

        return by_execution(await self._whole(await self._database.read(work), self.reads))

    async def read_all(self, *, after_position: int = 0, limit: int = 1000) -> Sequence[Recorded]:
        """See `log.EventLog`."""

        def work(recorder: Recorder) -> _Read:
            with recorder.datastore.transaction(commit=False) as cursor:
                cursor.execute(SQL["read_all"], (after_position, limit))
                found = cursor.fetchall()
            ids = {key: UUID(key) for key in {row[0] for row in found}}
            return self._decode(recorder, [Stored(ids[key], *rest) for key, *rest in found])

        return await self._whole(await self._database.read(work))

    async def head(self) -> int:
        """See `log.EventLog`."""
        return await self._database.read(lambda recorder: recorder.max_notification_id() or 0)

    async def versions(self, execution_ids: Sequence[UUID]) -> Mapping[UUID, int]:
        """See `store.Store`."""
        rows = await self._database.fetch(SQL["versions"], {"ids": _json([key.hex for key in execution_ids])})
        return {UUID(key): version for key, version in rows}

    async def delete(self, payload_hash: str) -> bool:
        """See `payloads.Payloads`."""
        steps = [(SQL[name], {"hash": payload_hash}) for name in ("loosen_object", "delete_payload")]
        return await self._database.execute(*steps) > 0

    @asynccontextmanager
    async def hints(self) -> AsyncIterator[asyncio.Event]:
        """Give an event that is set after each append of this process, until left."""
        event = asyncio.Event()
        self._listeners.add(event)
        try:
            yield event
        finally:
            self._listeners.discard(event)

    async def payloads(self, hashes: Sequence[str]) -> Mapping[str, bytes | None]:
        """See `archive.Archive`."""

        def work(recorder: Recorder) -> list[tuple[str, bytes | None, str | None]]:
            with recorder.datastore.transaction(commit=False) as cursor:
                return _payloads(cursor, hashes)

        return await self._reach.fill(await self._database.read(work))

    def _decode(self, recorder: Recorder, rows: Sequence[Stored]) -> _Read:
        """Read what the rows refer to, and decode them if all of it is here."""
        opened = self._codec.open(rows)
        if not opened.wanted and not opened.keys:
            return _Read(opened.events(), opened)
        with recorder.datastore.transaction(commit=False) as cursor:
            payloads = _payloads(cursor, opened.wanted)
            cursor.execute(SQL["get_keys"], (_json(opened.keys),))
            keys = {row["key_id"]: row["wrapped"] for row in cursor.fetchall()}
        if any(data is None and name is not None for _, data, name in payloads):
            return _Read(None, opened, payloads, keys)
        return _Read(opened.events({key: data for key, data, _ in payloads}, keys), opened)

    async def _whole(self, read: _Read, reads: Reads | None = None) -> Sequence[Recorded]:
        """Return the events, with what is outside of the file."""
        if reads is not None:
            reads.note(read.opened.wanted)
        if read.events is not None:
            return read.events
        payloads = await self._reach.fill(read.payloads)
        return await asyncio.to_thread(read.opened.events, payloads, read.keys)


class _Read(NamedTuple):
    events: list[Recorded] | None
    """None while some of it is outside."""
    opened: Opened
    payloads: Sequence[tuple[str, bytes | None, str | None]] = ()
    keys: Mapping[str, bytes | None] = NO_KEYS


def _payloads(cursor: SQLiteCursor, hashes: Sequence[str]) -> list[tuple[str, bytes | None, str | None]]:
    cursor.execute(SQL["get_payloads"], (_json(hashes),))
    return [(row["hash"], row["data"], row["object"]) for row in cursor.fetchall()]


def _orphans(connection: sqlite3.Connection, batch: Sequence[Append]) -> list[Append]:
    """Return the forks whose source was deleted meanwhile."""
    forks = {append.index.forked.source.hex: append for append in batch if append.index.forked is not None}
    if not forks:
        return []
    return [forks[key] for (key,) in connection.execute(SQL["orphans"], (_json(list(forks)),))]


def _json(value: object) -> str:
    return msgspec.json.encode(value).decode()
