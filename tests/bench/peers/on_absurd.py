"""Absurd on Postgres: run under its own Python by `driver`; see `work` for the command.

The workers live in this process, each with a connection of its own. Knobs: `workers`, `concurrency`, `batch` and
`poll_s` are those of `start_worker`; `starters` connections start executions; `style` "sync" gives a worker a thread.
"""

from __future__ import annotations

import asyncio
import threading
from contextlib import AsyncExitStack, asynccontextmanager
from typing import TYPE_CHECKING, Any

import psycopg
from absurd_sdk import Absurd, AsyncAbsurd  # type: ignore[import-not-found]  # in its own environment
from absurdctl import BUNDLED_SCHEMA_SQL  # type: ignore[import-not-found]  # in its own environment

from tests.bench.peers.work import Order, add, main, plain_add, until

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Sequence

QUEUE = "default"
FINISHED = "SELECT count(*) FROM absurd.t_default WHERE state = 'completed'"


async def chain(params: dict[str, int], context: Any) -> int:
    """So many steps, each with the result of the one before."""
    n = 0
    for number in range(params["steps"]):

        async def work(n: int = n) -> int:
            return await add(n)

        n = await context.step(f"s{number}", work)
    return n


def plain_chain(params: dict[str, int], context: Any) -> int:
    """Do the same in a thread."""
    n = 0
    for number in range(params["steps"]):
        n = context.step(f"s{number}", lambda n=n: plain_add(n))
    return n


class OnAbsurd:
    """An engine of `work`."""

    def __init__(self, starters: Sequence[Any], connection: psycopg.AsyncConnection) -> None:
        self.starters = starters
        self.connection = connection

    async def run(self, keys: Sequence[str], steps: int) -> None:
        """See `work.Engine`."""
        already = await self.finished()

        async def start(starter: Any, mine: Sequence[str]) -> None:
            for key in mine:
                await starter.spawn("chain", {"steps": steps}, queue=QUEUE, idempotency_key=key)

        count = len(self.starters)
        await asyncio.gather(*(start(starter, keys[first::count]) for first, starter in enumerate(self.starters)))
        await until(self.finished, already + len(keys))

    async def execute(self, key: str, steps: int) -> None:
        """See `work.Engine`."""
        await self.run([key], steps)

    async def finished(self) -> int:
        """See `work.Engine`."""
        row = await (await self.connection.execute(FINISHED)).fetchone()
        return int(row[0]) if row else 0


@asynccontextmanager
async def opened(order: Order) -> AsyncIterator[OnAbsurd]:
    """Make the schema and the queue, and start the workers."""
    knobs = order.tuning
    options = {"concurrency": knobs.get("concurrency", 1), "poll_interval": knobs.get("poll_s", 0.25)}
    options["batch_size"] = knobs.get("batch")
    async with AsyncExitStack() as stack:
        connection = await psycopg.AsyncConnection.connect(order.url, autocommit=True)
        await stack.enter_async_context(connection)
        await connection.execute(BUNDLED_SCHEMA_SQL.encode())
        starters = [await _client(stack, AsyncAbsurd, order.url) for _ in range(knobs.get("starters", 1))]
        await starters[0].create_queue(QUEUE)
        for _ in range(knobs.get("workers", 1)):
            if knobs.get("style") == "sync":
                worker = Absurd(order.url, queue_name=QUEUE)
                worker.register_task("chain")(plain_chain)
                threading.Thread(target=worker.start_worker, kwargs=options, daemon=True).start()
            else:
                worker = await _client(stack, AsyncAbsurd, order.url)
                worker.register_task("chain")(chain)
                task = asyncio.create_task(worker.start_worker(**options))
                stack.callback(task.cancel)
        yield OnAbsurd(starters, connection)


async def _client(stack: AsyncExitStack, kind: Any, url: str) -> Any:
    client = kind(url, queue_name=QUEUE)
    stack.push_async_callback(client.close)
    return client


if __name__ == "__main__":
    main(opened)
