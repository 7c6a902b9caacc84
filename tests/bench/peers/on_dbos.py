"""DBOS on Postgres: run under its own Python by `driver`; see `work` for the command.

Knobs: `at_once` bounds the executions in flight, `threads` is `max_executor_threads`, `pool` is `sys_db_pool_size`,
`style` "sync" writes workflow and step as plain functions in threads, `notify` is `use_listen_notify`, `switch_s` is
Python's thread switch interval.
"""

from __future__ import annotations

import asyncio
import sys
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING

import psycopg
from dbos import DBOS, DBOSConfig, SetWorkflowID  # type: ignore[import-not-found]  # in its own environment

from tests.bench.peers.work import Order, add, main, plain_add, together

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Sequence

FINISHED = "SELECT count(*) FROM dbos.workflow_status WHERE status = 'SUCCESS'"


step = DBOS.step()(add)
plain_step = DBOS.step()(plain_add)


async def chain(steps: int) -> int:
    """So many steps, each with the result of the one before."""
    n = 0
    for _ in range(steps):
        n = await step(n)
    return n


def plain_chain(steps: int) -> int:
    """Do the same in a thread."""
    n = 0
    for _ in range(steps):
        n = plain_step(n)
    return n


workflow = DBOS.workflow()(chain)
plain_workflow = DBOS.workflow()(plain_chain)


class OnDbos:
    """An engine of `work`."""

    def __init__(self, order: Order, connection: psycopg.AsyncConnection) -> None:
        self.order = order
        self.connection = connection

    async def run(self, keys: Sequence[str], steps: int) -> None:
        """See `work.Engine`."""
        if self.order.tuning.get("style") == "sync":
            await asyncio.to_thread(self._run_plain, keys, steps)
            return
        await together(lambda key: self.execute(key, steps), keys, self.order.tuning.get("at_once"))

    def _run_plain(self, keys: Sequence[str], steps: int) -> None:
        handles = []
        for key in keys:
            with SetWorkflowID(key):
                handles.append(DBOS.start_workflow(plain_workflow, steps))
        for handle in handles:
            handle.get_result()

    async def execute(self, key: str, steps: int) -> None:
        """See `work.Engine`."""
        with SetWorkflowID(key):
            await workflow(steps)

    async def finished(self) -> int:
        """See `work.Engine`."""
        row = await (await self.connection.execute(FINISHED)).fetchone()
        return int(row[0]) if row else 0


@asynccontextmanager
async def opened(order: Order) -> AsyncIterator[OnDbos]:
    """Launch DBOS, which takes up what an earlier process has left."""
    knobs = order.tuning
    config: DBOSConfig = {"name": "bench-peer", "system_database_url": order.url, "log_level": "ERROR"}
    named = {"threads": "max_executor_threads", "pool": "sys_db_pool_size", "notify": "use_listen_notify"}
    config.update({option: knobs[knob] for knob, option in named.items() if knob in knobs})
    sys.setswitchinterval(knobs.get("switch_s", sys.getswitchinterval()))
    DBOS(config=config)
    DBOS.launch()
    try:
        async with await psycopg.AsyncConnection.connect(order.url, autocommit=True) as connection:
            yield OnDbos(order, connection)
    finally:
        DBOS.destroy()


if __name__ == "__main__":
    main(opened)
