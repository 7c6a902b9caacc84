"""Debugging by HTTP: breakpoints of executions that go on, moments, expressions, replays."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any
from uuid import UUID, uuid4

import pytest

from daemon.core.state import Running
from daemon.core.values import from_json
from tests.api.conftest import client_of, started
from tests.support import gated_handlers
from tests.support.daemons import finished, running, settings_for, until

if TYPE_CHECKING:
    from collections.abc import AsyncIterator
    from pathlib import Path

    import httpx

    from daemon.assembled import Daemon
    from daemon.core.state import State

FLOW = """
workflow: stops
vars: {rate: 1}
nodes:
  a: {task: gate, with: {name: "{{ input }}", value: 1}}
  b: {task: pass, with: {value: "{{ vars.rate }}"}}
  c: {task: pass, with: {value: "{{ [b, vars.rate] }}"}}
edges: [a -> b -> c]
output: "{{ c }}"
"""
B = {"node": "b", "condition": "a == 1", "errors": False}


@pytest.fixture
async def daemon(tmp_path: Path) -> AsyncIterator[Daemon]:
    async with running(settings_for(tmp_path, FLOW)) as daemon:
        yield daemon


@pytest.fixture
async def client(daemon: Daemon) -> AsyncIterator[httpx.AsyncClient]:
    async with client_of(daemon) as client:
        yield client


@pytest.fixture
def name(tmp_path: Path) -> str:
    """Name a gate that no other test has."""
    return str(tmp_path)


def stands(state: State) -> bool:
    return isinstance(state, Running) and state.stop is not None and not state.in_flight


async def standing(client: httpx.AsyncClient, daemon: Daemon, name: str) -> str:
    """Start an execution, let it come to its breakpoint; return its path."""
    view = await started(client, "stops", name)
    target = f"/executions/{view['execution_id']}"
    answer = await client.put(f"{target}/breakpoints", json={"breakpoints": [B]}, headers={"Sagad-Actor": "ann"})
    assert answer.json()["breakpoints"] == [B]
    gated_handlers.gates[name].set()
    await until(daemon, UUID(view["execution_id"]), stands)
    return target


async def ended(daemon: Daemon, target: str) -> Any:
    return from_json((await finished(daemon, UUID(target.rpartition("/")[2]))).output)


async def test_an_execution_stands_and_is_let_go_on(client: httpx.AsyncClient, daemon: Daemon, name: str) -> None:
    target = await standing(client, daemon, name)
    view = (await client.get(f"{target}/breakpoints")).json()
    assert (view["standing"]["address"], view["standing"]["actor"], view["held"]) == ("b", "ann", ["b"])
    assert (await client.get(target)).json()["waits_for"] == "breakpoint"
    why = (await client.get(f"{target}/why")).json()
    assert [cause["kind"] for cause in why["causes"]] == ["breakpoint"]
    assert "before step b begins" in why["causes"][0]["sentence"]
    assert "set by ann: break b if a == 1" in why["causes"][0]["sentence"]
    assert (await client.get("/executions")).json()["executions"][0]["waits_for"] == "breakpoint"
    stop = view["standing"]["stop"]
    assert (await client.post(f"{target}/debug/continue", json={"stop": stop})).json()["changed"]
    assert await ended(daemon, target) == [1, 1]
    again = await client.post(f"{target}/debug/continue", json={"stop": stop})
    assert (again.status_code, again.json()["code"]) == (409, "execution-finished")


async def test_others_go_on(client: httpx.AsyncClient, daemon: Daemon, name: str) -> None:
    await standing(client, daemon, name)
    other = await started(client, "stops", name, wait="20s")
    assert other["output"] == [1, 1]


async def test_variables_are_edited_and_a_step_is_skipped(client: httpx.AsyncClient, daemon: Daemon, name: str) -> None:
    target = await standing(client, daemon, name)
    assert (await client.post(f"{target}/debug/edit", json={"variables": {"rate": 3}})).json()["changed"]
    assert (await client.post(f"{target}/evaluate", json={"expression": "{{ vars.rate + a }}"})).json()["value"] == 4
    assert (await client.post(f"{target}/debug/skip", json={"output": "by hand"})).json()["changed"]
    assert await ended(daemon, target) == ["by hand", 3]


async def test_a_step_is_sent_what_is_given_by_hand(client: httpx.AsyncClient, daemon: Daemon, name: str) -> None:
    target = await standing(client, daemon, name)
    await client.post(f"{target}/debug/edit", json={"input": {"value": 9}})
    await client.post(f"{target}/debug/over")
    state = await until(daemon, UUID(target.rpartition("/")[2]), stands)
    assert isinstance(state, Running)
    assert state.stop is not None
    assert state.stop.address == "c"
    await client.post(f"{target}/debug/continue")
    assert await ended(daemon, target) == [9, 1]


@pytest.mark.parametrize(
    ("method", "path", "body", "status", "message"),
    [
        ("PUT", "breakpoints", None, 422, "the body is missing"),
        ("PUT", "breakpoints", {"breakpoints": [{"node": "bb"}]}, 409, "there is no node 'bb'; did you mean 'b'?"),
        ("PUT", "breakpoints", {"breakpoints": [{"where": "b"}]}, 422, "unknown field"),
        ("POST", "debug/jump", None, 422, "Input should be"),
        ("POST", "debug/retry", None, 409, "step b has not failed"),
        ("POST", "debug/edit", {"variables": {"rat": 1}}, 409, "no variable 'rat'; did you mean 'rate'?"),
        ("POST", "evaluate", None, 422, "the body is missing"),
        ("POST", "evaluate", {"expression": "1 +"}, 422, "unexpected"),
        ("POST", "evaluate", {"expression": "nothing"}, 422, "'nothing' is not defined"),
        ("POST", "evaluate", {"expression": "1", "moment": 99}, 404, "there is no moment 99"),
        ("GET", "moments/99", None, 404, "there is no moment 99"),
    ],
)
async def test_what_cannot_be_done_says_why(  # noqa: PLR0917  a table
    client: httpx.AsyncClient, daemon: Daemon, name: str, method: str, path: str, body: Any, status: int, message: str
) -> None:
    target = await standing(client, daemon, name)
    answer = await client.request(method, f"{target}/{path}", json=body)
    assert answer.status_code == status, answer.text
    assert message in answer.text


async def test_one_that_does_not_stand_or_is_not_there_is_told_so(client: httpx.AsyncClient, name: str) -> None:
    view = await started(client, "stops", name)
    answer = await client.post(f"/executions/{view['execution_id']}/debug/over")
    assert (answer.status_code, "does not stand" in answer.json()["detail"]) == (409, True)
    gated_handlers.gates[name].set()
    for method, path in (("GET", "breakpoints"), ("GET", "moments"), ("GET", "replay"), ("GET", "definition")):
        assert (await client.request(method, f"/executions/{uuid4()}/{path}")).status_code == 404


async def test_moments_are_listed_and_looked_at(client: httpx.AsyncClient, daemon: Daemon, name: str) -> None:
    """Their lines are those of the definition's text."""
    target = await standing(client, daemon, name)
    await client.post(f"{target}/debug/continue")
    await ended(daemon, target)
    view = (await client.get(f"{target}/moments", params={"limit": 4})).json()
    assert [each["said"] for each in view["moments"]] == ["stops starts", "a begins", "b is held", "b begins"]
    assert (view["count"], view["next"]) == (6, 5)
    rest = (await client.get(f"{target}/moments", params={"from": 5})).json()
    assert [each["said"] for each in rest["moments"]] == ["c begins", "stops completes"]
    assert rest["next"] is None
    text = (await client.get(f"{target}/definition")).json()["text"].splitlines()
    assert text[view["moments"][1]["line"] - 1].strip().startswith("a:")
    seen = (await client.get(f"{target}/moments/5")).json()
    assert seen["seen"]["steps"] == {"a": 1, "b": 1}
    assert (seen["step"]["status"], seen["frames"][0]["name"], seen["state"]["version"]) == ("running", "c", 10)
    asked = await client.post(f"{target}/evaluate", json={"expression": "b is defined", "moment": 3})
    assert asked.json() == {"value": False, "moment": 3, "version": view["moments"][2]["version"]}


