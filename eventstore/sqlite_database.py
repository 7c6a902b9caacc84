"""One SQLite file: its connections, threads, transactions, schema and errors.

One thread writes, a few read; a transaction is durable when it returns (`synchronous=FULL`).

Comes from: `sqlite`, `relational`. Goes to: the file.
"""

from __future__ import annotations

import asyncio
import os
import sqlite3
from concurrent.futures import ThreadPoolExecutor
from contextlib import asynccontextmanager, contextmanager, suppress
from datetime import datetime, timedelta
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, TypeVar
from uuid import UUID

from eventsourcing.persistence import PersistenceError
from eventsourcing.sqlite import SQLiteApplicationRecorder, SQLiteConnection, SQLiteConnectionPool, SQLiteDatastore

from eventstore.errors import Unavailable, Undecodable
from eventstore.queries import migrations, statements
from eventstore.rows import chunks
from eventstore.slot_rows import put_slots
from eventstore.sqlite_rows import EPOCH, micros, put_index

if TYPE_CHECKING:
    from collections.abc import AsyncIterable, AsyncIterator, Awaitable, Callable, Iterable, Iterator, Mapping, Sequence

    from eventstore.index import IndexChange

SQL = statements("sqlite/append.sql")
READERS = 4
BUSY_TIMEOUT_S = 5
MIGRATING_TRIES = 4
"""How long a write waits for another process that writes."""

PRAGMAS = """
    PRAGMA synchronous = FULL;
    PRAGMA foreign_keys = ON;
    PRAGMA cache_size = -32768;
    PRAGMA wal_autocheckpoint = 4000;
"""
"""Durable at each commit. Cache (KiB, negative) and write-ahead log (pages) hold batches that touch many pages."""

_BEFORE_REBUILD = (
    "keep_leases",
    "fill_kept_leases",
    "clear_leases",
    "clear_executions",
    "clear_latest_keys",
    "clear_timers",
    "clear_approvals",
    "clear_forks",
    "clear_slots",
    "clear_rates",
)
_AFTER_REBUILD = ("restore_leases", "drop_kept_leases", "keep_keys")

_T = TypeVar("_T")
_OUTSIDE_CAUSES = {
    sqlite3.SQLITE_BUSY,
    sqlite3.SQLITE_LOCKED,
    sqlite3.SQLITE_NOMEM,
    sqlite3.SQLITE_READONLY,
    sqlite3.SQLITE_INTERRUPT,
    sqlite3.SQLITE_IOERR,
    sqlite3.SQLITE_CORRUPT,
    sqlite3.SQLITE_FULL,
    sqlite3.SQLITE_CANTOPEN,
    sqlite3.SQLITE_PROTOCOL,
    sqlite3.SQLITE_NOTADB,
}
"""SQLite's result codes that no change of our code would mend; all others are bugs."""


class _Pool(SQLiteConnectionPool):
    """The library's connections, durable at each commit whatever SQLite was compiled with."""

    def _create_connection(self) -> SQLiteConnection:
        connection = super()._create_connection()
        connection._sqlite_conn.executescript(PRAGMAS)  # noqa: SLF001  no accessor
        return connection


class Recorder(SQLiteApplicationRecorder):
    """The library's recorder on our file. Synchronous: `SqliteDatabase` calls it from its threads."""

    def __init__(self, path: str) -> None:
        datastore = SQLiteDatastore(path)
        datastore.close()
        datastore.pool = _Pool(db_name=path, lock_timeout=BUSY_TIMEOUT_S, pool_size=READERS + 1)
        super().__init__(datastore)

    def begin(self) -> SQLiteConnection:
        """Open a transaction that other writers wait for from its first statement; `finish` it."""
        held = self.datastore.pool.get_connection()
        try:
            raw(held).execute("BEGIN IMMEDIATE")
        except BaseException:
            self.datastore.pool.put_connection(held)
            raise
        return held

    def finish(self, held: SQLiteConnection, end: Literal["COMMIT", "ROLLBACK"]) -> None:
        """End the transaction and give the connection back."""
        try:
            if raw(held).in_transaction:
                raw(held).execute(end)
        finally:
            if raw(held).in_transaction:
                raw(held).execute("ROLLBACK")
            self.datastore.pool.put_connection(held)


def raw(held: SQLiteConnection) -> sqlite3.Connection:
    """Return SQLite's own connection: the library's wrapper has no way to BEGIN IMMEDIATE."""
    return held._sqlite_conn  # noqa: SLF001  see above


