"""A damaged SQLite file: said with its name and a remedy, nothing overwritten, what can be read is used."""

from __future__ import annotations

import sqlite3
from pathlib import Path
from typing import TYPE_CHECKING
from uuid import UUID

import pytest
import structlog
from typer.testing import CliRunner

from daemon.cli.program import app
from daemon.core.events import EVENT_TYPES, UPCASTERS
from eventstore.codec import Codec
from eventstore.errors import StoreError, Undecodable
from eventstore.store import open_store
from tests.faults.test_bad_data import Database, api, completed, gates, running, settings_of, two_held

if TYPE_CHECKING:
    from collections.abc import Callable

__all__ = ["gates"]

REMEDY = "restore it from a backup"


@pytest.fixture
def database(tmp_path: Path) -> Database:
    return Database(f"sqlite:///{tmp_path}/log.db")


def file_of(database: Database) -> Path:
    """Return the file, with everything in it and nothing beside it."""
    path = Path(database.url.removeprefix("sqlite:///"))
    connection = sqlite3.connect(path)
    connection.execute("PRAGMA wal_checkpoint(TRUNCATE)")
    connection.close()
    return path


@pytest.mark.parametrize(
    "damage",
    [
        lambda data: data[:50],
        lambda data: data[: len(data) // 2],
        lambda data: data[:-4096],
        lambda data: b"not a database at all" * 300,
        lambda data: b"\0" * 100 + data[100:],
    ],
    ids=["header-cut", "half", "last-page", "text", "header-gone"],
)
async def test_a_truncated_or_foreign_file_is_refused_and_left_alone(
    database: Database, tmp_path: Path, damage: Callable[[bytes], bytes]
) -> None:
    settings = settings_of(database, tmp_path)
    await two_held(settings)
    path = file_of(database)
    damaged = damage(path.read_bytes())
    path.write_bytes(damaged)
    with pytest.raises(StoreError) as refused:
        async with running(settings):
            pass
    assert str(path) in str(refused.value)
    assert REMEDY in str(refused.value)
    assert path.read_bytes() == damaged


def break_chain(path: Path, filling: bytes) -> None:
    """Damage one page in the middle: a value that fills pages of its own goes on in a page that cannot be."""
    data = path.read_bytes()
    size = int.from_bytes(data[16:18], "big")
    place = next(at for at in range(0, len(data), size) if data[at + 4 : at + size] == filling * (size - 4))
    path.write_bytes(data[:place] + b"\xff" * 4 + data[place + 4 :])


async def test_a_damaged_page_parks_the_executions_whose_events_it_holds(database: Database, tmp_path: Path) -> None:
    """An execution whose events fill pages of their own loses one; another goes on, and so does the daemon."""
    settings = settings_of(database, tmp_path)
    bad, good = await two_held(settings)
    path = file_of(database)
    topic, state = database.event(bad, 1)
    database.put(bad, 1, topic, state[:-1] + b',"more":"' + b"." * 30_000 + b'"}')
    database.run("DELETE FROM snapshots")
    whole = file_of(database).read_bytes()
    break_chain(path, b".")
    with structlog.testing.capture_logs() as logs:
        async with running(settings) as daemon:
            await completed(daemon, good)
            assert list(daemon.engine.parked) == [bad]
            assert str(path) in daemon.engine.parked[bad]
            assert REMEDY in daemon.engine.parked[bad]
            told = (await api(daemon, "GET", f"/executions/{bad}/why")).json()
            assert (told["status"], told["alarm"]) == ("parked", True)
    assert [line["execution_id"] for line in logs if line["event"] == "execution_parked"] == [str(bad)]
    path.write_bytes(whole)  # the backup: what the good one has done since is done again
    for beside in ("-wal", "-shm"):
        path.with_name(path.name + beside).unlink(missing_ok=True)
    async with running(settings) as daemon:
        await completed(daemon, bad)
        await completed(daemon, good)


async def test_a_damaged_page_is_undecodable_for_every_read(database: Database, tmp_path: Path) -> None:
    """Repeating does not help: it is not said to be unavailable, which would be tried for ever."""
    settings = settings_of(database, tmp_path)
    bad, _ = await two_held(settings)
    path = file_of(database)
    data = path.read_bytes()
    size = int.from_bytes(data[16:18], "big")
    ((root,),) = database.run("SELECT rootpage FROM sqlite_master WHERE name = 'stored_events'")
    start = (root - 1) * size
    path.write_bytes(data[:start] + b"\xff" * size + data[start + size :])
    store = await open_store(database.url, Codec(EVENT_TYPES, UPCASTERS), auto_migrate=False)
    try:
        with pytest.raises(Undecodable, match=REMEDY):
            await store.log.read(bad)
        with pytest.raises(Undecodable, match=REMEDY):
            await store.log.read_all()
    finally:
        await store.close()


async def test_the_command_line_says_why_an_execution_is_parked(
    database: Database, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    settings = settings_of(database, tmp_path)
    bad, _ = await two_held(settings)
    database.run("DELETE FROM snapshots")
    database.put(bad, 3, "Dreamt/1", b"{}")
    (tmp_path / "sagad.toml").write_text(f'[store]\nurl = "{database.url}"\n')
    monkeypatch.chdir(tmp_path)
    said = _sagad("why", str(bad))
    assert said[0] == 0
    assert "parked" in said[1]
    assert "Dreamt" in said[1]
    assert f"sagad resume {bad}" in said[1].replace("\n", " ")
    code, text = _sagad("show", str(bad))
    assert (code, "Dreamt" in text) == (1, True)


def _sagad(*arguments: str) -> tuple[int, str]:
    from concurrent.futures import ThreadPoolExecutor  # noqa: PLC0415  the command runs an event loop of its own

    with ThreadPoolExecutor(1) as pool:
        done = pool.submit(lambda: CliRunner().invoke(app, list(arguments))).result()
    text = done.output + (f"{done.exception}" if done.exception else "")
    return done.exit_code, text


async def test_an_index_that_disagrees_with_the_log_is_rebuilt(database: Database, tmp_path: Path) -> None:
    """The log is the truth: rows that are gone, or say something else, come back, and the work goes on."""
    settings = settings_of(database, tmp_path)
    bad, good = await two_held(settings)
    ghost = UUID(int=7)
    for table in ("executions", "leases", "timers"):
        database.run(f"DELETE FROM {table} WHERE execution_id = ?", bad)  # noqa: S608  names of ours
    database.run("UPDATE executions SET status = 'completed', finished_at = started_at, cause = '' WHERE true")
    database.run("INSERT INTO leases (execution_id) VALUES (?)", ghost)
    database.run("INSERT INTO timers VALUES (?, 'nap', 0)", ghost)
    async with running(settings) as daemon:
        await completed(daemon, good)  # its lease was there
        assert list(daemon.engine.parked) in ([], [ghost])
        row = await daemon.store.index.execution(good)
        assert row is not None
        assert row.status == "completed"
        assert await daemon.store.index.execution(bad) is None
    (tmp_path / "sagad.toml").write_text(f'[store]\nurl = "{database.url}"\n')
    code, text = _sagad("index", "rebuild", "--config", str(tmp_path / "sagad.toml"))
    assert code == 0, text
    async with running(settings) as daemon:
        await completed(daemon, bad)
        assert await daemon.store.index.execution(ghost) is None
        assert await daemon.store.index.without_cause() == []
