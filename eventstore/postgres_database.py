"""One Postgres database: its connections, transactions, schema and errors.

One connection appends, two are for the leases, and a small pool does all else: a commit that waits keeps nobody from
reading, and no slow query delays a sign of life. Each daemon has a session besides, see `postgres_leases`.

Comes from: `postgres`, `relational`. Goes to: the server.
"""

from __future__ import annotations

import asyncio
from contextlib import asynccontextmanager, contextmanager, suppress
from datetime import UTC
from typing import TYPE_CHECKING, Any
from uuid import UUID

import msgspec
import psycopg
from psycopg import AsyncConnection
from psycopg.conninfo import conninfo_to_dict, make_conninfo
from psycopg.errors import (
    DataCorrupted,
    IndexCorrupted,
    InsufficientPrivilege,
    ProgramLimitExceeded,
    ReadOnlySqlTransaction,
)
from psycopg_pool import AsyncConnectionPool

from eventstore import arrays
from eventstore.errors import Unavailable, Undecodable, Unusable
from eventstore.postgres_rows import index_arrays, rare_changes
from eventstore.queries import migrations, placeholders, statements
from eventstore.rows import chunks
from eventstore.slot_rows import as_json

if TYPE_CHECKING:
    from collections.abc import (
        AsyncGenerator,
        AsyncIterable,
        AsyncIterator,
        Awaitable,
        Callable,
        Iterator,
        Mapping,
        Sequence,
    )
    from datetime import datetime

    from eventstore.arrays import Array
    from eventstore.index import IndexChange
    from eventstore.slots import SlotChange

SQL = statements("postgres/append.sql")
POOL_SIZE = 4
LEASES_POOL_SIZE = 2
"""One for the signs of life, one for the taking up of others' work, which may have to wait for a lock."""
ANSWER_TIMEOUT_S = 30.0
"""After this long without an answer to an append its outcome counts as unknown."""
LISTEN_PAUSE_S = 1.0
"""Pause before listening again after the connection was lost."""

_SOURCE_DELETED = "SG002"
"""The state of the error by which `sagad_put_forks` refuses a fork."""
_BEFORE_REBUILD = (
    "keep_leases",
    "clear_leases",
    "clear_timers",
    "clear_latest_keys",
    "clear_executions",
    "clear_approvals",
    "clear_forks",
    "clear_slots",
    "clear_rates",
)
_DEFAULTS: Mapping[str, Any] = {
    "application_name": "sagad",
    "connect_timeout": 5,
    "keepalives_idle": 30,
    "tcp_user_timeout": 30_000,
}
_Connection = AsyncConnection[tuple[Any, ...]]


