"""Bad data at rest: who has it is parked with an alarm, the others go on, and once mended it goes on too."""

from __future__ import annotations

import asyncio
import sqlite3
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit
from uuid import UUID

import httpx
import psycopg
import pytest
import structlog

from daemon.api.app import create_app
from daemon.core.state import Finished, Running
from daemon.main import open_daemon
from daemon.settings import Limits, Settings, Store, Workflows
from tests.support import gated_handlers
from tests.support.daemons import in_flight, until

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Iterator, Sequence
    from pathlib import Path

    from daemon.assembled import Daemon

WORKFLOW = """
workflow: story
snapshot_every: 4
nodes:
  first: {task: pass, with: {value: "{{ input }}"}}
  held: {task: gate, with: {name: "{{ execution.id }}", value: "{{ first }}"}}
  last: {task: pass, with: {value: "{{ held }}"}}
edges: [first -> held, held -> last]
output: "{{ last }}"
---
workflow: sleeper
nodes:
  nap: {wait: 1s}
  last: {task: pass, with: {value: "{{ input }}"}}
edges: [nap -> last]
output: "{{ last }}"
"""


@dataclass
class Database:
    """Direct access to what is at rest, with one SQL for both stores: `?` stands for a value."""

    url: str

    def run(self, statement: str, *values: object) -> list[tuple[Any, ...]]:
        """Run a statement; return its rows."""
        if self.url.startswith("sqlite"):
            return self._in_file(statement, [value.hex if isinstance(value, UUID) else value for value in values])
        with psycopg.connect(self.url, autocommit=True) as connection:
            cursor = connection.execute(statement.replace("?", "%s").encode(), values)
            return cursor.fetchall() if cursor.description else []

    def _in_file(self, statement: str, values: Sequence[Any]) -> list[tuple[Any, ...]]:
        connection = sqlite3.connect(urlsplit(self.url).path[1:])
        try:
            with connection:
                return connection.execute(statement, values).fetchall()
        finally:
            connection.close()

    def event(self, execution_id: UUID, version: int) -> tuple[str, bytes]:
        """Return topic and bytes of one event."""
        ((topic, state),) = self.run(
            "SELECT topic, state FROM stored_events WHERE originator_id = ? AND originator_version = ?",
            execution_id,
            version,
        )
        return topic, bytes(state)

    def put(self, execution_id: UUID, version: int, topic: str, state: bytes) -> None:
        """Overwrite one event."""
        self.run(
            "UPDATE stored_events SET topic = ?, state = ? WHERE originator_id = ? AND originator_version = ?",
            topic,
            state,
            execution_id,
            version,
        )


@pytest.fixture(params=["sqlite", "postgres"])
def database(request: pytest.FixtureRequest, tmp_path: Path) -> Database:
    if request.param == "sqlite":
        return Database(f"sqlite:///{tmp_path}/log.db")
    return Database(request.getfixturevalue("fresh_postgres_url"))


@pytest.fixture(autouse=True)
def gates() -> Iterator[None]:
    gated_handlers.gates.clear()
    gated_handlers.entered.clear()
    yield
    gated_handlers.gates.clear()


def settings_of(database: Database, folder: Path, **store: Any) -> Settings:
    file = folder / "flows.yaml"
    file.write_text(WORKFLOW)
    return Settings(
        store=Store(url=database.url, **store),
        workflows=Workflows(paths=(file,), handlers=("tests.support.gated_handlers",)),
        limits=Limits(grace_s=0.1, payload_threshold_bytes=1024),
    )


@asynccontextmanager
async def running(settings: Settings) -> AsyncIterator[Daemon]:
    async with open_daemon(settings, environ={}) as daemon:
        await daemon.start()
        yield daemon


async def two_held(settings: Settings, value: object = 1) -> tuple[UUID, UUID]:
    """Run two executions until a handler is at work for each; then the daemon is gone."""
    async with running(settings) as daemon:
        ids = [(await daemon.intake.start("story", value, key=key, actor="test"))[0] for key in ("bad", "good")]
        for each in ids:
            await until(daemon, each, in_flight("held"))
    for each in ids:
        gated_handlers.gates[str(each)].set()
    return ids[0], ids[1]


async def completed(daemon: Daemon, execution_id: UUID) -> Finished:
    state = await until(daemon, execution_id, lambda state: isinstance(state, Finished))
    assert isinstance(state, Finished)
    assert state.status == "completed"
    return state


async def api(daemon: Daemon, method: str, path: str) -> httpx.Response:
    transport = httpx.ASGITransport(create_app(daemon))
    async with httpx.AsyncClient(transport=transport, base_url="http://127.0.0.1") as client:
        return await client.request(method, path)


