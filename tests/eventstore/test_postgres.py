"""What is particular to Postgres: arrays on the wire, lost connections, durability, schemas."""

import asyncio
from datetime import UTC, datetime, timedelta
from urllib.parse import quote
from uuid import uuid4

import psycopg
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from psycopg import Connection

from eventstore import arrays
from eventstore.arrays import Bigints, Booleans, Bytes, Texts, Times, Uuids
from eventstore.errors import Unavailable
from eventstore.index import IndexChange
from eventstore.postgres_database import POOL_SIZE, PostgresDatabase
from eventstore.store import Store
from eventstore.writer import Writer
from tests.support.stores import append, opened, row, submit

TEXT = st.text(st.characters(exclude_characters="\0", exclude_categories=["Cs"]))
TIME = st.datetimes(datetime(1900, 1, 1), datetime(2200, 1, 1), timezones=st.just(UTC))  # noqa: DTZ001  bounds are naive
WAITING = """
    SELECT count(*) FROM pg_locks WHERE locktype = 'advisory' AND NOT granted
        AND database = (SELECT oid FROM pg_database WHERE datname = current_database())
"""
LOST = """
    SELECT pg_terminate_backend(pid) FROM pg_stat_activity
    WHERE datname = current_database() AND pid <> pg_backend_pid()
"""


@pytest.fixture(scope="module")
def connection(postgres_url: str) -> object:
    with psycopg.connect(postgres_url, autocommit=True) as connection:
        arrays.register(connection)
        yield connection


@settings(max_examples=50, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    uuids=st.lists(st.uuids()),
    numbers=st.lists(st.integers(-(2**63), 2**63 - 1)),
    booleans=st.lists(st.booleans()),
    data=st.lists(st.binary()),
    texts=st.lists(st.none() | TEXT),
    times=st.lists(st.none() | TIME),
)
def test_arrays_arrive_as_they_were(
    connection: Connection[tuple[object, ...]],
    *,
    uuids: list[object],
    numbers: list[int],
    booleans: list[bool],
    data: list[bytes],
    texts: list[str | None],
    times: list[datetime | None],
) -> None:
    sent = (
        Uuids.of([key.bytes for key in uuids]),  # type: ignore[attr-defined]  # they are UUIDs
        Bigints.of(numbers),
        Booleans.of(booleans),
        Bytes.of(data),
        Texts.of(texts),
        Times.of(times),
    )
    cursor = connection.execute("SELECT %s, %s, %s, %s, %s, %s", sent, binary=True)
    assert cursor.fetchone() == (uuids, numbers, booleans, data, texts, times)


def lose_all_connections(url: str) -> None:
    with psycopg.connect(url, autocommit=True) as connection:
        connection.execute(LOST.encode())


async def test_reads_survive_lost_connections(fresh_postgres_url: str) -> None:
    async with opened(fresh_postgres_url) as store:
        await store.log.insert([append()])
        await asyncio.gather(*(store.log.head() for _ in range(20)))
        lose_all_connections(fresh_postgres_url)
        assert await store.log.head() == 1
        lose_all_connections(fresh_postgres_url)
        await store.cursors.save("a", 1)
        assert await store.cursors.load("a") == 1


async def test_an_append_on_a_lost_connection_is_unavailable_once(fresh_postgres_url: str) -> None:
    async with opened(fresh_postgres_url) as store:
        lose_all_connections(fresh_postgres_url)
        with pytest.raises(Unavailable, match="Postgres at"):
            await store.log.insert([append()])
        await store.log.insert([append()])


async def test_the_writer_carries_appends_over_lost_connections(fresh_postgres_url: str) -> None:
    async with opened(fresh_postgres_url) as store:
        writer = Writer(store.log, first_pause_s=0.001)
        ids = [uuid4() for _ in range(30)]

        for version in range(10):
            appending = [submit(writer, append(one, version)) for one in ids]
            await asyncio.to_thread(lose_all_connections, fresh_postgres_url)
            await asyncio.gather(*appending)
        await writer.close()
        assert len(await store.log.read_all()) == 300


