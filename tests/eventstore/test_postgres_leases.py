"""What is particular to the leases in Postgres: a dead process is seen at once, by the session that ends with it."""

import asyncio
import signal
import sys
from collections.abc import Sequence
from datetime import timedelta
from typing import Any
from uuid import UUID, uuid4

import psycopg
import pytest

from eventstore import postgres_database
from eventstore.errors import Unavailable
from eventstore.index import IndexChange
from eventstore.leases import Member
from eventstore.store import Store
from tests.support.stores import append, opened

TTL = timedelta(minutes=5)
PROCESS = """
import asyncio, sys
from datetime import timedelta
from uuid import UUID
from tests.support.stores import CODEC, open_store

async def main():
    store = await open_store(sys.argv[1], CODEC)
    await store.leases.join(UUID(sys.argv[2]), "doomed", ttl=timedelta(minutes=5))
    print("joined", flush=True)
    await asyncio.Event().wait()

asyncio.run(main())
"""
LISTENERS = """
    SELECT pg_terminate_backend(pid) FROM pg_stat_activity
    WHERE datname = current_database() AND query LIKE 'LISTEN sagad_leases%'
"""


def run(url: str, statement: str) -> list[tuple[object, ...]]:
    with psycopg.connect(url, autocommit=True) as connection:
        cursor = connection.execute(statement.encode())
        return cursor.fetchall() if cursor.description else []


def up_since(url: str, time: str) -> None:
    body = f"CREATE OR REPLACE FUNCTION sagad_up_since() RETURNS timestamptz LANGUAGE sql AS $$ SELECT {time} $$"
    run(url, body)


def beaten_before(url: str, interval: str) -> None:
    run(url, f"UPDATE daemons SET beat_at = clock_timestamp() - interval '{interval}'")  # noqa: S608  of this file


async def joined(store: Store, name: str) -> UUID:
    daemon_id = uuid4()
    await store.leases.join(daemon_id, name, ttl=TTL)
    return daemon_id


@pytest.mark.parametrize("asked", ["claim", "hinted"])
async def test_what_must_not_be_done_twice_is_not_when_its_answer_is_lost(
    fresh_postgres_url: str, monkeypatch: pytest.MonkeyPatch, asked: str
) -> None:
    """The caller is told, and looks at what it holds: a second try would give others, or none."""
    carry_out = postgres_database._in_one_transaction

    async def carry_out_and_lose(connection: Any, queries: Any) -> Any:
        monkeypatch.undo()
        await carry_out(connection, queries)
        await connection.close()
        raise psycopg.OperationalError("lost")

    async with opened(fresh_postgres_url) as store:
        daemon, one = await joined(store, "d"), uuid4()
        await store.log.insert([append(one, index=IndexChange(busy=True))])
        if asked == "hinted":
            assert await store.leases.claim(daemon, limit=1) == [one]
            await store.leases.hint(one)
        monkeypatch.setattr(postgres_database, "_in_one_transaction", carry_out_and_lose)
        with pytest.raises(Unavailable):
            await (store.leases.claim(daemon, limit=1) if asked == "claim" else store.leases.hinted(daemon))
        assert await store.leases.held(daemon) == [one]


async def until(url: str, query: str, answer: object) -> None:
    while run(url, query) != [(answer,)]:  # noqa: ASYNC110  the server sets no event
        await asyncio.sleep(0.01)


async def fenced(store: Store) -> Sequence[Member]:
    while not (dead := await store.leases.fence_dead()):  # noqa: ASYNC110  the server sets no event for a lost client
        await asyncio.sleep(0.02)
    return dead


async def test_a_killed_process_is_seen_long_before_its_ttl(fresh_postgres_url: str) -> None:
    doomed = uuid4()
    async with opened(fresh_postgres_url) as store:
        up_since(fresh_postgres_url, "clock_timestamp() - interval '1 hour'")
        mine = await joined(store, "mine")
        process = await asyncio.create_subprocess_exec(
            sys.executable, "-c", PROCESS, fresh_postgres_url, str(doomed), stdout=asyncio.subprocess.PIPE
        )
        assert process.stdout is not None
        assert await process.stdout.readline() == b"joined\n"
        one = uuid4()
        await store.log.insert([append(one, index=IndexChange(busy=True), by=doomed)])
        beaten_before(fresh_postgres_url, "2 s")
        assert await store.leases.fence_dead() == []
        process.send_signal(signal.SIGKILL)
        await process.wait()
        assert [member.name for member in await asyncio.wait_for(fenced(store), 10)] == ["doomed"]
        assert await store.leases.claim(mine, limit=9) == [one]


