"""The Python client against a real daemon's application, and against the OpenAPI document."""

from __future__ import annotations

import inspect
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any
from uuid import UUID

import httpx
import pytest

from daemon.api.app import create_app
from daemon.client import Client, NoAnswer, NotCompleted, NotFound, Refused
from tests.api.conftest import WORKFLOWS
from tests.support import gated_handlers

if TYPE_CHECKING:
    from daemon.assembled import Daemon
    from daemon.client.execution import Execution

ORDER = WORKFLOWS.partition("---")[0]
OTHER = ORDER.replace('value: "{{ input.total }}"', 'value: "{{ input.total * 2 }}"')
NOT_THE_CLIENTS = {("GET", "/metrics")}
"""What is for others: Prometheus reads it."""


@pytest.fixture
async def sagad(client: httpx.AsyncClient) -> Client:
    return Client(http=client, actor="ann")


async def charged(sagad: Client, total: int, key: str | None = None) -> Execution:
    order = await sagad.start("order", {"order_id": str(total), "total": total}, key=key)
    assert await order.result() == {"charged": total}
    return order


async def test_an_execution_from_its_start_to_its_output(sagad: Client) -> None:
    """The same key gives the same execution; its events and rows are there to be read."""
    order = await charged(sagad, 7, key="seven")
    assert (await charged(sagad, 7, key="seven")).id == order.id
    assert (await order.show())["status"] == "completed"
    page = await order.events()
    assert (page["events"][0]["type"], page["finished"]) == ("ExecutionStarted", True)
    assert [row["execution_id"] async for row in sagad.executions(workflow="order")] == [str(order.id)]
    assert [row async for row in sagad.executions(status="failed")] == []
    [version] = (await sagad.versions("order"))["versions"]
    assert (version["current"], version["executions"]) == (True, 1)


async def test_signals_pauses_and_ends(sagad: Client) -> None:
    order = await sagad.start("order", {"order_id": "1", "total": 5000})
    assert "review" in str(await order.why())
    assert (await order.pause(reason="lunch"))["changed"]
    assert await sagad.resume(workflow="order", status="paused") == 1
    await order.signal("reviewed", data=True, key="r1")
    assert await order.result() == {"charged": 5000}
    other = await sagad.start("order", {"order_id": "2", "total": 5000})
    await other.cancel(reason="enough")
    with pytest.raises(NotCompleted, match=f"execution {other.id} cancelled: enough"):
        await other.result()


async def test_the_past_of_an_execution(sagad: Client) -> None:
    """Look, compare, fork with edits, rewind, mark, export and import: as the HTTP API does."""
    order = await charged(sagad, 7)
    assert (await order.state(version=1))["status"] == "running"
    assert (await order.state(at=datetime.now(UTC)))["status"] == "completed"
    assert not (await order.diff(version=1))["same"]
    assert {"op": "replace", "path": "/status", "value": "completed"} in await order.patch(version=1)
    await order.mark("begun", version=1)
    assert [each["name"] for each in (await order.checkpoints())["checkpoints"]] == ["begun"]
    assert (await order.past("before:charge"))["again"] == "CompleteStep reserve"
    assert (await order.rewind("before:charge", dry_run=True))["left"] == ["charge"]
    assert (await order.fork("before:charge", dry_run=True))["again"] == "CompleteStep reserve"
    fork = await order.fork("before:charge", input={"order_id": "7", "total": 8}, key="f")
    forked = sagad.execution(fork["execution_id"])
    assert await forked.result() == {"charged": 8}
    assert (await order.lineage())["forks"][0]["execution_id"] == str(forked.id)
    assert (await order.rewind("before:charge", key="r"))["to_version"] > 0
    assert await order.result() == {"charged": 7}
    assert (await order.verify())["sound"]
    assert (await order.pin(reason="court"))["pin"]["reason"] == "court"
    assert (await order.unpin())["changed"]
    assert [event async for event in order.replay()][-1] is not None
    assert [event["type"] async for event in order.follow()][-1] == "ExecutionCompleted"
    file = b"".join([part async for part in forked.export()])
    copied = await sagad.import_file(file, on_conflict="as-new")
    assert (await sagad.execution(copied["execution_id"]).show())["output"] == {"charged": 8}


