"""The least engine there can be, one row for each execution that has ended: for tests of the frame; see `work`.

Nothing is durable before an execution's end, so after a kill it begins anew. The knob `lose` forgets so many of them.
"""

from __future__ import annotations

from contextlib import asynccontextmanager
from typing import TYPE_CHECKING

import psycopg

from tests.bench.peers.work import Order, add, main, together

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Sequence

TABLES = """
    CREATE TABLE IF NOT EXISTS started (key text PRIMARY KEY, steps int);
    CREATE TABLE IF NOT EXISTS ended (key text PRIMARY KEY)
"""


class OnTable:
    """An engine of `work`."""

    def __init__(self, connection: psycopg.AsyncConnection, lose: int) -> None:
        self.connection = connection
        self.lose = lose

    async def run(self, keys: Sequence[str], steps: int) -> None:
        """See `work.Engine`."""
        for key in keys:
            await self.connection.execute("INSERT INTO started VALUES (%s, %s)", (key, steps))
        await together(lambda key: self.execute(key, steps), keys[self.lose :] if self.lose else keys, None)

    async def execute(self, key: str, steps: int) -> None:
        """See `work.Engine`."""
        n = 0
        for _ in range(steps):
            n = await add(n)
        await self.connection.execute("INSERT INTO ended VALUES (%s)", (key,))

    async def finished(self) -> int:
        """See `work.Engine`."""
        row = await (await self.connection.execute("SELECT count(*) FROM ended")).fetchone()
        return int(row[0]) if row else 0


@asynccontextmanager
async def opened(order: Order) -> AsyncIterator[OnTable]:
    """Take up what was started and has not ended, once the frame has counted it."""
    async with await psycopg.AsyncConnection.connect(order.url, autocommit=True) as connection:
        await connection.execute(TABLES)
        engine = OnTable(connection, order.tuning.get("lose", 0))
        if order.work == "recover":
            left = await (await connection.execute("SELECT key FROM started EXCEPT SELECT key FROM ended")).fetchall()
            await together(lambda key: engine.execute(key, order.steps), [key for (key,) in left], None)
        yield engine


if __name__ == "__main__":
    main(opened)
