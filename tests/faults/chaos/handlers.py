"""What the orders of the chaos run do: fail, dawdle, and tell the witness, with their idempotency key."""

from __future__ import annotations

import asyncio
import os
import time
from typing import Any

import httpx

from daemon.durable import DurableContext, Undo, durable
from daemon.handlers import Context, StepFailure, handler

PATIENCE_S = 20.0
UNDO = {"max_attempts": 1000, "initial": "100ms", "max": "2s"}
_CLIENT = httpx.AsyncClient(trust_env=False, timeout=PATIENCE_S)
_IN_THREADS = httpx.Client(trust_env=False, timeout=PATIENCE_S)


def _headers(context: Context) -> dict[str, str]:
    return {
        "idempotency-key": context.idempotency_key,
        "x-attempt": str(context.attempt),
        "x-life": os.environ["CHAOS_LIFE"],
    }


async def tell(context: Context) -> int:
    """Tell the witness; return the number of the effect."""
    try:
        answer = await _CLIENT.post(os.environ["WITNESS_URL"], headers=_headers(context))
    except httpx.TransportError as error:
        raise StepFailure(f"the witness does not answer: {error}", code="witness") from error
    effect: int = answer.json()["effect"]
    return effect


@handler("witness.reserve")
async def reserve(order: dict[str, Any], *, context: Context) -> dict[str, Any]:
    """Fail in the attempts that the order names, before or after the effect."""
    if order["doomed"]:
        await tell(context)
        raise StepFailure("there is none left", code="sold_out", retryable=False)
    if context.attempt <= order["fails"] and context.attempt % 2:
        raise StepFailure("not yet", code="busy")
    effect = await tell(context)
    if context.attempt <= order["fails"]:
        raise StepFailure("done, and cannot say so", code="busy")
    return {"effect": effect, "order": order["order_id"]}


@handler("witness.pack")
def pack(slow_s: float, *, context: Context) -> dict[str, Any]:
    """Work in a thread."""
    headers = _headers(context)  # of the life that it was begun in: a thread outlives it
    time.sleep(slow_s)
    try:
        answer = _IN_THREADS.post(os.environ["WITNESS_URL"], headers=headers)
    except httpx.TransportError as error:
        raise StepFailure(f"the witness does not answer: {error}", code="witness") from error
    return {"effect": answer.json()["effect"], "packed": True}


@handler("witness.pick")
async def pick(line: str, *, context: Context) -> dict[str, Any]:
    """Take one line of the order from its shelf."""
    return {"effect": await tell(context), "line": line}


@handler("witness.dock")
async def dock(*, context: Context) -> dict[str, Any]:
    """Hold the dock for a moment: few may at once."""
    await asyncio.sleep(0.01)
    return {"effect": await tell(context)}


@handler("witness.courier")
async def courier(*, context: Context) -> dict[str, Any]:
    """Call a courier."""
    return {"effect": await tell(context)}


@handler("witness.weigh")
async def weigh(heavy: bool, *, context: Context) -> dict[str, Any]:  # noqa: FBT001  bound by name
    """Refuse what is too heavy for the courier."""
    effect = await tell(context)
    if heavy:
        raise StepFailure("more than a courier carries", code="too_heavy", retryable=False)
    return {"effect": effect}


@handler("witness.post")
async def post(*, context: Context) -> dict[str, Any]:
    """Send it the usual way."""
    return {"effect": await tell(context)}


@handler("witness.charge")
async def charge(total: float, *, context: Context) -> dict[str, Any]:
    """Decline what ends on 13 cents."""
    await asyncio.sleep(0)
    effect = await tell(context)
    if round(total * 100) % 100 == 13:
        raise StepFailure("card declined", code="declined", retryable=False)
    return {"effect": effect}


@handler("witness.stamp")
async def stamp(number: int, *, context: Context) -> dict[str, Any]:
    """Stamp one of the papers."""
    return {"effect": await tell(context), "stamped": number}


@handler("witness.seal")
async def seal(broken: bool, *, context: Context) -> dict[str, Any]:  # noqa: FBT001  bound by name
    """Find some orders to be broken when all is done: what was done is undone then."""
    effect = await tell(context)
    if broken:
        raise StepFailure("it is broken", code="broken", retryable=False)
    return {"effect": effect}


@handler("witness.undo")
async def undo(fails: int = 0, *, context: Context) -> dict[str, Any]:
    """Undo a step, not always at once; the idempotency key says which one."""
    if context.attempt <= fails and context.attempt % 2:
        raise StepFailure("not yet", code="busy")
    return {"effect": await tell(context)}


@durable("orders.settle")
async def settle(ctx: DurableContext, order: dict[str, Any]) -> dict[str, Any]:
    """Charge and stamp side by side; without a review by a node, wait for it here. A declined card is an error."""
    undone = Undo("witness.undo", {"fails": order["fails"]}, kind="idempotent", retry=UNDO, timeout=30)
    tries = {"max_attempts": 12, "initial": "100ms", "max": "2s"}
    async with asyncio.TaskGroup() as group:
        papers = [group.create_task(_stamped(ctx, number, undone, tries)) for number in range(order["papers"])]
        if not order["review"]:
            group.create_task(ctx.signal("reviewed", timeout="12h"))
    await ctx.sleep(ctx.random() / 10)
    declines = {**tries, "non_retryable": ["declined"]}
    paid = await ctx.step("witness.charge", {"total": order["total"]}, retry=declines, timeout=30, compensate=undone)
    return {"effect": paid["effect"], "stamped": [paper.result() for paper in papers], "id": str(ctx.uuid())}


async def _stamped(ctx: DurableContext, number: int, undone: Undo, tries: dict[str, Any]) -> int:
    stamped = await ctx.step("witness.stamp", {"number": number}, retry=tries, timeout=30, compensate=undone)
    result: int = stamped["stamped"]
    return result


@handler("witness.sorry")
async def sorry(error: dict[str, Any], *, context: Context) -> dict[str, Any]:
    """Apologise."""
    return {"effect": await tell(context), "for": error["code"]}
