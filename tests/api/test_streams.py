"""The stream of a step over HTTP: Server-Sent Events and NDJSON, from any place."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any
from uuid import UUID, uuid4

import httpx
import pytest

from tests.api.conftest import client_of, served, started
from tests.support import gated_handlers
from tests.support.daemons import finished, running, settings_for

if TYPE_CHECKING:
    from collections.abc import AsyncIterator
    from pathlib import Path

    from daemon.assembled import Daemon

FLOWS = """
workflow: counting
nodes:
  each: {for: 2, do: {nodes: {count: {task: count.loop, with: {to: 3}}}}}
---
workflow: writing
nodes: {write: {task: held, with: {name: "{{ input }}"}}}
"""
NDJSON = {"Accept": "application/x-ndjson"}


@pytest.fixture
async def daemon(tmp_path: Path) -> AsyncIterator[Daemon]:
    async with running(settings_for(tmp_path, FLOWS, handlers="tests.support.streaming_handlers")) as here:
        yield here


@pytest.fixture
async def client(daemon: Daemon) -> AsyncIterator[httpx.AsyncClient]:
    async with client_of(daemon) as here:
        yield here


async def path_of(client: httpx.AsyncClient, daemon: Daemon) -> str:
    """Return the path of the stream of a step that has ended."""
    target = (await started(client, "counting", None))["execution_id"]
    await finished(daemon, UUID(target))
    return f"/executions/{target}/steps/each%5B1%5D.count/stream"


async def test_a_stream_is_server_sent_events(daemon: Daemon, client: httpx.AsyncClient) -> None:
    path = await path_of(client, daemon)
    answer = await client.get(path)
    assert answer.headers["content-type"].startswith("text/event-stream")
    events = [dict(line.split(": ", 1) for line in event.splitlines()) for event in answer.text.split("\n\n") if event]
    assert [(event["id"], event["event"]) for event in events[:-1]] == [(f"1-{n}", "chunk") for n in (1, 2, 3)]
    assert [json.loads(event["data"]) for event in events[:-1]] == ["0 ", "1 ", "2 "]
    assert (events[-1]["id"], events[-1]["event"]) == ("1-end", "end")
    end = json.loads(events[-1]["data"])
    assert (end["status"], end["output"], end["streamed"]["counted"]) == (
        "succeeded",
        "0 1 2 ",
        {"words": 3, "seen": 3},
    )


async def test_who_comes_back_goes_on_after_what_it_has(daemon: Daemon, client: httpx.AsyncClient) -> None:
    """By `Last-Event-ID` or `after`; with the end seen there is nothing more, and a browser stops asking."""
    path = await path_of(client, daemon)
    for given in ({"headers": NDJSON | {"Last-Event-ID": "1-2"}}, {"headers": NDJSON, "params": {"after": "2"}}):
        lines = [json.loads(line) for line in (await client.get(path, **given)).text.splitlines()]  # type: ignore[arg-type]  # keywords
        assert [(line["type"], line["id"]) for line in lines] == [("chunk", "1-3"), ("end", "1-end")]
    assert (await client.get(path, headers={"Last-Event-ID": "1-end"})).status_code == 204
    lines = [
        json.loads(line)
        for line in (await client.get(path, headers=NDJSON | {"Last-Event-ID": "7-2"})).text.splitlines()
    ]
    assert [line["type"] for line in lines] == ["restart", "chunk", "chunk", "chunk", "end"]


async def test_a_stream_is_live(daemon: Daemon) -> None:
    found: list[Any] = []
    async with served(daemon) as address, httpx.AsyncClient(base_url=address, trust_env=False) as client:
        target = (await started(client, "writing", "http-live"))["execution_id"]
        async with client.stream("GET", f"/executions/{target}/steps/write/stream", headers=NDJSON) as answer:
            async for line in answer.aiter_lines():
                if line:
                    found.append(json.loads(line)["data"])
                    gated_handlers.gates["http-live"].set()
    assert found[:2] == ["before 1", " after"]
    assert found[2]["output"] == "before 1 after"


async def test_what_there_is_not(daemon: Daemon, client: httpx.AsyncClient) -> None:
    assert (await client.get(f"/executions/{uuid4()}/steps/write/stream")).status_code == 404
    target = (await started(client, "counting", None))["execution_id"]
    unknown = await client.get(f"/executions/{target}/steps/write/stream")
    assert (unknown.status_code, unknown.json()["detail"]) == (404, "the workflow has no node for a step at 'write'")
    wrong = await client.get(f"/executions/{target}/steps/each/stream?after=x")
    assert (wrong.status_code, "after" in wrong.json()["detail"]) == (422, True)