async def is_parked(daemon: Daemon, execution_id: UUID, *words: str) -> None:
    """Check every sign of it: the metric, `why`, and that `resume` says the reason."""
    assert list(daemon.engine.parked) == [execution_id]
    assert "sagad_executions_parked 1.0" in (await daemon.metrics.exposition()).decode()
    told = (await api(daemon, "GET", f"/executions/{execution_id}/why")).json()
    assert (told["alarm"], told["status"]) == (True, "parked")
    assert all(word in told["summary"] for word in (*words, f"sagad resume {execution_id}")), told
    refused = await api(daemon, "POST", f"/executions/{execution_id}/resume")
    assert refused.status_code in (409, 500), refused.text
    assert all(word in refused.json()["detail"] for word in words), refused.text


async def goes_on(daemon: Daemon, execution_id: UUID) -> Finished:
    """Resume it, as an operator does after mending, and wait for its end."""
    resumed = await api(daemon, "POST", f"/executions/{execution_id}/resume")
    assert resumed.status_code == 200, resumed.text
    state = await completed(daemon, execution_id)
    assert not daemon.engine.parked
    return state


@pytest.mark.parametrize(
    ("topic", "state", "words"),
    [
        ("StepSucceeded/1", b"\xff\x00 not JSON", ["event 3"]),
        ("StepSucceeded/1", b'{"address": 7}', ["event 3"]),
        ("StepDreamt/1", None, ["event 3", "StepDreamt"]),
        ("StepSucceeded/99", None, ["event 3", "99"]),
        (
            "StepProgressed/1",
            b'{"address":"x","attempt":1,"number":1,"progress":1,"at":"2026-01-01T00:00:00Z"}',
            ["fit"],
        ),
    ],
    ids=["garbage", "another-shape", "unknown-name", "newer-version", "out-of-order"],
)
async def test_an_event_that_cannot_be_read(
    database: Database, tmp_path: Path, topic: str, state: bytes | None, words: list[str]
) -> None:
    settings = settings_of(database, tmp_path)
    bad, good = await two_held(settings)
    kept = database.event(bad, 3)
    database.run("DELETE FROM snapshots")
    database.put(bad, 3, topic, kept[1] if state is None else state)
    with structlog.testing.capture_logs() as logs:
        async with running(settings) as daemon:
            await completed(daemon, good)
            await is_parked(daemon, bad, *words)
            database.put(bad, 3, *kept)
            assert bytes((await goes_on(daemon, bad)).output) == b"1"
    alarms = [line for line in logs if line["event"] == "execution_parked"]
    assert [(line["log_level"], line["execution_id"]) for line in alarms] == [("error", str(bad))]


async def test_a_payload_that_is_missing(database: Database, tmp_path: Path) -> None:
    settings = settings_of(database, tmp_path)
    bad, _ = await two_held(settings, "x" * 3000)
    rows = database.run("SELECT hash, data FROM payloads")
    database.run("DELETE FROM snapshots")
    database.run("DELETE FROM payloads")
    async with running(settings) as daemon:
        assert len(daemon.engine.parked) == 2  # both have the same value, stored once
        reason = daemon.engine.parked[bad]
        assert "payload" in reason
        assert "not in the store" in reason
        for row in rows:
            database.run("INSERT INTO payloads (hash, data) VALUES (?, ?)", *row)
        for each in list(daemon.engine.parked):
            await api(daemon, "POST", f"/executions/{each}/resume")
            await completed(daemon, each)
        assert not daemon.engine.parked


async def test_a_payload_that_was_deleted_on_purpose_parks_nothing(database: Database, tmp_path: Path) -> None:
    """Its tombstone is a value like any other: what becomes of the step is for its handler to say."""
    settings = settings_of(database, tmp_path)
    bad, good = await two_held(settings, "x" * 3000)
    database.run("DELETE FROM snapshots")
    database.run("UPDATE payloads SET data = NULL")
    async with running(settings) as daemon:
        for each in (good, bad):
            state = await until(daemon, each, lambda state: isinstance(state, Finished))
            assert isinstance(state, Finished)
            assert b"$deleted" in bytes(state.input)
        assert not daemon.engine.parked


@pytest.mark.parametrize("damage", [b"\xff\xfe garbage", b"[]", b'{"type":"Running"}', b""], ids=repr)
async def test_a_damaged_snapshot_loses_nothing(database: Database, tmp_path: Path, damage: bytes) -> None:
    settings = settings_of(database, tmp_path)
    bad, good = await two_held(settings)
    assert database.run("SELECT count(*) FROM snapshots")[0][0] > 0
    database.run("UPDATE snapshots SET state = ?", damage)
    async with running(settings) as daemon:
        await completed(daemon, good)
        await completed(daemon, bad)
        assert not daemon.engine.parked