class PostgresDatabase:
    """`relational.Database` on one Postgres database, and the one place that knows its errors. Call `open` first."""

    def __init__(self, url: str) -> None:
        try:
            given = conninfo_to_dict(url)
        except psycopg.ProgrammingError as error:
            raise Unusable(f"store URL: {error}") from error
        self._conninfo = make_conninfo(**{**_DEFAULTS, **given})
        self._name = f"Postgres at {given.get('host', 'local socket')}:{given.get('port', 5432)}"
        self._pool = AsyncConnectionPool[_Connection](
            self._conninfo, min_size=1, max_size=POOL_SIZE, timeout=5.0, open=False, kwargs={"autocommit": True}
        )
        self._leases = AsyncConnectionPool[_Connection](
            self._conninfo, min_size=0, max_size=LEASES_POOL_SIZE, timeout=5.0, open=False, kwargs={"autocommit": True}
        )
        self._before_close: list[Callable[[], Awaitable[None]]] = []
        self._appending = asyncio.Lock()
        self._appender: _Connection | None = None
        self._closed = False

    async def open(self) -> None:
        """Connect once, to learn at once what is wrong, and start the pool."""
        try:
            with self._outside_causes():
                self._appender = await self._connect("only_key_lookups")
                await self._pool.open()
                await self._leases.open()
        except BaseException:
            await self.close()
            raise

    def before_close(self, work: Callable[[], Awaitable[None]]) -> None:
        """Do this first when closing, each time."""
        self._before_close.append(work)

    async def close(self) -> None:
        """Close all connections; an append in flight is waited for."""
        for work in self._before_close:
            await work()
        async with self._appending:
            self._closed = True
            await self._drop_appender()
        await self._pool.close()
        await self._leases.close()

    async def append(
        self,
        arguments: Sequence[Array],
        slots: Sequence[tuple[UUID, SlotChange]],
        rare: Sequence[tuple[str, Sequence[Array]]] = (),
    ) -> tuple[Sequence[UUID] | None, Sequence[UUID] | None, Sequence[UUID] | None]:
        """Call `sagad_append`, or `sagad_append_slots` when there are changes of slots.

        Return the daemons that are fenced, or the executions that moved on, or those that found no slot free.
        What is `rare` is a statement and its arguments each, and costs a round trip in the same transaction.
        """
        query = SQL["append_slots"] if slots else SQL["append"]
        given = [_jsonb(slots), *arguments] if slots else arguments
        async with self._appending:
            with self._outside_causes():
                if self._closed:
                    raise psycopg.OperationalError("the store is closed")
                try:
                    async with asyncio.timeout(ANSWER_TIMEOUT_S):
                        if self._appender is None:
                            self._appender = await self._connect("only_key_lookups")
                        row = await _append(self._appender, query.encode(), given, rare)
                except BaseException:
                    await self._drop_appender()
                    raise
        fenced, losers, *filled = row or (None, None)
        return fenced, losers, filled[0] if filled else None

    async def select(self, query: str, params: Sequence[Any] | Mapping[str, Any]) -> list[tuple[Any, ...]]:
        """Return all rows of one query, on a connection of the pool."""
        cursor = await self._run((query, params))
        return await cursor.fetchall()

    async def fetch(self, query: str, params: Mapping[str, Any]) -> Sequence[tuple[Any, ...]]:
        """See `relational.Database`."""
        return await self.select(placeholders(query), params)

    async def execute(self, *queries: tuple[str, Mapping[str, Any]]) -> int:
        """See `relational.Database`."""
        cursor = await self._run(*((placeholders(query), params) for query, params in queries))
        return cursor.rowcount

    async def erase(self, *queries: tuple[str, Mapping[str, Any]]) -> None:
        """Run statements while nobody appends; then take what they have overwritten out of the table `subjects`."""
        async with self._own_connection() as connection:
            locked = [(SQL["lock_log"], {}), *((placeholders(query), params) for query, params in queries)]
            await _in_one_transaction(connection, locked)
            await connection.execute(SQL["purge_subjects"].encode())

    async def call(self, query: str, params: Sequence[Any]) -> list[tuple[Any, ...]]:
        """Carry out a statement that changes rows, and may do so twice; return them. On a connection of the pool."""
        cursor = await self._run((query, params), reading=False)
        return await cursor.fetchall()

    async def call_apart(self, query: str, params: Sequence[Any], *, again: bool) -> list[tuple[Any, ...]]:
        """Do the same on a connection of the leases; twice only with `again`. For at most two callers at once."""
        cursor = await self._run((query, params), pool=self._leases, reading=False, again=again)
        return await cursor.fetchall()

    async def _run(
        self,
        *queries: tuple[str, Sequence[Any] | Mapping[str, Any]],
        pool: AsyncConnectionPool[_Connection] | None = None,
        reading: bool | None = None,
        again: bool = True,
    ) -> psycopg.AsyncCursor[tuple[Any, ...]]:
        """Run queries in one transaction; with `again` once more where the connection is lost, as by a restart.

        The answer may have been lost with it: what is run again may be done twice.
        """
        pool = pool or self._pool
        with self._outside_causes(reading=len(queries) == 1 if reading is None else reading):
            for _ in range(pool.max_size if again else 0):
                async with pool.connection() as connection:
                    try:
                        return await _in_one_transaction(connection, queries)
                    except psycopg.OperationalError:
                        if not connection.broken:
                            raise
            async with pool.connection() as connection:
                return await _in_one_transaction(connection, queries)

    def id_of(self, value: Any) -> UUID:
        """See `relational.Database`."""
        found: UUID = value
        return found

    def time_of(self, value: Any) -> datetime:
        """See `relational.Database`."""
        time: datetime = value
        return time.astimezone(UTC)

    async def rebuild_index(self, changes: AsyncIterable[tuple[UUID, IndexChange]]) -> None:
        """See `index.Index.rebuild`. Takes the log's lock first, as every append does."""
        async with self._own_connection() as connection, connection.transaction():
            await connection.execute(SQL["lock_log"].encode())
            for name in _BEFORE_REBUILD:
                await connection.execute(SQL[name].encode())
            async for chunk in chunks(changes):
                made = [(execution_id, change, None) for execution_id, change in chunk.items()]
                await connection.execute(SQL["put_index"].encode(), index_arrays(made))
                if slots := [(execution_id, each) for execution_id, change in chunk.items() for each in change.slots]:
                    await connection.execute(SQL["put_slots"].encode(), (_jsonb(slots),))
                for name, arrays in rare_changes(list(chunk.items())):
                    await connection.execute(SQL[name].encode(), arrays)
            await connection.execute(SQL["restore_leases"].encode())
            await connection.execute(SQL["keep_keys"].encode())

    @asynccontextmanager
    async def alone(self) -> AsyncIterator[Callable[..., Awaitable[bool]]]:
        """Hold one transaction with the log's lock; give what appends in it, slots unchecked, and tells of a conflict.

        That takes what `append` takes, and when a deleted execution comes back. A failure rolls all back.
        """
        async with self._own_connection() as connection, connection.transaction():
            await connection.execute(SQL["lock_log"].encode())

            async def append(
                arguments: Sequence[Array],
                slots: Sequence[tuple[UUID, SlotChange]],
                rare: Sequence[tuple[str, Sequence[Array]]],
                *,
                restored: tuple[datetime | None, UUID],
            ) -> bool:
                if restored[0] is not None:
                    await connection.execute(SQL["restore"].encode(), restored)
                if slots:
                    await connection.execute(SQL["put_slots"].encode(), (_jsonb(slots),))
                return any(await _append(connection, SQL["append"].encode(), arguments, rare) or ())

            yield append

    async def schema_version(self) -> int:
        """Return the database's schema version, 0 when it has none."""
        if not (await self.select(SQL["known_schema"], ()))[0][0]:
            return 0
        version: int = (await self.select(SQL["schema_version"], ()))[0][0]
        return version

    async def migrate(self) -> None:
        """Bring an older schema to this program's version, in one transaction; two processes may do it at once."""
        try:
            async with self._own_connection() as connection, connection.transaction():
                await connection.execute(SQL["lock_schema"].encode())
                await connection.execute(SQL["create_schema"].encode())
                cursor = await connection.execute(SQL["schema_version"].encode())
                for (current,) in await cursor.fetchall():
                    for migration in migrations("postgres")[current:]:
                        await connection.execute(migration.sql.encode())
                        row = (migration.version, migration.name)
                        await connection.execute(SQL["record_migration"].encode(), row)
        except InsufficientPrivilege as error:
            raise Unusable(f"{self._name}: {error}; its owner must run `sagad migrate`") from error

    @asynccontextmanager
    async def hints(self) -> AsyncIterator[asyncio.Event]:
        """Give an event that is set after each commit of any process, until left. Reconnects by itself."""
        event = asyncio.Event()
        listener = asyncio.create_task(self._listen(event), name="eventstore-listener")
        try:
            yield event
        finally:
            listener.cancel()
            await asyncio.wait({listener})

    async def _listen(self, event: asyncio.Event) -> None:
        while True:
            with suppress(Unavailable):
                async with self._own_connection() as connection:
                    await connection.execute(SQL["listen"].encode())
                    event.set()
                    async for _ in connection.notifies():
                        event.set()
            event.set()
            await asyncio.sleep(LISTEN_PAUSE_S)

    async def session(self, daemon_id: UUID) -> AsyncGenerator[str]:
        """Hold a daemon's session lock; yield once it is held, and for each notice of the leases, with its text.

        Ends by Unavailable, when the connection is lost.
        """
        async with self._own_connection() as connection:
            await connection.execute(SQL["lock_session"].encode(), (daemon_id,))
            await connection.execute(SQL["listen_leases"].encode())
            yield ""
            async for notice in connection.notifies():
                yield notice.payload
            raise psycopg.OperationalError("the session ended")

    @asynccontextmanager
    async def _own_connection(self) -> AsyncIterator[_Connection]:
        with self._outside_causes():
            connection = await self._connect()
            try:
                yield connection
            finally:
                await connection.close()

    async def _connect(self, *settings: str) -> _Connection:
        """Connect, durable whatever the server's default, and run these statements of `append.sql`."""
        connection = await AsyncConnection.connect(self._conninfo, autocommit=True)
        try:
            arrays.register(connection)
            cursor = await connection.execute(SQL["durability"].encode())
            if await cursor.fetchone() == ("off",):
                await connection.execute(SQL["make_durable"].encode())
            for name in settings:
                await connection.execute(SQL[name].encode())
        except BaseException:
            await connection.close()
            raise
        return connection

    async def _drop_appender(self) -> None:
        connection, self._appender = self._appender, None
        if connection is not None:
            await connection.close()

    @contextmanager
    def _outside_causes(self, *, reading: bool = False) -> Iterator[None]:
        """Name the server. What cannot be read for damage never will be; what cannot be written may wait."""
        try:
            yield
        except ProgramLimitExceeded:
            raise  # too large for Postgres however often it is tried
        except (DataCorrupted, IndexCorrupted) as error:
            message = f"{self._name}: {error} (the database is damaged: restore it from a backup)"
            raise (Undecodable if reading else Unavailable)(message) from error
        except (psycopg.OperationalError, psycopg.InterfaceError, ReadOnlySqlTransaction) as error:
            raise Unavailable(f"{self._name}: {error}") from error
        except TimeoutError as error:
            raise Unavailable(f"{self._name}: no answer for {ANSWER_TIMEOUT_S:g} s") from error


