"""LangGraph with its Postgres checkpointer: run under its own Python by `driver`; see `work` for the command.

A graph has a node for each step, and an execution is a thread of it. Knobs: `pool` connections instead of the one of
`from_conn_string`, `at_once` bounds the executions in flight, `durability` is that of `ainvoke`: "async", as shipped,
saves a checkpoint while the next node already runs; "sync" saves it before.
"""

from __future__ import annotations

from contextlib import asynccontextmanager
from typing import TYPE_CHECKING, Any, TypedDict

import psycopg
from langgraph.checkpoint.postgres.aio import (  # type: ignore[import-not-found]  # in its own environment
    AsyncPostgresSaver,
)
from langgraph.graph import END, START, StateGraph  # type: ignore[import-not-found]  # in its own environment
from psycopg.rows import dict_row
from psycopg_pool import AsyncConnectionPool

from tests.bench.peers.work import Order, add, main, together

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Sequence

CONNECTION = {"autocommit": True, "prepare_threshold": 0, "row_factory": dict_row}
FINISHED = """
    SELECT count(DISTINCT thread_id) FROM checkpoints
    WHERE (metadata->>'step')::int = %(steps)s AND (checkpoint->'channel_values'->>'n')::int = %(steps)s
"""
"""The checkpoint after the last node has the number of nodes as its step, and here also as its value."""


class State(TypedDict):
    """What the nodes hand on."""

    n: int


async def node(state: State) -> State:
    """Do a step."""
    return {"n": await add(state["n"])}


def graph(steps: int, saver: Any) -> Any:
    """Chain so many nodes."""
    builder = StateGraph(State)
    names = [f"s{number}" for number in range(steps)]
    for name in names:
        builder.add_node(name, node)
    for before, after in zip([START, *names], [*names, END], strict=True):
        builder.add_edge(before, after)
    return builder.compile(checkpointer=saver)


class OnLangGraph:
    """An engine of `work`."""

    def __init__(self, order: Order, saver: Any, connection: psycopg.AsyncConnection) -> None:
        self.knobs = order.tuning
        self.steps = order.steps
        self.graph = graph(order.steps, saver)
        self.connection = connection

    async def run(self, keys: Sequence[str], steps: int) -> None:
        """See `work.Engine`."""
        await together(lambda key: self.execute(key, steps), keys, self.knobs.get("at_once"))

    async def execute(self, key: str, steps: int) -> None:
        """See `work.Engine`."""
        given = {"configurable": {"thread_id": key}}
        state = await self.graph.ainvoke({"n": 0}, given, durability=self.knobs.get("durability", "async"))
        if state["n"] != steps:
            raise ValueError(f"{key} ended with {state}")

    async def finished(self) -> int:
        """See `work.Engine`."""
        row = await (await self.connection.execute(FINISHED, {"steps": self.steps})).fetchone()
        return int(row[0]) if row else 0


@asynccontextmanager
async def opened(order: Order) -> AsyncIterator[OnLangGraph]:
    """Make the tables."""
    async with await psycopg.AsyncConnection.connect(order.url, autocommit=True) as connection:
        if pool_size := order.tuning.get("pool"):
            async with AsyncConnectionPool(
                order.url, min_size=pool_size, max_size=pool_size, kwargs=CONNECTION
            ) as pool:
                saver = AsyncPostgresSaver(pool)
                await saver.setup()
                yield OnLangGraph(order, saver, connection)
            return
        async with AsyncPostgresSaver.from_conn_string(order.url) as saver:
            await saver.setup()
            yield OnLangGraph(order, saver, connection)


if __name__ == "__main__":
    main(opened)
