"""Opening: URLs, schemas, migrations, and everything that can be wrong with a database."""

import asyncio
import sqlite3
from pathlib import Path
from uuid import uuid4

import psycopg
import pytest

from eventstore.codec import Codec
from eventstore.errors import Unavailable, Undecodable, Unusable
from eventstore.index import ExecutionFilter
from eventstore.queries import latest_version, migrations
from eventstore.snapshots import Snapshot
from eventstore.store import Store, open_store, without_password
from tests.eventstore.test_codec import cipher
from tests.support.stores import CODEC, NOW, append, opened

OLD_ROW = """
    INSERT INTO executions
        (execution_id, workflow, definition, status, cause, busy, started_at, updated_at, finished_at)
    VALUES (:key, 'w', 'd', 's', 'c', :busy, :now, :now, :end)
"""


@pytest.mark.parametrize(
    "url",
    [
        "",
        "log.db",
        "mysql://localhost/db",
        "sqlite://",
        "sqlite:///",
        "sqlite://log.db",
        "sqlite:///:memory:",
        "sqlite:///log.db?mode=ro",
        "postgresql://localhost/db?no_such_option=1",
    ],
)
async def test_a_wrong_url_is_refused(url: str) -> None:
    with pytest.raises(Unusable, match="store URL"):
        await open_store(url, CODEC)


