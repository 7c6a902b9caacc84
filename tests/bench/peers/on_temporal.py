"""Temporal, its server on the same Postgres: run under its own Python by `driver`; see `work` for the command.

The server is a process of its own, made for one order; the worker lives in this one, as sagad's handlers do. A step is
an activity. Knobs: `shards` of the history, `connections` of the server to Postgres, `limits` of requests a second as
the server's dynamic configuration names them, `unsandboxed` workflow code, `eager` start, `pollers`, `at_once`,
`activities` at once.
"""

from __future__ import annotations

import asyncio
import json
import random
import socket
import sys
import tempfile
from contextlib import AsyncExitStack, asynccontextmanager, suppress
from datetime import timedelta
from pathlib import Path
from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit

import psycopg
from temporalio import activity, workflow  # type: ignore[import-not-found]  # in its own environment
from temporalio.api.workflowservice.v1 import (  # type: ignore[import-not-found]  # in its own environment
    RegisterNamespaceRequest,
)
from temporalio.client import Client  # type: ignore[import-not-found]  # in its own environment
from temporalio.service import RPCError  # type: ignore[import-not-found]  # in its own environment
from temporalio.worker import (  # type: ignore[import-not-found]  # in its own environment
    PollerBehaviorSimpleMaximum,
    UnsandboxedWorkflowRunner,
    Worker,
)
from temporalio.worker.workflow_sandbox import (  # type: ignore[import-not-found]  # in its own environment
    SandboxedWorkflowRunner,
)

from tests.bench.peers import work
from tests.bench.peers.temporal_server import configuration

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Awaitable, Callable, Sequence

NAMESPACE = QUEUE = "bench"
FINISHED = "SELECT count(*) FROM executions_visibility WHERE status = 2"
BINARIES = Path(sys.executable).parent
START_LIMIT_S = 90
SHOWN_LIMIT_S = 20
"""How long the visibility store may take to show what has ended."""

add = activity.defn(name="add")(work.add)


class Chain:
    """So many steps, each with the result of the one before."""

    async def run(self, steps: int) -> int:
        """Run them."""
        n = 0
        for _ in range(steps):
            n = await workflow.execute_activity("add", n, start_to_close_timeout=timedelta(seconds=60))
        return n


Chain.run = workflow.run(Chain.run)  # type: ignore[method-assign]  # as a decorator it would have no type
chain = workflow.defn(Chain)


class OnTemporal:
    """An engine of `work`."""

    def __init__(self, order: work.Order, client: Any, visibility: psycopg.AsyncConnection) -> None:
        self.knobs = order.tuning
        self.client = client
        self.visibility = visibility
        self.ended = 0

    async def run(self, keys: Sequence[str], steps: int) -> None:
        """See `work.Engine`."""
        await work.together(lambda key: self.execute(key, steps), keys, self.knobs.get("at_once"))

    async def execute(self, key: str, steps: int) -> None:
        """See `work.Engine`."""
        eager = self.knobs.get("eager", False)
        handle = await self.client.start_workflow(
            "Chain", steps, id=key, task_queue=QUEUE, result_type=int, request_eager_start=eager
        )
        result = await handle.result()
        self.ended += result == steps

    async def finished(self) -> int:
        """See `work.Engine`."""
        shown = 0
        for _ in range(SHOWN_LIMIT_S * 20):
            row = await (await self.visibility.execute(FINISHED)).fetchone()
            shown = int(row[0]) if row else 0
            if shown >= self.ended:
                break
            await asyncio.sleep(0.05)
        return shown


@asynccontextmanager
async def opened(order: work.Order) -> AsyncIterator[OnTemporal]:
    """Make the schema, start the server, then a worker."""
    knobs = order.tuning
    pollers = PollerBehaviorSimpleMaximum(knobs.get("pollers", 5))
    async with AsyncExitStack() as stack:
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="bench-temporal-")))
        visibility = await stack.enter_async_context(_visibility_database(order.url))
        await _make_schema(order.url, "temporal")
        await _make_schema(visibility, "visibility")
        client = await stack.enter_async_context(_client(order, visibility, folder))
        options: dict[str, Any] = {}
        if at_once := knobs.get("activities"):
            options = {"max_concurrent_activities": at_once, "max_concurrent_workflow_tasks": at_once}
        worker = Worker(
            client,
            task_queue=QUEUE,
            workflows=[chain],
            activities=[add],
            workflow_runner=UnsandboxedWorkflowRunner() if knobs.get("unsandboxed") else SandboxedWorkflowRunner(),
            workflow_task_poller_behavior=pollers,
            activity_task_poller_behavior=pollers,
            max_cached_workflows=max(1000, order.count),
            **options,
        )
        await stack.enter_async_context(worker)
        connection = await psycopg.AsyncConnection.connect(visibility, autocommit=True)
        yield OnTemporal(order, client, await stack.enter_async_context(connection))


