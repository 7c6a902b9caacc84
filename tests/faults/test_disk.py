"""A disk that is slow, full, read-only or gone, a server that is used up: all waits and says so, nothing is lost."""

from __future__ import annotations

import asyncio
import resource
import sqlite3
from contextlib import ExitStack
from typing import TYPE_CHECKING
from urllib.parse import urlsplit

import httpx
import psycopg
import pytest

from daemon.core.events import EVENT_TYPES, UPCASTERS
from daemon.core.state import Finished
from daemon.testing.databases import make_unique_name
from eventstore.codec import Codec
from eventstore.errors import Unavailable
from eventstore.index import ExecutionFilter
from eventstore.store import open_store
from tests.faults.test_bad_data import Database, api, completed, gates, running, settings_of
from tests.support.daemons import until
from tests.support.process import PATIENCE_S
from tests.support.process import sagad as sagad  # noqa: PLC0414  a fixture is found by being here
from tests.support.services import required

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path
    from uuid import UUID

    from daemon.assembled import Daemon
    from tests.support.process import SagadProcess

__all__ = ["gates"]

REFUSING = """
CREATE FUNCTION refuse() RETURNS trigger LANGUAGE plpgsql AS
$$ BEGIN RAISE EXCEPTION 'planned: no space left on device' USING ERRCODE = '{code}'; END $$;
CREATE TRIGGER refuse BEFORE INSERT ON stored_events FOR EACH STATEMENT EXECUTE FUNCTION refuse();
"""
SLOW = """
CREATE FUNCTION refuse() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN PERFORM pg_sleep(0.3); RETURN NULL; END $$;
CREATE TRIGGER refuse BEFORE INSERT ON stored_events FOR EACH STATEMENT EXECUTE FUNCTION refuse();
"""
MENDED = "DROP TRIGGER refuse ON stored_events; DROP FUNCTION refuse;"


async def readiness(daemon: Daemon) -> tuple[int, str]:
    answer = await api(daemon, "GET", "/readyz")
    (store,) = (each for each in answer.json()["connections"] if each["name"] == "store")
    return answer.status_code, store["detail"]


async def says(daemon: Daemon, words: str) -> None:
    """Return when `/readyz` says so."""
    async with asyncio.timeout(20):
        while True:
            status, detail = await readiness(daemon)
            if status == 503 and words in detail:
                return
            await asyncio.sleep(0.02)  # what is watched has no event


async def check_complete(daemon: Daemon, wanted: set[str]) -> None:
    """Each key has one execution, it ended once, and its versions are dense."""
    rows = await daemon.store.index.executions(ExecutionFilter(limit=1000))
    assert sorted(row.dedupe_key or "" for row in rows) == sorted(wanted)
    for row in rows:
        events = await daemon.store.log.read(row.execution_id)
        assert [each.version for each in events] == list(range(1, len(events) + 1))
        assert row.status == "completed"


async def refused_then_mended(daemon: Daemon, mend: Callable[[], object], words: str) -> None:
    """Start executions while the store refuses to write: they wait; when it is mended, all of them end."""
    starts = [
        asyncio.create_task(daemon.intake.start("sleeper", number, key=f"waits-{number}", actor="test"))
        for number in range(5)
    ]
    await says(daemon, words)
    assert not any(start.done() for start in starts)
    await asyncio.to_thread(mend)
    for execution_id, _ in await asyncio.gather(*starts):
        await completed(daemon, execution_id)
    await completed(daemon, (await daemon.intake.start("sleeper", 6, key="after", actor="test"))[0])
    assert (await readiness(daemon))[0] == 200
    await check_complete(daemon, {"after", "before", *(f"waits-{number}" for number in range(5))})