async def test_paths_are_relative_or_absolute(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    async with opened("sqlite:///here.db"), opened(f"sqlite:///{tmp_path}/with%20space.db"):
        paths = list(tmp_path.iterdir())  # noqa: ASYNC240  a look at a local directory
    assert {"here.db", "with space.db"} <= {path.name for path in paths}


async def test_a_server_that_is_not_there(unused_tcp_port: int) -> None:
    with pytest.raises(Unavailable, match=rf"Postgres at 127\.0\.0\.1:{unused_tcp_port}: .*refused") as refused:
        await open_store(f"postgresql://me:hush@127.0.0.1:{unused_tcp_port}/db", CODEC)
    assert "hush" not in str(refused.value)


async def test_a_database_that_is_not_there(fresh_postgres_url: str) -> None:
    with pytest.raises(Unavailable, match="no_such_database"):
        await open_store(fresh_postgres_url.rpartition("/")[0] + "/no_such_database", CODEC)


def test_passwords_are_not_shown() -> None:
    assert without_password("postgresql://me:hush@host/db") == "postgresql://me:***@host/db"
    assert without_password("postgresql://me@host/db") == "postgresql://me@host/db"


async def test_closing_twice_and_using_a_closed_store(store_url: str) -> None:
    store = await open_store(store_url, CODEC)
    await store.close()
    await store.close()
    if store_url != "memory://":
        with pytest.raises(Unavailable):
            await store.log.insert([append()])
        with pytest.raises(Unavailable):
            await store.log.read_all()


def set_version(url: str, version: int) -> None:
    record = f"INSERT INTO sagad_schema (version, name) VALUES ({version}, 'from the future')"  # noqa: S608  an int
    if url.startswith("sqlite"):
        connection = sqlite3.connect(url.removeprefix("sqlite:///"))
        with connection:
            connection.execute(record)
        connection.close()
    else:
        with psycopg.connect(url, autocommit=True) as server:
            server.execute(record.encode())


@pytest.mark.parametrize("store_url", ["sqlite", "postgres"], indirect=True)
async def test_a_newer_schema_is_refused(store_url: str) -> None:
    async with opened(store_url):
        pass
    set_version(store_url, 9999)
    with pytest.raises(
        Unusable, match=r"schema version 9999, this program works with \d+: run the program that wrote it"
    ):
        await open_store(store_url, CODEC)


@pytest.mark.parametrize("store_url", ["sqlite", "postgres"], indirect=True)
async def test_an_empty_database_is_refused_unless_it_may_be_migrated(store_url: str) -> None:
    with pytest.raises(Unusable, match=r"schema version 0.*run `sagad migrate`"):
        await open_store(store_url, CODEC, auto_migrate=False)
    async with opened(store_url):
        pass
    store = await open_store(store_url, CODEC, auto_migrate=False)
    await store.close()


async def test_migrating_again_changes_nothing(store_url: str) -> None:
    async with opened(store_url) as store:
        one = uuid4()
        await store.log.insert([append(one)])
        await store.migrate()
        assert len(await store.log.read(one)) == 1


@pytest.mark.parametrize("store_url", ["sqlite", "postgres"], indirect=True)
async def test_many_may_open_an_empty_database_at_once(store_url: str) -> None:
    stores = await asyncio.gather(*(open_store(store_url, CODEC) for _ in range(5)))
    await asyncio.gather(*(store.log.insert([append()]) for store in stores))
    assert await stores[0].log.head() == 5
    await asyncio.gather(*(store.close() for store in stores))


@pytest.mark.parametrize("dialect", ["sqlite", "postgres"])
def test_migrations_are_numbered_without_gaps(dialect: str) -> None:
    assert [step.version for step in migrations(dialect)] == list(range(1, latest_version(dialect) + 1))


@pytest.mark.parametrize("store_url", ["sqlite", "postgres"], indirect=True)
async def test_leases_come_from_the_column_that_was(store_url: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """Who was busy and had not finished has a lease after the migration, and it is an orphan."""
    for name in ("sqlite_database", "postgres_database"):
        monkeypatch.setattr(f"eventstore.{name}.migrations", lambda dialect: migrations(dialect)[:1])
    monkeypatch.setattr("eventstore.store.latest_version", lambda _: 1)
    monkeypatch.setattr("eventstore.store._encrypted", _as_it_is)
    busy, idle, finished = uuid4(), uuid4(), uuid4()
    async with opened(store_url) as store:
        database = store.index._database  # type: ignore[attr-defined]  # the rows of the older program
        for key, was_busy, end in ((busy, True, None), (idle, False, None), (finished, True, NOW)):
            row = {"key": key, "now": NOW, "busy": was_busy, "end": end}
            await database.execute((OLD_ROW, row))
    monkeypatch.undo()
    async with opened(store_url) as store:
        assert await store.index.busy(after=None, limit=9) == [busy]
        assert await store.leases.holder(busy) is None
        assert {found.execution_id for found in await store.index.executions(ExecutionFilter())} == {
            busy,
            idle,
            finished,
        }


async def _as_it_is(store: Store, _: Codec) -> Store:
    """Stand for what an older program did not do."""
    return store


def test_both_databases_are_at_one_version() -> None:
    assert latest_version("sqlite") == latest_version("postgres")


@pytest.mark.parametrize("keep", [600, 5000])
async def test_a_truncated_file(tmp_path: Path, keep: int) -> None:
    path = tmp_path / "log.db"
    async with opened(f"sqlite:///{path}") as store:
        await store.log.insert([append(count=100)])
    path.write_bytes(path.read_bytes()[:keep])
    with pytest.raises(Unavailable, match=r"log\.db: .*(malformed|not a database).*restore it"):
        await open_store(f"sqlite:///{path}", CODEC)


async def test_a_file_that_is_no_database(tmp_path: Path) -> None:
    path = tmp_path / "log.db"
    path.write_text("orders = 1\n" * 500)
    with pytest.raises(Unavailable, match=r"log\.db: file is not a database .*restore it"):
        await open_store(f"sqlite:///{path}", CODEC)
    assert path.read_text().startswith("orders")


async def test_a_damaged_page_is_reported_when_it_is_read(tmp_path: Path) -> None:
    path = tmp_path / "log.db"
    async with opened(f"sqlite:///{path}") as store:
        await store.log.insert([append(count=5000)])
    content = bytearray(path.read_bytes())
    content[60 * 4096 : 80 * 4096] = b"\xff" * (20 * 4096)
    path.write_bytes(content)
    async with opened(f"sqlite:///{path}") as store:
        with pytest.raises(Undecodable, match="malformed"):
            await store.log.read_all(limit=5000)


@pytest.mark.parametrize("folder", ["missing", "a-file", "/proc"])
async def test_a_directory_that_cannot_be_written(tmp_path: Path, folder: str) -> None:
    (tmp_path / "a-file").write_text("")
    with pytest.raises(Unavailable, match=r"unable to open .*\(is .* a directory that this user may write to\?\)"):
        await open_store(f"sqlite:///{tmp_path / folder / 'log.db'}", CODEC)


async def test_another_process_that_writes_for_long(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("eventstore.sqlite_database.PRAGMAS", "PRAGMA busy_timeout = 1;")
    async with opened(f"sqlite:///{tmp_path}/log.db") as store:
        other = sqlite3.connect(tmp_path / "log.db", isolation_level=None)
        other.execute("BEGIN IMMEDIATE")
        with pytest.raises(Unavailable, match=r"database is locked .*another process"):
            await store.log.insert([append()])
        other.execute("ROLLBACK")
        other.close()
        await store.log.insert([append()])


async def test_sqlite_commits_are_on_disk(tmp_path: Path) -> None:
    async with opened(f"sqlite:///{tmp_path}/log.db") as store:
        fetch = store.index._database.fetch  # type: ignore[attr-defined]  # no other way to look
        assert await fetch("PRAGMA synchronous", {}) == [(2,)]
        assert await fetch("PRAGMA journal_mode", {}) == [("wal",)]


@pytest.mark.parametrize("store_url", ["sqlite", "postgres"], indirect=True)
async def test_snapshots_are_encrypted(store_url: str) -> None:
    codec = Codec([], cipher=cipher())
    snapshot = Snapshot(uuid4(), 1, "fold/1", b"secret", NOW)
    async with opened(store_url, codec) as store:
        await store.snapshots.save(snapshot, keep_last=1)
        assert await store.snapshots.latest(snapshot.execution_id) == snapshot
        ((state,),) = await store.index._database.fetch("SELECT state FROM snapshots", {})  # type: ignore[attr-defined]
        assert b"secret" not in bytes(state)
