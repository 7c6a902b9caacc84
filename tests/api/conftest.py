"""A daemon in the test's process, and clients of its API."""

from __future__ import annotations

import asyncio
import socket
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING, Any

import httpx
import pytest
import uvicorn

from daemon.api.app import create_app
from daemon.cli.serving import Server
from daemon.settings import Http, Secrets
from tests.support.daemons import running, settings_for

if TYPE_CHECKING:
    from collections.abc import AsyncIterator
    from pathlib import Path

    from daemon.assembled import Daemon

SECRET = "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw"
WORKFLOWS = """
workflow: order
input: {type: object, required: [order_id, total], properties: {total: {type: number, minimum: 0}}}
triggers:
  - name: signed
    webhook: {path: orders, verify: {scheme: standard-webhooks, secret: "{{ secret.HOOK }}"}, max_body_bytes: 2000}
  - name: open
    webhook: {path: open/orders, verify: {scheme: none}}
    filter: "{{ message.value.total > 0 }}"
    dedupe: "{{ message.value.order_id }}"
  - name: review
    webhook: {path: reviews, verify: {scheme: none}}
    signal: {name: reviewed, execution: "{{ message.value.execution }}"}
    dedupe: "{{ message.value.id }}"
    input: "{{ message.value.ok }}"
  - {name: queue, memory: {topic: orders}, dedupe: "{{ message.value.order_id }}"}
nodes:
  reserve: {task: pass, with: {value: "{{ input.order_id }}"}}
  large: {branch: "{{ input.total > 1000 }}"}
  review: {signal: {name: reviewed, timeout: 24h}}
  charge: {task: pass, with: {value: "{{ input.total }}"}}
edges: [reserve -> large, large.true -> review, large.false -> charge, review -> charge]
output: {charged: "{{ charge }}"}
---
workflow: gated
nodes:
  one: {task: gate, with: {name: "{{ input }}", value: 1}}
"""


@pytest.fixture
async def daemon(tmp_path: Path) -> AsyncIterator[Daemon]:
    """Run a daemon on a store in memory."""
    (tmp_path / "secrets").mkdir()
    (tmp_path / "secrets" / "HOOK").write_text(SECRET)
    settings = settings_for(
        tmp_path, WORKFLOWS, secrets=Secrets(dir=tmp_path / "secrets"), http=Http(max_body_bytes=4096)
    )
    async with running(settings) as daemon:
        yield daemon


@pytest.fixture
async def client(daemon: Daemon) -> AsyncIterator[httpx.AsyncClient]:
    """Give a client that calls the application directly."""
    async with client_of(daemon) as client:
        yield client


@asynccontextmanager
async def client_of(daemon: Daemon) -> AsyncIterator[httpx.AsyncClient]:
    transport = httpx.ASGITransport(create_app(daemon))
    async with httpx.AsyncClient(transport=transport, base_url="http://127.0.0.1:8750", trust_env=False) as client:
        yield client


@pytest.fixture
async def address(daemon: Daemon) -> AsyncIterator[str]:
    """Serve the API over TCP; give its address."""
    async with served(daemon) as address:
        yield address


@asynccontextmanager
async def served(daemon: Daemon) -> AsyncIterator[str]:
    listening = socket.create_server(("127.0.0.1", 0))
    config = uvicorn.Config(create_app(daemon), log_config=None, access_log=False, lifespan="off")
    server = Server(config)
    serving = asyncio.create_task(server.serve(sockets=[listening]))
    try:
        yield f"http://127.0.0.1:{listening.getsockname()[1]}"
    finally:
        server.should_exit = True
        await serving


async def started(client: httpx.AsyncClient, workflow: str, value: Any, **parameters: str) -> dict[str, Any]:
    """Start an execution; return the answer."""
    answer = await client.post(f"/workflows/{workflow}/executions", json={"input": value}, params=parameters)
    assert answer.status_code in (200, 202), answer.text
    view: dict[str, Any] = answer.json()
    return view