async def test_other_definitions(sagad: Client) -> None:
    order = await charged(sagad, 7)
    assert (await order.what_if(OTHER))["severity"] == "major"
    await charged(sagad, 8)
    assert [page["checked"] async for page in sagad.check(OTHER, limit=1)] == [1, 1]
    assert (await sagad.shadow(OTHER, first=0))["by_severity"]["minor"] == 2
    found = [row async for row in sagad.as_of(datetime.now(UTC), "input.total == 7", show=["input.total"])]
    assert [row["execution_id"] for row in found] == [str(order.id)]


async def test_an_execution_that_is_debugged(sagad: Client) -> None:
    order = await sagad.start("order", {"order_id": "1", "total": 7}, breakpoints=[{"node": "charge"}])
    gated_handlers.gates["nobody"].set()
    while (await order.breakpoints())["standing"] is None:
        await order.show(wait_s=0.01)
    await order.edit(input={"value": 9})
    await order.leave()
    assert await order.result() == {"charged": 9}
    assert (await order.moments(limit=2))["moments"][0]["version"] == 1
    assert await order.evaluate("input.total * 2") == 14


async def test_errors_say_what_to_do(sagad: Client, daemon: Daemon) -> None:
    with pytest.raises(NotFound, match="there is no workflow 'nobody'"):
        await sagad.start("nobody")
    with pytest.raises(Refused, match="total") as refused:
        await sagad.start("order", {"order_id": "1", "total": "many"})
    assert refused.value.status == 422
    with pytest.raises(NotFound, match="there is no execution"):
        await sagad.execution(UUID(int=1)).show()
    with pytest.raises(ValueError, match="badly formed"):
        sagad.execution("../workflows")
    async with Client("http://127.0.0.1:1") as away:
        with pytest.raises(NoAnswer, match=r"no daemon answers at http://127\.0\.0\.1:1"):
            await away.daemons()
    assert daemon.settings.http.token is None


ARGUMENTS: dict[str, Any] = {
    "execution_id": UUID(int=1),
    "letter_id": UUID(int=1),
    "number": 1,
    "at": datetime(2026, 1, 31, tzinfo=UTC),
    "file": b"",
    "document": {},
    "question": 1,
}


LAST_PAGE: dict[str, Any] = {
    **{rows: [] for rows in ("executions", "approvals", "subjects", "letters", "results")},
    "next": None,
    "changed": 0,
    "result": 1,
    "value": 1,
    "output": 1,
    "execution_id": str(UUID(int=1)),
    "status": "completed",
}
"""Stands for any answer."""


async def test_every_operation_of_the_daemon_has_a_method(daemon: Daemon) -> None:
    """And every method asks for one that there is."""
    asked: set[tuple[str, str]] = set()

    def answer(request: httpx.Request) -> httpx.Response:
        asked.add((request.method, request.url.path))
        return httpx.Response(200, json=LAST_PAGE)

    http = httpx.AsyncClient(transport=httpx.MockTransport(answer), base_url="http://127.0.0.1:8750")
    async with http:
        sagad = Client(http=http)
        for target in (sagad, sagad.execution(UUID(int=1))):
            for name, method in inspect.getmembers(target, inspect.ismethod):
                if not name.startswith("_") and name not in {"close", "execution"}:
                    await call(method)
        await sagad.limits("x")
        await sagad.health(ready=True)
    document = create_app(daemon).openapi()
    there = {(verb.upper(), path) for path, verbs in document["paths"].items() for verb in verbs}
    found = {match(verb, path, there) for verb, path in asked}
    assert there - found - NOT_THE_CLIENTS == set()


async def call(method: Any) -> None:
    needed = [
        name
        for name, parameter in inspect.signature(method).parameters.items()
        if parameter.default is parameter.empty and parameter.kind is parameter.POSITIONAL_OR_KEYWORD
    ]
    done = method(*(ARGUMENTS.get(name, "x") for name in needed))
    if inspect.isawaitable(done):
        await done
    else:
        async for _ in done:
            pass


def match(verb: str, path: str, there: set[tuple[str, str]]) -> tuple[str, str]:
    """Return the documented operation of a request; of two that fit, the one with fewer holes."""
    parts = path.split("/")

    def fits(template: str) -> bool:
        holes = template.split("/")
        return len(holes) == len(parts) and all(h.startswith("{") or h == p for h, p in zip(holes, parts, strict=True))

    fitting = sorted((each for each in there if each[0] == verb and fits(each[1])), key=lambda each: each[1].count("{"))
    assert fitting, f"there is no operation {verb} {path}"
    return fitting[0]