async def test_a_server_that_does_not_answer(fresh_postgres_url: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """Somebody holds the log's lock for too long."""
    async with opened(fresh_postgres_url) as store:
        with psycopg.connect(fresh_postgres_url) as holder, monkeypatch.context() as impatient:
            impatient.setattr("eventstore.postgres_database.ANSWER_TIMEOUT_S", 0.1)
            holder.execute("SELECT sagad_lock_log()")
            with pytest.raises(Unavailable, match=r"no answer for 0\.1 s"):
                await store.log.insert([append()])
            holder.rollback()
        await store.log.insert([append()])


async def test_commits_are_durable_whatever_the_servers_default(fresh_postgres_url: str) -> None:
    with psycopg.connect(fresh_postgres_url, autocommit=True) as connection:
        connection.execute(
            "DO $$ BEGIN EXECUTE format('ALTER DATABASE %I SET synchronous_commit = off', current_database()); END $$"
        )
    database = PostgresDatabase(fresh_postgres_url)
    async with database._own_connection() as own:
        cursor = await own.execute("SHOW synchronous_commit")
        assert await cursor.fetchone() == ("on",)
    await database.close()


async def test_a_cancelled_append_leaves_the_log_usable(fresh_postgres_url: str) -> None:
    async with opened(fresh_postgres_url) as store:
        with psycopg.connect(fresh_postgres_url) as holder:
            holder.execute("SELECT sagad_lock_log()")
            inserting = asyncio.create_task(store.log.insert([append()]))
            while holder.execute(WAITING).fetchone() != (1,):  # noqa: ASYNC110  the server sets no event
                await asyncio.sleep(0.01)
            inserting.cancel()
            with pytest.raises(asyncio.CancelledError):
                await inserting
            holder.rollback()
        await store.log.insert([append()])


async def test_appends_and_beats_need_no_connection_of_the_pool(fresh_postgres_url: str) -> None:
    """So slow queries, however many, keep no daemon from writing or from being taken for alive."""
    async with opened(fresh_postgres_url) as store:
        daemon = uuid4()
        await store.leases.join(daemon, "d", ttl=timedelta(seconds=10))
        with psycopg.connect(fresh_postgres_url, autocommit=True) as holder:
            holder.execute("SELECT pg_advisory_lock(42)")
            fetch = store.index._database.fetch  # type: ignore[attr-defined]  # a slow query
            slow = [asyncio.create_task(fetch("SELECT pg_advisory_lock_shared(42)", {})) for _ in range(2 * POOL_SIZE)]
            while holder.execute(WAITING).fetchone() != (POOL_SIZE,):  # noqa: ASYNC110  the server sets no event
                await asyncio.sleep(0.01)
            one = uuid4()
            await store.log.insert([append(one, index=IndexChange(busy=True), by=daemon)])
            assert await store.leases.beat(daemon)
            assert await store.leases.fence_dead() == []
            assert await store.leases.claim(daemon, limit=1) == []
            holder.execute("SELECT pg_advisory_unlock(42)")
            await asyncio.gather(*slow)


async def test_a_start_that_fails_half_way_leaves_no_connection(
    fresh_postgres_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    database = PostgresDatabase(fresh_postgres_url)

    async def fail() -> None:
        raise psycopg.OperationalError("no thread")

    monkeypatch.setattr(database._pool, "open", fail)
    with pytest.raises(Unavailable, match="no thread"):
        await database.open()
    assert database._appender is None


async def test_two_logs_in_two_schemas_do_not_touch(fresh_postgres_url: str) -> None:
    with psycopg.connect(fresh_postgres_url, autocommit=True) as connection:
        connection.execute("CREATE SCHEMA a; CREATE SCHEMA b")

    def of(schema: str) -> str:
        return f"{fresh_postgres_url}?options={quote(f'-c search_path={schema}')}"

    async with opened(of("a")) as first, opened(of("b")) as second:
        one = uuid4()
        await first.log.insert([append(one, 0, 2, IndexChange(row(one)))])
        assert await second.log.head() == 0
        assert await second.index.execution(one) is None
        await _lock_is_not_shared(of("a"), second)


async def _lock_is_not_shared(url: str, other: Store) -> None:
    with psycopg.connect(url) as holder:
        holder.execute("SELECT sagad_lock_log()")
        await other.log.insert([append()])


async def test_most_updates_of_a_row_touch_no_index(fresh_postgres_url: str) -> None:
    one = uuid4()
    async with opened(fresh_postgres_url) as store:
        for version in range(50):
            cause = ("step", "timer", "signal")[version % 3]
            changed = row(one, cause=cause, error=str(version))
            await store.log.insert([append(one, version, index=IndexChange(changed))])
    with psycopg.connect(fresh_postgres_url, autocommit=True) as connection:
        statistics = "SELECT n_tup_upd, n_tup_hot_upd FROM pg_stat_user_tables WHERE relname = 'executions'"
        while (found := connection.execute(statistics).fetchone()) != (49, 49):
            assert found is not None
            assert found[0] < 49, f"{found[1]} of {found[0]} updates touched no index"
            connection.execute("SELECT pg_stat_clear_snapshot()")