async def test_an_execution_is_replayed_as_it_went(client: httpx.AsyncClient, daemon: Daemon, name: str) -> None:
    target = await standing(client, daemon, name)
    await client.post(f"{target}/debug/continue")
    await ended(daemon, target)
    answer = await client.get(f"{target}/replay", params={"speed": 1000, "longest_pause": 0.01})
    assert answer.headers["content-type"].startswith("text/event-stream")
    blocks = [dict(line.split(": ", 1) for line in block.splitlines()) for block in answer.text.split("\n\n") if block]
    listed = (await client.get(f"{target}/events")).json()["events"]
    assert [each["event"] for each in blocks] == [each["type"] for each in listed]
    assert [each["id"] for each in blocks] == [str(number) for number in range(1, len(listed) + 1)]
    assert json.loads(blocks[1]["data"])["address"] == "a"


async def test_an_execution_begins_with_breakpoints(client: httpx.AsyncClient, name: str) -> None:
    body = {"input": name, "breakpoints": [{"node": "a"}]}
    view = (await client.post("/workflows/stops/executions", json=body)).json()
    assert view["waits_for"] == "breakpoint"
    refused = await client.post("/workflows/stops/executions", json={"breakpoints": [{"node": "z"}]})
    assert (refused.status_code, "no node 'z'" in refused.json()["detail"]) == (409, True)
