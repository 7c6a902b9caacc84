"""A handler that uses a database of the daemon's."""

from __future__ import annotations

from typing import Any

from daemon.handlers import Context, handler


@handler("stock.add")
async def add(item: str, *, context: Context) -> Any:
    """Insert by hand what the node would insert."""
    values = {"key": context.idempotency_key, "item": item}
    query = "insert into stock values (%(key)s, %(item)s) returning item"
    return await context.services.sql("shop", query, values, fetch="value")


@handler("stock.add_elsewhere", cpu=True)
def add_elsewhere(*, context: Context) -> str:
    """Try what a process cannot do."""
    return str(context.services)