def _jsonb(slots: Sequence[tuple[UUID, SlotChange]]) -> str:
    return msgspec.json.encode(as_json(slots)).decode()


async def _append(
    connection: _Connection, append: bytes, given: Sequence[Any], rare: Sequence[tuple[str, Sequence[Array]]]
) -> tuple[Any, ...] | None:
    if not rare:
        return await (await connection.execute(append, given, prepare=True, binary=True)).fetchone()
    try:
        async with connection.transaction():
            row = await (await connection.execute(append, given, prepare=True, binary=True)).fetchone()
            if row is None or not any(row):
                for name, arrays in rare:
                    await connection.execute(SQL[name].encode(), arrays)
    except psycopg.DatabaseError as error:
        if error.sqlstate != _SOURCE_DELETED:
            raise
        return None, [UUID(error.diag.message_primary or "")]
    return row


async def _in_one_transaction(
    connection: _Connection, queries: Sequence[tuple[str, Sequence[Any] | Mapping[str, Any]]]
) -> psycopg.AsyncCursor[tuple[Any, ...]]:
    *before, (query, params) = queries
    if not before:
        return await connection.execute(query.encode(), params, prepare=True, binary=True)
    async with connection.transaction():
        for earlier, earlier_params in before:
            await connection.execute(earlier.encode(), earlier_params)
        return await connection.execute(query.encode(), params, binary=True)
