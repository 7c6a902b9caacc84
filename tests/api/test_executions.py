"""Starting, looking at and changing executions over HTTP."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any
from uuid import UUID, uuid4

import pytest

from daemon.api import waiting
from daemon.core.state import cause
from eventstore.errors import Unavailable
from eventstore.index import ExecutionFilter
from tests.api.conftest import client_of, started
from tests.support import gated_handlers
from tests.support.daemons import finished, in_flight, until

if TYPE_CHECKING:
    import httpx

    from daemon.assembled import Daemon

ORDER = {"order_id": "A1", "total": 5}
ALL = ExecutionFilter()
UNKNOWN = "00000000-0000-0000-0000-000000000001"
LARGE = {"order_id": "A2", "total": 5000}


def problem_of(answer: httpx.Response) -> dict[str, Any]:
    assert answer.headers["content-type"] == "application/problem+json"
    body: dict[str, Any] = answer.json()
    assert body["status"] == answer.status_code
    assert {"type", "title", "detail", "code"} <= set(body)
    return body


async def test_a_start_that_is_waited_for_gives_the_output(client: httpx.AsyncClient) -> None:
    answer = await client.post("/workflows/order/executions?wait=10s", json={"input": ORDER})
    assert answer.status_code == 200
    body = answer.json()
    assert (body["status"], body["output"], body["started"]) == ("completed", {"charged": 5}, True)
    assert answer.headers["location"] == f"/executions/{body['execution_id']}"


async def test_a_start_that_does_not_finish_in_time_is_accepted(client: httpx.AsyncClient) -> None:
    answer = await client.post("/workflows/order/executions?wait=50ms", json={"input": LARGE})
    assert answer.status_code == 202
    assert answer.json()["status"] == "running"


async def test_the_same_key_starts_once(client: httpx.AsyncClient) -> None:
    headers = {"Idempotency-Key": "k1"}
    path = "/workflows/order/executions?wait=10s"
    first = (await client.post(path, json={"input": ORDER}, headers=headers)).json()
    second = (await client.post(path, json={"input": ORDER}, headers=headers)).json()
    assert first["execution_id"] == second["execution_id"]
    assert (first["started"], second["started"]) == (True, False)


async def test_an_execution_shows_its_steps(client: httpx.AsyncClient) -> None:
    execution_id = (await started(client, "order", ORDER, wait="10s"))["execution_id"]
    body = (await client.get(f"/executions/{execution_id}")).json()
    assert [(step["address"], step["status"]) for step in body["steps"]] == [
        ("reserve", "succeeded"),
        ("large", "succeeded"),
        ("review", "skipped"),
        ("charge", "succeeded"),
    ]
    assert body["steps"][0]["attempts"][0]["duration_ms"] >= 0
    assert body["steps"][0]["input"] == {"value": "A1"}


async def test_a_signal_is_given_once_for_one_key(client: httpx.AsyncClient, daemon: Daemon) -> None:
    view = await started(client, "order", LARGE)
    path = f"/executions/{view['execution_id']}/signals/reviewed"
    headers = {"Idempotency-Key": "s1"}
    first = await client.post(path, json={"by": "me"}, headers=headers)
    second = await client.post(path, json={"by": "me"}, headers=headers)
    assert (first.json()["changed"], second.json()["changed"]) == (True, False)
    execution_id = (await daemon.store.index.executions(ALL))[0].execution_id
    assert (await finished(daemon, execution_id)).status == "completed"
    late = await client.post(path, json={})
    assert problem_of(late)["code"] == "execution-finished"
    assert late.status_code == 409


async def test_a_signal_for_an_unknown_execution_is_kept_only_when_asked_for(client: httpx.AsyncClient) -> None:
    path = f"/executions/{uuid4()}/signals/reviewed"
    assert (await client.post(path, json=True)).status_code == 404
    kept = await client.post(f"{path}?before_start=true", json=True)
    assert (kept.status_code, kept.json()["status"]) == (200, "pending")


async def test_cancelling_ends_it_and_again_changes_nothing(client: httpx.AsyncClient) -> None:
    view = await started(client, "order", LARGE)
    path = f"/executions/{view['execution_id']}/cancel"
    first = (await client.post(path, json={"reason": "twice"})).json()
    second = (await client.post(path)).json()
    assert (first["status"], first["reason"], first["changed"]) == ("cancelled", "twice", True)
    assert (second["reason"], second["changed"]) == ("twice", False)


async def test_resume_is_harmless(client: httpx.AsyncClient) -> None:
    view = await started(client, "order", LARGE)
    answer = await client.post(f"/executions/{view['execution_id']}/resume")
    assert (answer.status_code, answer.json()["status"]) == (200, "running")


async def test_why_names_the_handler_at_work(client: httpx.AsyncClient, daemon: Daemon) -> None:
    view = await started(client, "gated", "why")
    execution_id = (await daemon.store.index.executions(ALL))[0].execution_id
    await until(daemon, execution_id, in_flight("one"))
    body = (await client.get(f"/executions/{view['execution_id']}/why")).json()
    assert (body["causes"][0]["kind"], body["causes"][0]["address"]) == ("step", "one")
    gated_handlers.gates["why"].set()


async def test_state_can_be_asked_for_at_a_version_and_at_a_time(client: httpx.AsyncClient) -> None:
    view = await started(client, "order", ORDER, wait="10s")
    path = f"/executions/{view['execution_id']}/state"
    early = (await client.get(path, params={"version": 2})).json()
    assert (early["status"], early["steps"]["reserve"]["status"]) == ("running", "running")
    at_the_end = (await client.get(path, params={"at": view["finished_at"]})).json()
    assert at_the_end["status"] == "completed"
    before = await client.get(path, params={"at": "2000-01-01T00:00:00Z"})
    assert problem_of(before)["code"] == "execution-not-found"
    both = (await client.get(path, params={"at": view["finished_at"], "version": 2})).json()
    assert both["version"] == 2


async def test_lists_are_filtered_and_paged_without_gaps(client: httpx.AsyncClient) -> None:
    made = {(await started(client, "order", {**ORDER, "total": n}, wait="10s"))["execution_id"] for n in range(7)}
    await started(client, "order", LARGE)
    seen: list[str] = []
    cursor: dict[str, str] = {}
    while True:
        page = (await client.get("/executions", params={"limit": "3", "status": "completed", **cursor})).json()
        seen += [row["execution_id"] for row in page["executions"]]
        if page["next"] is None:
            break
        cursor = {"cursor": page["next"]}
    assert (set(seen), len(seen)) == (made, 7)
    assert (await client.get("/executions", params={"workflow": "none"})).json() == {"executions": [], "next": None}


@pytest.mark.parametrize(
    ("path", "status", "code"),
    [
        (f"/executions/{UNKNOWN}", 404, "execution-not-found"),
        (f"/executions/{UNKNOWN}/state", 404, "execution-not-found"),
        (f"/executions/{UNKNOWN}/why", 404, "execution-not-found"),
        (f"/executions/{UNKNOWN}/events", 404, "execution-not-found"),
        ("/executions/none", 422, "invalid"),
        (f"/executions/{UNKNOWN}?wait=soon", 422, "invalid"),
        ("/executions?limit=0", 422, "invalid"),
        ("/executions?status=lost", 422, "invalid"),
        ("/executions?cursor=abc", 422, "invalid"),
        ("/executions?workflow=%00", 422, "invalid"),
        ("/workflows/none", 404, "unknown-workflow"),
        ("/nothing", 404, "not-found"),
    ],
)
async def test_what_cannot_be_is_answered_with_a_problem(
    client: httpx.AsyncClient, path: str, status: int, code: str
) -> None:
    answer = await client.get(path)
    assert (answer.status_code, problem_of(answer)["code"]) == (status, code)


@pytest.mark.parametrize(
    ("body", "status", "code"),
    [
        (b'{"input": ', 400, "malformed"),
        (b'{"input": "\xff"}', 400, "malformed"),
        (b'{"inputs": 1}', 422, "invalid"),
        (b"[1]", 422, "invalid"),
        (b'{"input": {"order_id": "1", "total": -1}}', 422, "invalid-input"),
        (b'{"input": "' + b"x" * 5000 + b'"}', 413, "too-large"),
        (b'{"input": ' + b"[" * 1500 + b"]" * 1500 + b"}", 422, "invalid"),
    ],
)
async def test_a_bad_body_starts_nothing(
    client: httpx.AsyncClient, daemon: Daemon, body: bytes, status: int, code: str
) -> None:
    answer = await client.post("/workflows/order/executions", content=body)
    assert (answer.status_code, problem_of(answer)["code"]) == (status, code)
    assert not await daemon.store.index.executions(ALL)


async def test_a_body_without_a_length_is_cut_off_too(client: httpx.AsyncClient) -> None:
    async def endless() -> Any:
        while True:
            yield b" " * 1000

    answer = await client.post("/workflows/order/executions", content=endless())
    assert answer.status_code == 413


async def test_workflows_and_their_schema_are_shown(client: httpx.AsyncClient) -> None:
    body = (await client.get("/workflows")).json()
    assert [workflow["workflow"] for workflow in body["workflows"]] == ["gated", "order"]
    one = (await client.get("/workflows/order")).json()
    assert one["definition"]["nodes"]["review"] == {"signal": {"name": "reviewed", "timeout": "24h"}}
    assert (await client.get("/definition-schema")).json()["title"]


async def test_a_store_that_does_not_answer_gives_503(daemon: Daemon, monkeypatch: pytest.MonkeyPatch) -> None:
    """The request is told to come again; the daemon goes on."""
    monkeypatch.setattr(waiting, "ANSWER_WAIT_S", 0.01)
    view: dict[str, Any] = {}
    async with client_of(daemon) as client:
        with monkeypatch.context() as patched:
            patched.setattr(daemon.store.log, "insert", _never)
            answer = await client.post(
                "/workflows/order/executions", json={"input": ORDER}, headers={"Idempotency-Key": "k"}
            )
            assert (answer.status_code, problem_of(answer)["code"]) == (503, "unavailable")
            assert int(answer.headers["retry-after"]) >= 1
        monkeypatch.setattr(waiting, "ANSWER_WAIT_S", 10)
        view = (
            await client.post(
                "/workflows/order/executions?wait=10s", json={"input": ORDER}, headers={"Idempotency-Key": "k"}
            )
        ).json()
    assert view["status"] == "completed"


async def _never(_batch: object) -> None:
    raise Unavailable("planned")


async def test_a_pause_keeps_handlers_from_beginning_until_it_is_resumed(
    client: httpx.AsyncClient, daemon: Daemon
) -> None:
    target = UUID((await started(client, "order", LARGE))["execution_id"])
    await until(daemon, target, lambda state: cause(state) == "signal")
    paused = (await client.post(f"/executions/{target}/pause", json={"reason": "lunch"})).json()
    assert (paused["changed"], paused["status"], paused["waits_for"]) == (True, "paused", "pause")
    assert (await client.post(f"/executions/{target}/pause")).json()["changed"] is False
    await client.post(f"/executions/{target}/signals/reviewed", json={})
    assert (await client.get(f"/executions/{target}")).json()["steps"][-1]["status"] == "queued"
    why = (await client.get(f"/executions/{target}/why")).json()
    assert why["causes"][0]["sentence"].startswith("Paused by api since")
    assert [row["status"] for row in (await client.get("/executions?status=paused")).json()["executions"]] == ["paused"]
    await client.post(f"/executions/{target}/resume")
    assert (await finished(daemon, target)).status == "completed"
