"""A durable function and its handlers, which note in a file each time they run: for daemons that are killed."""

from __future__ import annotations

import asyncio
import json
import os
from pathlib import Path
from typing import Any

from daemon.durable import DurableContext, durable
from daemon.handlers import Context, handler


@handler("journal.work")
async def work(n: int, *, context: Context) -> int:
    """Take a little time, then note that it was done."""
    await asyncio.sleep(0.01)
    with Path(os.environ["WORK_JOURNAL"]).open("a", encoding="utf-8") as journal:  # noqa: ASYNC230  a line
        journal.write(json.dumps(context.idempotency_key) + "\n")
    return n


@durable("journal.flow")
async def flow(ctx: DurableContext, number: int) -> dict[str, Any]:
    """Call things one after the other, side by side, and in a race that a timer wins."""
    first = [await ctx.step(work, {"n": n}) for n in range(3)]
    dice = ctx.random()
    completed = [await each for each in asyncio.as_completed([ctx.step(work, {"n": n}) for n in range(3, 8)])]
    late = asyncio.create_task(ctx.signal("never"))
    _, pending = await asyncio.wait([late, asyncio.create_task(asyncio.sleep(0.05))], return_when="FIRST_COMPLETED")
    for task in pending:
        task.cancel()
    return {"number": number, "sum": sum(first + completed), "pending": len(pending), "dice": dice}
