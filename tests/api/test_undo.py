"""The undo plan over HTTP: shown, and answered."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any
from uuid import UUID

import pytest

from tests.api.conftest import client_of, started
from tests.support.daemons import finished, running, settings_for, until

if TYPE_CHECKING:
    from collections.abc import AsyncIterator
    from pathlib import Path

    import httpx

    from daemon.assembled import Daemon

SAGA = """
workflow: saga
nodes:
  book: {task: pass, with: {value: 7}, compensate: {task: pass, with: {value: "{{ step.output }}"}}}
  mail: {task: pass, compensate: {irreversible: {reason: it is gone, manual: call them}}}
  end: {fail: enough}
edges: [book -> mail -> end]
"""


@pytest.fixture
async def daemon(tmp_path: Path) -> AsyncIterator[Daemon]:
    async with running(settings_for(tmp_path, SAGA)) as here:
        yield here


@pytest.fixture
async def client(daemon: Daemon) -> AsyncIterator[httpx.AsyncClient]:
    async with client_of(daemon) as here:
        yield here


async def asked(daemon: Daemon, client: httpx.AsyncClient) -> UUID:
    """Start one, and wait until its undo asks what to do about the mail."""
    target = UUID((await started(client, "saga", None))["execution_id"])
    await until(daemon, target, lambda state: bool(getattr(state, "asking", None)))
    return target


async def test_the_plan_is_shown_and_an_answer_lets_it_go_on(daemon: Daemon, client: httpx.AsyncClient) -> None:
    target = await asked(daemon, client)
    shown: dict[str, Any] = (await client.get(f"/executions/{target}/undo")).json()
    assert (shown["undoing"], shown["ends_as"], shown["mode"]) == (True, "failed", "automatic")
    assert [each["address"] for each in shown["plan"]] == ["mail", "book"]
    assert [each["choices"] for each in shown["asking"]] == [["skip", "done"]]
    listed = (await client.get("/executions?status=compensating")).json()["executions"]
    assert [(row["execution_id"], row["waits_for"]) for row in listed] == [(str(target), "person")]

    answer = {"address": "mail", "choice": "done", "note": "called", "question": shown["asking"][0]["question"]}
    assert (await client.post(f"/executions/{target}/undo", json=answer)).json()["changed"] is True
    assert (await client.post(f"/executions/{target}/undo", json=answer)).json()["changed"] is False
    await finished(daemon, target)
    shown = (await client.get(f"/executions/{target}/undo")).json()
    assert [(each["address"], each["status"], each["note"]) for each in shown["effects"]] == [
        ("book", "compensated", None), ("mail", "by_hand", "called"),
    ]  # fmt: skip


@pytest.mark.parametrize(
    ("body", "status", "words"),
    [
        (b"", 422, "the body is missing"),
        (b'{"choice": "perhaps"}', 422, "another shape"),
        (b'{"choice": "go"}', 409, "nothing is asked about the plan; what is asked about: mail"),
        (b'{"address": "mail", "choice": "go"}', 409, "'go' is no answer about mail; choose: skip, done"),
    ],
)
async def test_an_answer_that_cannot_be_is_refused(
    daemon: Daemon, client: httpx.AsyncClient, body: bytes, status: int, words: str
) -> None:
    target = await asked(daemon, client)
    answer = await client.post(f"/executions/{target}/undo", content=body)
    assert (answer.status_code, words in answer.json()["detail"]) == (status, True), answer.text


async def test_nothing_is_shown_of_an_unknown_execution(client: httpx.AsyncClient) -> None:
    for answer in (
        await client.get("/executions/00000000-0000-0000-0000-000000000001/undo"),
        await client.post("/executions/00000000-0000-0000-0000-000000000001/undo", json={"choice": "go"}),
    ):
        assert answer.status_code == 404


async def test_a_signalled_execution_has_nothing_to_undo_yet(client: httpx.AsyncClient) -> None:
    target = "00000000-0000-0000-0000-000000000002"
    await client.post(f"/executions/{target}/signals/go?before_start=true", json=1)
    shown = (await client.get(f"/executions/{target}/undo")).json()
    assert (shown["plan"], shown["effects"], shown["mode"]) == ([], [], None)


DONE = """
workflow: done
nodes: {book: {task: pass, compensate: {task: pass}}}
"""


async def test_a_completed_execution_is_undone_and_its_events_go_on_after_its_first_end(tmp_path: Path) -> None:
    async with running(settings_for(tmp_path, DONE)) as daemon, client_of(daemon) as client:
        target = UUID((await started(client, "done", None))["execution_id"])
        await finished(daemon, target)
        begun = await client.post(f"/executions/{target}/undo", json={"choice": "start", "note": "sent twice"})
        assert begun.json()["changed"] is True
        await until(daemon, target, lambda state: getattr(state, "status", "") == "cancelled")
        again = await client.post(f"/executions/{target}/undo", json={"choice": "start"})
        assert (again.json()["changed"], again.json()["reason"]) == (False, "sent twice")
        whole = (await client.get(f"/executions/{target}/events")).json()
        ends = [each["version"] for each in whole["events"] if each["type"].startswith("ExecutionC")]
        part = (await client.get(f"/executions/{target}/events", params={"limit": ends[0]})).json()
        assert (len(ends), whole["finished"], part["finished"]) == (2, True, False)
