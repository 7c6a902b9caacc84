"""Following the log: nothing skipped, nothing twice, whatever the writers do."""

import asyncio
from collections.abc import Awaitable, Callable, Sequence
from contextlib import aclosing
from uuid import UUID, uuid4

import psycopg
import pytest
from psycopg import AsyncConnection

from eventstore import arrays
from eventstore.errors import Unavailable
from eventstore.log import Append, Recorded
from eventstore.memory import MemoryIndex, MemoryLog
from eventstore.postgres import PostgresLog
from eventstore.postgres_database import SQL
from eventstore.store import Store
from eventstore.tail import follow
from tests.support.stores import CODEC, FaultyLog, append, opened

Reopen = Callable[..., Awaitable[Store]]
NEVER_S = 3600.0
WAITING = """
    SELECT count(*) FROM pg_locks WHERE locktype = 'advisory' AND NOT granted
        AND database = (SELECT oid FROM pg_database WHERE datname = current_database())
"""
LISTENERS = """
    SELECT pg_terminate_backend(pid) FROM pg_stat_activity
    WHERE datname = current_database() AND query LIKE 'LISTEN%'
"""


async def take(
    store: Store, count: int, *, after_position: int = 0, poll_interval_s: float = NEVER_S
) -> list[Recorded]:
    """Follow until `count` events have come."""
    found: list[Recorded] = []
    async with store.hints() as wake:
        batches = follow(store.log, after_position=after_position, wake=wake, poll_interval_s=poll_interval_s, limit=7)
        async with aclosing(batches):  # type: ignore[type-var]  # an async generator behind its protocol
            async for batch in batches:
                found += batch
                if len(found) >= count:
                    break
    return found


async def test_what_is_there_comes_first(store: Store) -> None:
    await store.log.insert([append(count=20)])
    assert await take(store, 20) == await store.log.read_all()


async def test_it_begins_after_a_position(store: Store) -> None:
    await store.log.insert([append(count=5)])
    second = (await store.log.read_all())[1].position
    assert [found.version for found in await take(store, 3, after_position=second)] == [3, 4, 5]


async def test_a_hint_wakes_it(store: Store) -> None:
    """It would poll after an hour."""
    async with asyncio.TaskGroup() as group:
        following = group.create_task(take(store, 3))
        for _ in range(3):
            await store.log.insert([append()])
    assert [found.position for found in following.result()] == [found.position for found in await store.log.read_all()]


async def test_polling_finds_what_no_hint_told(store: Store) -> None:
    batches = follow(store.log, after_position=0, wake=asyncio.Event(), poll_interval_s=0.01)
    following = asyncio.ensure_future(anext(batches))
    await store.log.insert([append()])
    assert len(await following) == 1


async def test_a_log_that_does_not_answer_is_asked_again() -> None:
    log = FaultyLog(MemoryLog(CODEC, MemoryIndex()))
    await log.insert([append()])
    log.read_faults = [Unavailable("away"), Unavailable("still")]
    batches = follow(log, after_position=0, wake=asyncio.Event(), poll_interval_s=0)
    assert len(await anext(batches)) == 1


async def test_it_stops_when_cancelled(store: Store) -> None:
    following = asyncio.create_task(take(store, 1))
    await asyncio.sleep(0)
    following.cancel()
    with pytest.raises(asyncio.CancelledError):
        await following


@pytest.mark.parametrize("store_url", ["sqlite", "postgres"], indirect=True)
async def test_two_racing_writers_are_followed_without_a_gap(store: Store, reopen: Reopen) -> None:
    """Each writer has connections of its own; the reader reads while they write."""
    writers = [store, await reopen()]

    async def write(writer: Store) -> None:
        for _ in range(60):
            await writer.log.insert([append(count=3), append()])

    async with asyncio.TaskGroup() as group:
        following = group.create_task(take(await reopen(), 480, poll_interval_s=0.01))
        for writer in writers:
            group.create_task(write(writer))
    assert following.result() == await store.log.read_all(limit=1000)


async def begin_append(url: str, log: PostgresLog, batch: Sequence[Append]) -> AsyncConnection[tuple[object, ...]]:
    """Append on a connection of its own, and leave the transaction open."""
    connection = await AsyncConnection.connect(url)
    arrays.register(connection)
    await connection.execute(SQL["append"].encode(), log.arguments(batch)[0])
    return connection


async def seen_by_a_slow_and_a_quick_writer(url: str, store: Store) -> tuple[list[UUID], list[UUID]]:
    """Return what a reader saw and what the log holds.

    The slow writer has its position but has not committed when the quick one, who came later, writes; the reader reads
    as soon as the quick one has committed or is seen to wait.
    """
    assert isinstance(store.payloads, PostgresLog)
    slow, quick = append(UUID(int=1)), append(UUID(int=2))
    connection = await begin_append(url, store.payloads, [slow])
    writing = asyncio.create_task(store.log.insert([quick]))
    async with await AsyncConnection.connect(url, autocommit=True) as watch:
        while not writing.done():
            cursor = await watch.execute(WAITING)
            if await cursor.fetchone() == (1,):
                break
            await asyncio.sleep(0.01)
    seen = list(await store.log.read_all())
    await connection.commit()
    await connection.close()
    await writing
    seen += await store.log.read_all(after_position=seen[-1].position if seen else 0)
    return [found.execution_id for found in seen], [found.execution_id for found in await store.log.read_all()]


async def test_a_reader_does_not_pass_a_slow_writer(fresh_postgres_url: str) -> None:
    async with opened(fresh_postgres_url) as store:
        seen, held = await seen_by_a_slow_and_a_quick_writer(fresh_postgres_url, store)
    assert seen == held == [UUID(int=1), UUID(int=2)]


async def test_without_the_lock_a_reader_would_pass_it(fresh_postgres_url: str) -> None:
    """The test above would notice."""
    async with opened(fresh_postgres_url) as store:
        with psycopg.connect(fresh_postgres_url, autocommit=True) as connection:
            connection.execute("CREATE OR REPLACE FUNCTION sagad_lock_log() RETURNS void LANGUAGE sql AS 'SELECT'")
        seen, held = await seen_by_a_slow_and_a_quick_writer(fresh_postgres_url, store)
    assert seen == [UUID(int=2)]
    assert held == [UUID(int=1), UUID(int=2)]


async def test_listening_survives_the_loss_of_its_connection(
    fresh_postgres_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("eventstore.postgres_database.LISTEN_PAUSE_S", 0.01)
    async with opened(fresh_postgres_url) as store, store.hints() as wake:
        await asyncio.wait_for(wake.wait(), 10)
        with psycopg.connect(fresh_postgres_url, autocommit=True) as connection:
            wake.clear()
            assert len(connection.execute(LISTENERS).fetchall()) == 1
        await asyncio.wait_for(wake.wait(), 10)
        following = asyncio.create_task(take(store, 1))
        await store.log.insert([append(uuid4())])
        assert len(await asyncio.wait_for(following, 10)) == 1
