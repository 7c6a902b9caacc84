"""Events over HTTP: pages, and streams that lose nothing."""

from __future__ import annotations

import asyncio
import json
from typing import TYPE_CHECKING, Any
from uuid import UUID

import httpx

from tests.api.conftest import started
from tests.support import gated_handlers
from tests.support.daemons import in_flight, until

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    from daemon.assembled import Daemon

ORDER = {"order_id": "A1", "total": 5}
SSE = {"Accept": "text/event-stream"}


async def sse_events(answer: httpx.Response) -> AsyncIterator[dict[str, Any]]:
    """Yield the events of a stream as their fields."""
    fields: dict[str, Any] = {}
    async for line in answer.aiter_lines():
        name, _, value = line.partition(": ")
        if line:
            fields[name] = value
        elif "data" in fields:
            yield {**fields, "data": json.loads(fields["data"])}
            fields = {}


async def test_events_come_in_pages(client: httpx.AsyncClient) -> None:
    path = f"/executions/{(await started(client, 'order', ORDER, wait='10s'))['execution_id']}/events"
    all_of_them = (await client.get(path)).json()
    versions = [event["version"] for event in all_of_them["events"]]
    assert versions == list(range(1, len(versions) + 1))
    assert all_of_them["finished"]
    page = (await client.get(path, params={"after": 2, "limit": 2})).json()
    assert ([event["version"] for event in page["events"]], page["finished"]) == ([3, 4], False)
    nothing = (await client.get(path, params={"after": len(versions)})).json()
    assert nothing == {"events": [], "finished": True}


async def test_a_stream_follows_an_execution_to_its_end(address: str, daemon: Daemon) -> None:
    async with httpx.AsyncClient(base_url=address, trust_env=False) as client:
        view = await started(client, "gated", "stream")
        execution_id = UUID(view["execution_id"])
        await until(daemon, execution_id, in_flight("one"))
        async with client.stream("GET", f"/executions/{execution_id}/events", headers=SSE) as answer:
            assert answer.headers["content-type"].startswith("text/event-stream")
            seen = []
            async for event in sse_events(answer):
                seen.append(event)
                if len(seen) == 2:
                    gated_handlers.gates["stream"].set()
    assert [int(event["id"]) for event in seen] == [1, 2, 3, 4]
    assert [event["event"] for event in seen] == [
        "ExecutionStarted",
        "StepStarted",
        "StepSucceeded",
        "ExecutionCompleted",
    ]
    assert seen[2]["data"]["data"]["output"] == 1


async def test_a_reader_that_comes_back_gets_the_rest(client: httpx.AsyncClient) -> None:
    path = f"/executions/{(await started(client, 'order', ORDER, wait='10s'))['execution_id']}/events"
    whole = [event async for event in sse_events(await client.get(path, headers=SSE))]
    for cut in range(len(whole)):
        headers = {**SSE, "Last-Event-ID": whole[cut]["id"]}
        rest = [event async for event in sse_events(await client.get(path, headers=headers))]
        assert whole[: cut + 1] + rest == whole


async def test_a_reader_that_has_all_is_told_not_to_come_back(client: httpx.AsyncClient) -> None:
    """An EventSource reconnects after each end, except after 204."""
    path = f"/executions/{(await started(client, 'order', ORDER, wait='10s'))['execution_id']}/events"
    last = (await client.get(path)).json()["events"][-1]["version"]
    answer = await client.get(path, headers={**SSE, "Last-Event-ID": str(last)})
    assert answer.status_code == 204


async def test_lines_of_json_are_the_same_events(client: httpx.AsyncClient) -> None:
    path = f"/executions/{(await started(client, 'order', ORDER, wait='10s'))['execution_id']}/events"
    lines = (await client.get(path, headers={"Accept": "application/x-ndjson"})).text.splitlines()
    assert [json.loads(line) for line in lines] == (await client.get(path)).json()["events"]


async def test_streams_of_unknown_executions_and_ids_are_refused(client: httpx.AsyncClient) -> None:
    unknown = await client.get("/executions/00000000-0000-0000-0000-000000000001/events", headers=SSE)
    assert unknown.status_code == 404
    path = f"/executions/{(await started(client, 'order', ORDER, wait='10s'))['execution_id']}/events"
    assert (await client.get(path, headers={**SSE, "Last-Event-ID": "x"})).status_code == 422


async def test_a_stream_ends_when_the_daemon_stops(address: str, daemon: Daemon) -> None:
    async with httpx.AsyncClient(base_url=address, trust_env=False) as client:
        view = await started(client, "order", {"order_id": "A2", "total": 5000})
        async with client.stream("GET", f"/executions/{view['execution_id']}/events", headers=SSE) as answer:
            events = sse_events(answer)
            first = await anext(events)
            stopping = asyncio.create_task(daemon.stop())
            rest = [event async for event in events]
            await stopping
    assert (first["id"], rest[-1]["event"]) == ("1", "TimerSet")


async def test_a_reader_that_goes_away_is_not_watched_for_any_more(address: str, daemon: Daemon) -> None:
    async with httpx.AsyncClient(base_url=address, trust_env=False) as client:
        view = await started(client, "order", {"order_id": "A4", "total": 5000})
        async with client.stream("GET", f"/executions/{view['execution_id']}/events", headers=SSE) as answer:
            await anext(sse_events(answer))
        async with asyncio.timeout(10):
            while daemon.changes._watchers:
                await client.get("/healthz")