@asynccontextmanager
async def _visibility_database(url: str) -> AsyncIterator[str]:
    """Give the URL of a second database: Temporal keeps what is shown apart from what is run."""
    name = f"{urlsplit(url).path[1:]}_visibility"
    async with await psycopg.AsyncConnection.connect(url, autocommit=True) as connection:
        await connection.execute(f'CREATE DATABASE "{name}"'.encode())
        try:
            yield urlsplit(url)._replace(path=f"/{name}").geturl()
        finally:
            await connection.execute(f'DROP DATABASE "{name}" WITH (FORCE)'.encode())


async def _make_schema(url: str, name: str) -> None:
    at = urlsplit(url)
    place = ["--plugin", "postgres12_pgx", "--ep", str(at.hostname), "-p", str(at.port), "-u", str(at.username)]
    place += ["--pw", str(at.password), "--db", at.path[1:]]
    for command in (["setup-schema", "-v", "0.0"], ["update-schema", "-s", f"postgresql/v12/{name}"]):
        tool = await asyncio.create_subprocess_exec(
            str(BINARIES / "sql"), *place, *command, stdout=asyncio.subprocess.PIPE, stderr=asyncio.subprocess.STDOUT
        )
        told, _ = await tool.communicate()
        if tool.returncode:
            raise RuntimeError(f"the schema of {name} could not be made: {told.decode()}")


@asynccontextmanager
async def _client(order: work.Order, visibility: str, folder: Path) -> AsyncIterator[Any]:
    """Run the server; give a client of it."""
    ports = _free_ports(9)
    file, dynamic = folder / "server.yaml", folder / "dynamic.yaml"
    limits = order.tuning.get("limits", {})
    dynamic.write_text(json.dumps({name: [{"value": value}] for name, value in limits.items()}))
    file.write_text(json.dumps(configuration(order.url, visibility, ports, dynamic, order.tuning)))
    with (folder / "log").open("wb") as log:
        server = await asyncio.create_subprocess_exec(
            str(BINARIES / "server"), "--allow-no-auth", "--config-file", str(file), "start", stdout=log, stderr=log
        )
        try:
            connecting = asyncio.create_task(_connected(f"127.0.0.1:{ports[0]}"))
            dying = asyncio.create_task(server.wait())
            await asyncio.wait([connecting, dying], return_when=asyncio.FIRST_COMPLETED)
            if dying.done():
                connecting.cancel()
                connecting = asyncio.create_task(_fail(f"the server ended with {server.returncode}"))
            yield await connecting
        except Exception as error:
            error.add_note((folder / "log").read_text()[-4000:])
            raise
        finally:
            if server.returncode is None:
                server.terminate()
            await server.wait()


def _free_ports(count: int) -> list[int]:
    """Find ports below 32768: the server keeps its own in a signed column of two bytes."""
    found: list[int] = []
    while len(found) < count:
        port = random.randrange(10_000, 32_767)  # noqa: S311  no secret
        with suppress(OSError), socket.create_server(("127.0.0.1", port)):
            found.append(port)
    return list(dict.fromkeys(found)) if len(set(found)) == count else _free_ports(count)


async def _connected(address: str) -> Any:
    """Return a client of a namespace of its own, as soon as the server knows both."""
    async with asyncio.timeout(START_LIMIT_S):
        client = await _patiently(lambda: Client.connect(address, namespace=NAMESPACE))
        request = RegisterNamespaceRequest(namespace=NAMESPACE)
        request.workflow_execution_retention_period.FromTimedelta(timedelta(days=1))
        await _patiently(lambda: client.workflow_service.register_namespace(request))
        await _patiently(lambda: client.count_workflows(""))
        return client


async def _patiently(ask: Callable[[], Awaitable[Any]]) -> Any:
    """Ask until there is an answer: a server that starts refuses, is not ready, or does not know the namespace yet."""
    while True:
        try:
            return await ask()
        except (RuntimeError, RPCError):
            await asyncio.sleep(0.2)


async def _fail(why: str) -> Any:
    raise RuntimeError(why)


if __name__ == "__main__":
    work.main(opened)