@pytest.mark.parametrize("code", ["53100", "58030", "53200", "25006", "57014"])
async def test_a_postgres_that_cannot_write(fresh_postgres_url: str, tmp_path: Path, code: str) -> None:
    """Disk full, an I/O error, no memory, read-only, cancelled: the server's words are in `/readyz`."""
    database = Database(fresh_postgres_url)
    async with running(settings_of(database, tmp_path)) as daemon:
        await completed(daemon, (await daemon.intake.start("sleeper", 0, key="before", actor="test"))[0])
        database.run(REFUSING.replace("{code}", code))
        await refused_then_mended(daemon, lambda: database.run(MENDED), "no space left on device")


async def test_a_slow_disk_only_takes_longer(fresh_postgres_url: str, tmp_path: Path) -> None:
    database = Database(fresh_postgres_url)
    async with running(settings_of(database, tmp_path)) as daemon:
        database.run(SLOW)
        keys = {f"slow-{number}" for number in range(20)}
        started = [await asyncio.create_task(_start(daemon, key)) for key in sorted(keys)[:1]]
        started += await asyncio.gather(*(_start(daemon, key) for key in sorted(keys)[1:]))
        for execution_id in started:
            await completed(daemon, execution_id)
        await check_complete(daemon, keys)


async def _start(daemon: Daemon, key: str) -> UUID:
    return (await daemon.intake.start("sleeper", key, key=key, actor="test"))[0]