class SqliteDatabase:
    """`relational.Database` on one file, and the one place that knows threads and SQLite's errors."""

    def __init__(self, path: str) -> None:
        self.path = path
        self.recorder = Recorder(path)
        self._inode: int | None = None
        self.writing = asyncio.Lock()
        self._closed = False
        self._before_close: list[Callable[[], Awaitable[None]]] = []
        self._writer = ThreadPoolExecutor(1, thread_name_prefix="sqlite-writer")
        self._readers = ThreadPoolExecutor(READERS, thread_name_prefix="sqlite-reader")

    async def write(self, work: Callable[[sqlite3.Connection], _T]) -> _T:
        """Run work in a transaction on the writer's thread."""

        def transaction() -> _T:
            if self._inode is not None:
                self._check_in_place()
            held = self.recorder.begin()
            end: Literal["COMMIT", "ROLLBACK"] = "ROLLBACK"
            try:
                self._inode = self._inode or os.stat(self.path).st_ino  # noqa: PTH116  as below
                result = work(raw(held))
                end = "COMMIT"
            finally:
                self.recorder.finish(held, end)
            return result

        async with self.writing:
            return await self._run(self._writer, transaction)

    def _check_in_place(self) -> None:
        """Refuse to write to a file that has no name any more: it would be gone with the process."""
        try:
            in_place = os.stat(self.path).st_ino == self._inode  # noqa: PTH116  each commit does it: `Path` costs more
        except OSError:
            in_place = False
        if not in_place:
            raise Unavailable(f"SQLite database {self.path} was deleted or replaced while in use: put it back, or stop")

    async def read(self, work: Callable[[Recorder], _T]) -> _T:
        """Run work on a reader's thread."""
        return await self._run(self._readers, lambda: work(self.recorder))

    async def fetch(self, sql: str, params: Mapping[str, Any]) -> Sequence[tuple[Any, ...]]:
        """See `relational.Database`."""
        values = _values(params)

        def select(recorder: Recorder) -> list[tuple[Any, ...]]:
            with recorder.datastore.transaction(commit=False) as cursor:
                cursor.execute(sql, values)
                return [tuple(row) for row in cursor.fetchall()]

        return await self.read(select)

    async def execute(self, *statements: tuple[str, Mapping[str, Any]]) -> int:
        """See `relational.Database`."""

        def work(connection: sqlite3.Connection) -> int:
            return [connection.execute(sql, _values(params)).rowcount for sql, params in statements][-1]

        return await self.write(work)

    async def erase(self, *statements: tuple[str, Mapping[str, Any]]) -> None:
        """Run statements in one transaction, and leave nothing in the file of what they have overwritten."""

        def work(connection: sqlite3.Connection) -> None:
            connection.execute("PRAGMA secure_delete = ON")
            for sql, params in statements:
                connection.execute(sql, _values(params))

        def purge() -> None:
            held = self.recorder.datastore.pool.get_connection()
            try:
                raw(held).execute("PRAGMA wal_checkpoint(TRUNCATE)").fetchall()
            finally:
                self.recorder.datastore.pool.put_connection(held)

        await self.write(work)
        async with self.writing:
            await self._run(self._writer, purge)

    async def rebuild_index(self, changes: AsyncIterable[tuple[UUID, IndexChange]]) -> None:
        """See `index.Index.rebuild`."""
        async with self.alone() as run:
            await run(partial(_each, names=_BEFORE_REBUILD))
            async for chunk in chunks(changes):
                made = [(execution_id, change, None) for execution_id, change in chunk.items()]
                await run(partial(_put_unchecked, changes=made))
            await run(partial(_each, names=_AFTER_REBUILD))

    @asynccontextmanager
    async def alone(self) -> AsyncIterator[Callable[[Callable[[sqlite3.Connection], None]], Awaitable[None]]]:
        """Hold one transaction while others that write wait; give what runs work in it. A failure rolls it back."""
        held: list[SQLiteConnection] = []
        end: Literal["COMMIT", "ROLLBACK"] = "ROLLBACK"

        def finish() -> None:
            for connection in held:
                self.recorder.finish(connection, end)

        async def run(work: Callable[[sqlite3.Connection], None]) -> None:
            await self._run(self._writer, lambda: work(raw(held[0])))

        async with self.writing:
            try:
                await self._run(self._writer, lambda: held.append(self.recorder.begin()))
                yield run
                end = "COMMIT"
            finally:  # on the one thread that writes: so after `begin`, even when that was cancelled while under way
                await asyncio.shield(self._run(self._writer, finish))

    async def schema_version(self) -> int:
        """Return the file's schema version, 0 when it has none."""
        return await self._run(self._writer, lambda: _schema_version(self.recorder))

    async def migrate(self) -> None:
        """Bring an older schema to this program's version, in one transaction; many processes may do it at once.

        All but one wait for that one, longer than a write waits.
        """
        for _ in range(MIGRATING_TRIES - 1):
            with suppress(Unavailable):
                return await self.write(_migrate)
        return await self.write(_migrate)

    def before_close(self, work: Callable[[], Awaitable[None]]) -> None:
        """Do this first when closing, each time."""
        self._before_close.append(work)

    async def close(self) -> None:
        """Wait for work in flight and close all connections."""
        for work in self._before_close:
            await work()
        self._closed = True
        await asyncio.to_thread(self._writer.shutdown)
        await asyncio.to_thread(self._readers.shutdown)
        self.recorder.datastore.close()

    def id_of(self, value: Any) -> UUID:
        """See `relational.Database`."""
        return UUID(value)

    def time_of(self, value: Any) -> datetime:
        """See `relational.Database`."""
        return EPOCH + timedelta(microseconds=value)

    def micros(self, time: datetime) -> int:
        """Return the time as the tables have it."""
        return micros(time)

    async def _run(self, threads: ThreadPoolExecutor, work: Callable[[], _T]) -> _T:
        def guarded() -> _T:
            with self._outside_causes(reading=threads is self._readers):
                return work()

        if self._closed:
            raise Unavailable(f"SQLite database {self.path} is closed")
        return await asyncio.get_running_loop().run_in_executor(threads, guarded)

    @contextmanager
    def _outside_causes(self, *, reading: bool) -> Iterator[None]:
        """Name the file and a remedy. What cannot be read for damage never will be; what cannot be written may wait."""
        try:
            yield
        except (sqlite3.Error, PersistenceError) as error:
            cause = error if isinstance(error, sqlite3.Error) else error.__cause__
            code = getattr(cause, "sqlite_errorcode", None)
            if code is not None and code & 0xFF not in _OUTSIDE_CAUSES:
                raise
            message = f"SQLite database {self.path}: {cause or error}{_hint(code, self.path)}"
            damaged = code is not None and code & 0xFF == sqlite3.SQLITE_CORRUPT
            raise (Undecodable if reading and damaged else Unavailable)(message) from error