@pytest.mark.parametrize("damage", ["missing", "garbage", "other"])
async def test_a_definition_that_cannot_be_had(database: Database, tmp_path: Path, damage: str) -> None:
    """The execution is pinned to a version that no file has any more, and what the store has of it is damaged."""
    settings = settings_of(database, tmp_path)
    bad, good = await two_held(settings)
    ((pinned, workflow, document, seen),) = database.run("SELECT * FROM definitions WHERE workflow = 'story'")
    (tmp_path / "flows.yaml").write_text(WORKFLOW.replace("workflow: story", "workflow: story\ndescription: another"))
    match damage:
        case "missing":
            database.run("DELETE FROM definitions WHERE hash = ?", pinned)
        case "garbage":
            database.run("UPDATE definitions SET document = ? WHERE hash = ?", b"\xff{", pinned)
        case "other":
            other = bytes(document).replace(b'"held"', b'"kept"')
            database.run("UPDATE definitions SET document = ? WHERE hash = ?", other, pinned)
    async with running(settings) as daemon:
        assert set(daemon.engine.parked) == {bad, good}
        other_id, _ = await daemon.intake.start("sleeper", 3, actor="test")
        await completed(daemon, other_id)
        told = (await api(daemon, "GET", f"/executions/{bad}/why")).json()
        assert (told["alarm"], told["status"], pinned[:12] in told["summary"]) == (True, "parked", True), told
        database.run("DELETE FROM definitions WHERE hash = ?", pinned)
        database.run("INSERT INTO definitions VALUES (?, ?, ?, ?)", pinned, workflow, document, seen)
        for each in (bad, good):
            await api(daemon, "POST", f"/executions/{each}/resume")
            await completed(daemon, each)
        assert not daemon.engine.parked


async def test_a_timer_of_an_execution_that_cannot_be_read_fires_once_it_is_mended(
    database: Database, tmp_path: Path
) -> None:
    settings = settings_of(database, tmp_path)
    async with running(settings) as daemon:
        bad, _ = await daemon.intake.start("sleeper", 4, key="bad", actor="test")
    kept = database.event(bad, 1)
    database.put(bad, 1, "Dreamt/1", kept[1])
    async with running(settings) as daemon:
        good, _ = await daemon.intake.start("sleeper", 5, key="good", actor="test")
        await completed(daemon, good)
        await is_parked(daemon, bad, "event 1", "Dreamt")
        database.put(bad, 1, *kept)
        assert bytes((await goes_on(daemon, bad)).output) == b"4"


async def test_a_message_for_an_execution_that_cannot_be_read_starts_nothing_twice(
    database: Database, tmp_path: Path
) -> None:
    """The same key finds the parked execution; it is refused, and nothing is written."""
    settings = settings_of(database, tmp_path)
    bad, _ = await two_held(settings)
    kept = database.event(bad, 3)
    database.run("DELETE FROM snapshots")
    database.put(bad, 3, "Dreamt/1", kept[1])
    count = "SELECT count(*) FROM stored_events WHERE originator_id = ?"
    before = database.run(count, bad)
    async with running(settings) as daemon:
        with pytest.raises(Exception, match="Dreamt"):
            await daemon.intake.start("story", 1, key="bad", actor="test")
        assert database.run(count, bad) == before


@pytest.mark.parametrize("key", [None, "other"], ids=["no-key", "another-key"])
async def test_an_encrypted_log_without_its_key(database: Database, tmp_path: Path, key: str | None) -> None:
    """Nothing of it can be read, nothing is overwritten; with the right key everything goes on."""
    from eventsourcing.cipher import AESCipher  # noqa: PLC0415  slow to import

    right = {"cipher_topic": "eventsourcing.cipher:AESCipher", "cipher_key": AESCipher.create_key(num_bytes=32)}
    wrong = {} if key is None else {**right, "cipher_key": AESCipher.create_key(num_bytes=32)}
    bad, good = await two_held(settings_of(database, tmp_path, **right))
    before = database.run("SELECT * FROM stored_events")
    async with running(settings_of(database, tmp_path, **wrong)) as daemon:
        assert set(daemon.engine.parked) == {bad, good}
        other, _ = await daemon.intake.start("sleeper", 1, actor="test")
        await until(daemon, other, lambda state: isinstance(state, Running))
    database.run("DELETE FROM stored_events WHERE originator_id = ?", other)
    for table in ("executions", "timers", "leases"):
        database.run(f"DELETE FROM {table} WHERE execution_id = ?", other)  # noqa: S608  names of ours
    assert database.run("SELECT * FROM stored_events") == before
    async with running(settings_of(database, tmp_path, **right)) as daemon:
        await asyncio.gather(completed(daemon, bad), completed(daemon, good))