async def test_a_file_that_another_process_locks(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("eventstore.sqlite_database.BUSY_TIMEOUT_S", 0.1)
    database = Database(f"sqlite:///{tmp_path}/log.db")
    async with running(settings_of(database, tmp_path)) as daemon:
        await completed(daemon, (await daemon.intake.start("sleeper", 0, key="before", actor="test"))[0])
        other = sqlite3.connect(tmp_path / "log.db", isolation_level=None, check_same_thread=False)
        other.execute("BEGIN IMMEDIATE")
        await refused_then_mended(daemon, lambda: other.execute("ROLLBACK"), "another process")
        other.close()


async def test_a_file_that_is_deleted_while_in_use(tmp_path: Path) -> None:
    """What would be written to it would be gone with the process: nothing is accepted until it is back."""
    database = Database(f"sqlite:///{tmp_path}/log.db")
    path, aside = tmp_path / "log.db", tmp_path / "aside.db"
    async with running(settings_of(database, tmp_path)) as daemon:
        await completed(daemon, (await daemon.intake.start("sleeper", 0, key="before", actor="test"))[0])
        path.rename(aside)
        await refused_then_mended(daemon, lambda: aside.rename(path), "deleted or replaced")


@pytest.mark.parametrize("place", ["/proc/sagad-test.db", "/nowhere/sagad-test.db", "{folder}"])
async def test_a_place_that_cannot_be_written(place: str, tmp_path: Path) -> None:
    """A file system that is read-only, a folder that is not there, a folder: named at once, with a hint."""
    path = place.replace("{folder}", str(tmp_path))
    with pytest.raises(Unavailable) as refused:
        await open_store(f"sqlite:///{path}", Codec(EVENT_TYPES, UPCASTERS))
    assert path in str(refused.value)
    assert "may write to" in str(refused.value)


async def test_a_full_disk_under_sqlite(sagad: Callable[..., SagadProcess], tmp_path: Path) -> None:
    """The file may not grow: what was acknowledged stays, what was not is refused, and with room again all goes on."""
    flow = "workflow: order\nnodes:\n  a: {transform: {text: '{{ input.text }}'}}\n"
    url = f"sqlite:///{tmp_path}/full.db"
    daemon = sagad(flow, store={"url": url})
    daemon.start()
    await daemon.ready()
    acknowledged: set[str] = set()
    async with httpx.AsyncClient(trust_env=False, timeout=PATIENCE_S) as client:
        assert await _ask(client, daemon, "first", acknowledged)
        largest = max(file.stat().st_size for file in tmp_path.glob("full.db*"))  # noqa: ASYNC240  one folder
        before = resource.prlimit(daemon.process.pid, resource.RLIMIT_FSIZE)
        resource.prlimit(daemon.process.pid, resource.RLIMIT_FSIZE, (largest, before[1]))
        for number in range(2):
            await _ask(client, daemon, f"full-{number}", acknowledged, patience_s=1.5)
        assert len(acknowledged) < 3

        async def told() -> bool:
            status, body = await daemon.readiness()
            details = [each["detail"] for each in body["connections"] if each["name"] == "store"]
            return status == 503 and "full.db" in details[0]

        await daemon.until(told)
        resource.prlimit(daemon.process.pid, resource.RLIMIT_FSIZE, before)
        await daemon.ready()
        for number in range(3):
            assert await _ask(client, daemon, f"full-{number}", acknowledged)
    assert await daemon.stop() == 0
    store = await open_store(url, Codec(EVENT_TYPES, UPCASTERS))
    rows = await store.index.executions(ExecutionFilter(limit=100))
    assert {row.dedupe_key for row in rows} == acknowledged
    assert {row.status for row in rows} == {"completed"}
    for row in rows:
        assert [each.version for each in await store.log.read(row.execution_id)] == [1, 2, 3]
    await store.close()


async def _ask(
    client: httpx.AsyncClient, daemon: SagadProcess, key: str, acknowledged: set[str], *, patience_s: float = PATIENCE_S
) -> bool:
    """Start an execution with a large input; note the key when it was accepted."""
    try:
        answer = await client.post(
            f"{daemon.url}/workflows/order/executions",
            json={"input": {"text": "x" * 50_000}},
            headers={"Idempotency-Key": key},
            timeout=patience_s,
        )
    except httpx.TimeoutException:
        return False
    if answer.is_success:
        acknowledged.add(key)
    else:
        assert answer.status_code == 503, answer.text
    return answer.is_success


@pytest.fixture
def limited(fresh_postgres_url: str) -> Iterator[tuple[str, Callable[[int], None]]]:
    """Give the URL of a database whose owner is no superuser, and a function that limits its connections."""
    role, name = make_unique_name("role").replace("-", "_"), urlsplit(fresh_postgres_url).path[1:]
    admin = Database(required("SAGAD_TEST_POSTGRES_URL"))
    admin.run(f"CREATE ROLE {role} LOGIN PASSWORD 'secret'")
    admin.run(f"ALTER DATABASE {name} OWNER TO {role}")
    Database(fresh_postgres_url).run(f"ALTER SCHEMA public OWNER TO {role}")
    parts = urlsplit(fresh_postgres_url)

    def limit(most: int) -> None:
        admin.run(f"ALTER DATABASE {name} CONNECTION LIMIT {most}")

    url = parts._replace(netloc=f"{role}:secret@{parts.hostname}:{parts.port}").geturl()
    try:
        yield url, limit
    finally:
        admin.run(f"ALTER DATABASE {name} OWNER TO CURRENT_USER")
        Database(fresh_postgres_url).run(f"DROP OWNED BY {role} CASCADE")
        admin.run(f"DROP ROLE {role}")


async def test_a_server_whose_connections_others_use_up(
    limited: tuple[str, Callable[[int], None]], fresh_postgres_url: str, tmp_path: Path
) -> None:
    """At the start and while it runs: the server's words, and on it goes when there is room."""
    url, limit = limited
    database = Database(fresh_postgres_url)
    with ExitStack() as others:
        others.enter_context(psycopg.connect(url))
        limit(1)
        with pytest.raises(Unavailable, match="too many connections"):
            await open_store(url, Codec(EVENT_TYPES, UPCASTERS))
    limit(-1)
    async with running(settings_of(Database(url), tmp_path)) as daemon:
        await completed(daemon, (await daemon.intake.start("sleeper", 0, key="before", actor="test"))[0])
        others = ExitStack()
        others.enter_context(psycopg.connect(url))
        limit(1)
        database.run(
            "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE application_name = 'sagad'"
            " AND datname = current_database()"
        )

        def make_room() -> None:
            others.close()
            limit(-1)

        await refused_then_mended(daemon, make_room, "too many connections")
        assert isinstance(
            await until(daemon, await _start(daemon, "last"), lambda s: isinstance(s, Finished)), Finished
        )