def _put_unchecked(connection: sqlite3.Connection, changes: Sequence[tuple[UUID, IndexChange, UUID | None]]) -> None:
    """Make changes that were in the log already."""
    put_index(connection, changes)
    slots = [(execution_id, each) for execution_id, change, _ in changes for each in change.slots]
    put_slots(connection, slots, checked=False)


def _each(connection: sqlite3.Connection, names: Iterable[str]) -> None:
    for name in names:
        connection.execute(SQL[name])


def _values(params: Mapping[str, Any]) -> dict[str, Any]:
    return {name: _value(value) for name, value in params.items()}


def _value(value: Any) -> Any:
    match value:
        case UUID():
            return value.hex
        case datetime():
            return micros(value)
    return value


def _schema_version(recorder: Recorder) -> int:
    with recorder.datastore.transaction(commit=False) as cursor:
        return _current_version(cursor.sqlite_cursor)


def _current_version(connection: sqlite3.Connection | sqlite3.Cursor) -> int:
    known = connection.execute("SELECT 1 FROM sqlite_master WHERE name = 'sagad_schema'").fetchone()
    if not known:
        return 0
    (version,) = connection.execute("SELECT max(version) FROM sagad_schema").fetchone()
    return version or 0


def _migrate(connection: sqlite3.Connection) -> None:
    connection.execute("CREATE TABLE IF NOT EXISTS sagad_schema (version INTEGER PRIMARY KEY, name TEXT NOT NULL)")
    for migration in migrations("sqlite")[_current_version(connection) :]:
        for statement in _split(migration.sql):
            connection.execute(statement)
        connection.execute("INSERT INTO sagad_schema VALUES (?, ?)", (migration.version, migration.name))


def _split(script: str) -> Iterator[str]:
    """Cut a script into statements: `executescript` would commit the transaction first."""
    statement = ""
    for line in script.splitlines(keepends=True):
        statement += line
        if sqlite3.complete_statement(statement):
            yield statement
            statement = ""


def _hint(code: int | None, path: str) -> str:
    match None if code is None else code & 0xFF:
        case sqlite3.SQLITE_CANTOPEN | sqlite3.SQLITE_READONLY:
            return f" (is {Path(path).parent} a directory that this user may write to?)"
        case sqlite3.SQLITE_CORRUPT | sqlite3.SQLITE_NOTADB:
            return " (the file is damaged or not a database: restore it from a backup)"
        case sqlite3.SQLITE_BUSY:
            return f" (another process has been writing for more than {BUSY_TIMEOUT_S} s)"
    return ""
