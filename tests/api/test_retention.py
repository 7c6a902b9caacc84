"""Retention over HTTP."""

from __future__ import annotations

from typing import TYPE_CHECKING
from uuid import UUID, uuid4

import pytest

from daemon.settings_retention import Retention, RetentionRule
from tests.api.conftest import client_of
from tests.support.daemons import finished, running, settings_for, start

if TYPE_CHECKING:
    from collections.abc import AsyncIterator
    from pathlib import Path

    import httpx

    from daemon.assembled import Daemon

TEXT = "workflow: w\nnodes: {a: {transform: '{{ input }}'}}"


@pytest.fixture
async def daemon(tmp_path: Path) -> AsyncIterator[Daemon]:
    """Run a daemon that looks once a day, and did so before there was anything."""
    rules = (RetentionRule(workflow="w", keep="1ms"),)
    archive = (tmp_path / "archive").as_uri()
    settings = settings_for(tmp_path, TEXT, retention=Retention(archive=archive, rules=rules, interval_s=86_400))
    async with running(settings) as daemon:
        yield daemon


@pytest.fixture
async def client(daemon: Daemon) -> AsyncIterator[httpx.AsyncClient]:
    async with client_of(daemon) as client:
        yield client


async def test_what_goes_is_shown_deleted_listed_and_brought_back(client: httpx.AsyncClient, daemon: Daemon) -> None:
    ids = [(await finished(daemon, await start(daemon, "w", number))).execution_id for number in range(3)]
    plan = (await client.get("/retention")).json()
    assert (plan["going"], plan["ended"], plan["rules"][0]["going"], plan["more"]) == (3, 3, 3, False)
    assert (await client.get("/retention?limit=2")).json()["more"] is True
    for limit, deleted in ((1, 1), (9, 2), (9, 0)):
        done = (await client.post(f"/retention/run?limit={limit}")).json()
        assert done == {"deleted": deleted, "archived": deleted, "kept": []}
    first = (await client.get("/archive?limit=2")).json()
    rest = (await client.get("/archive", params={"cursor": first["next"]})).json()
    listed = [UUID(each["execution_id"]) for each in (*first["executions"], *rest["executions"])]
    assert (sorted(listed), rest["next"]) == (sorted(ids), None)
    back = await client.post(f"/archive/{ids[0]}/restore")
    assert (back.status_code, back.json()["imported"]) == (200, [str(ids[0])])
    assert (await client.get(f"/executions/{ids[0]}")).json()["status"] == "completed"
    again = await client.post(f"/archive/{ids[0]}/restore")
    assert (again.status_code, again.json()["detail"]) == (409, f"execution {ids[0]} is there")


@pytest.mark.parametrize(
    "path",
    [
        "", "/state", "/events", "/why", "/undo", "/lineage", "/export", "/verify", "/diff?to=1", "?wait=1s",
        "/moments", "/moments/1", "/replay", "/past?at=1", "/breakpoints", "/definition", "/checkpoints", "/snapshots",
        "/snapshots/document", "/snapshots/validation", "/approvals", "/steps/double/stream",
    ],
)  # fmt: skip
async def test_what_was_deleted_is_gone_with_a_word(client: httpx.AsyncClient, daemon: Daemon, path: str) -> None:
    """410, when it went and where it is now; 404 is for what never was."""
    execution_id = (await finished(daemon, await start(daemon, "w", 1))).execution_id
    await client.post("/retention/run")
    found = await client.get(f"/executions/{execution_id}{path}")
    assert (found.status_code, found.json()["code"]) == (410, "execution-deleted"), found.text
    assert f"execution {execution_id} was deleted at " in found.json()["detail"]
    assert "archived as file://" in found.json()["detail"]
    assert (await client.get(f"/executions/{uuid4()}{path}")).status_code == 404


@pytest.mark.parametrize("command", ["cancel", "pause", "signals/go"])
async def test_what_was_deleted_takes_no_commands(client: httpx.AsyncClient, daemon: Daemon, command: str) -> None:
    execution_id = (await finished(daemon, await start(daemon, "w", 1))).execution_id
    await client.post("/retention/run")
    assert (await client.post(f"/executions/{execution_id}/{command}")).status_code == 410


async def test_a_file_that_is_damaged_is_told_with_its_line(
    client: httpx.AsyncClient, daemon: Daemon, tmp_path: Path
) -> None:
    execution_id = (await finished(daemon, await start(daemon, "w", 1))).execution_id
    await client.post("/retention/run")
    [file] = (tmp_path / "archive").rglob("*.gz")
    file.write_bytes(file.read_bytes()[:-30])
    found = await client.post(f"/archive/{execution_id}/restore")
    assert (found.status_code, "its file in the archive, line " in found.json()["detail"]) == (409, True)
    file.unlink()
    found = await client.post(f"/archive/{execution_id}/restore")
    assert (found.status_code, "there is no w/" in found.json()["detail"]) == (409, True)
    assert (await client.post(f"/archive/{uuid4()}/restore")).status_code == 404


async def test_what_payloads_take_is_shown_by_workflow(client: httpx.AsyncClient, daemon: Daemon) -> None:
    await finished(daemon, await start(daemon, "w", "x" * 70_000))
    [row] = (await client.get("/storage")).json()["workflows"]
    assert (row["workflow"], row["bytes"] > 70_000, row["quota"], row["nearly_used"]) == ("w", True, None, False)