async def test_who_has_beaten_just_now_is_alive_without_a_session(fresh_postgres_url: str) -> None:
    async with opened(fresh_postgres_url) as store:
        up_since(fresh_postgres_url, "clock_timestamp() - interval '1 hour'")
        one = await joined(store, "one")
        await store.leases._end_session(one)  # type: ignore[attr-defined]  # as if its process had died
        await store.leases.beat(one)
        assert await store.leases.fence_dead() == []
        beaten_before(fresh_postgres_url, "2 s")
        assert [member.id for member in await asyncio.wait_for(fenced(store), 10)] == [one]


async def test_after_a_restart_all_have_time_to_come_back(fresh_postgres_url: str) -> None:
    async with opened(fresh_postgres_url) as store:
        one = await joined(store, "one")
        await store.leases._end_session(one)  # type: ignore[attr-defined]  # as if its process had died
        beaten_before(fresh_postgres_url, "2 min")
        up_since(fresh_postgres_url, "clock_timestamp() - interval '4 min'")
        assert await store.leases.fence_dead() == []
        up_since(fresh_postgres_url, "clock_timestamp() - interval '6 min'")
        assert [member.id for member in await asyncio.wait_for(fenced(store), 10)] == [one]


def test_since_when_the_server_is_up(postgres_url: str) -> None:
    """After a crash it starts its processes anew, and not the one that `pg_postmaster_start_time` is about."""
    checkpointer = "SELECT backend_start FROM pg_stat_activity WHERE backend_type = 'checkpointer'"
    (started,), (checked,) = (
        run(postgres_url, "SELECT pg_postmaster_start_time()")[0],
        run(postgres_url, checkpointer)[0],
    )
    assert checked is None or checked >= started  # type: ignore[operator]  # both are times


async def test_a_lost_session_is_made_anew_at_once(fresh_postgres_url: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("eventstore.postgres_leases.SESSION_PAUSE_S", 0.01)
    async with opened(fresh_postgres_url) as store:
        up_since(fresh_postgres_url, "clock_timestamp() - interval '1 hour'")
        one = await joined(store, "one")
        async with store.leases.news(one) as news:
            beaten_before(fresh_postgres_url, "2 s")
            assert len(run(fresh_postgres_url, LISTENERS)) == 1
            await asyncio.wait_for(news.wait(), 10)
            await until(fresh_postgres_url, f"SELECT sagad_session_lives('{one}')", answer=True)
            assert await store.leases.fence_dead() == []


async def test_a_claim_does_not_wait_for_an_append(fresh_postgres_url: str) -> None:
    """One that is stuck in the middle holds the log's lock and its own rows; the others are free."""
    async with opened(fresh_postgres_url) as store:
        mine = await joined(store, "mine")
        one, two = uuid4(), uuid4()
        await store.log.insert([append(key, index=IndexChange(busy=True)) for key in (one, two)])
        with psycopg.connect(fresh_postgres_url) as stuck:
            stuck.execute("SELECT sagad_lock_log()")
            stuck.execute("DELETE FROM leases WHERE execution_id = %s", (one,))
            assert await store.leases.claim(mine, limit=9) == [two]
            assert await store.leases.beat(mine)
            stuck.rollback()
        assert await store.leases.claim(mine, limit=9) == [one]


async def test_a_store_that_is_closed_leaves_no_session(fresh_postgres_url: str) -> None:
    async with opened(fresh_postgres_url) as store:
        await joined(store, "one")
    sessions = (
        "SELECT count(*) FROM pg_locks WHERE locktype = 'advisory' AND objsubid = 2 AND database = "
        "(SELECT oid FROM pg_database WHERE datname = current_database())"
    )
    await until(fresh_postgres_url, sessions, 0)
