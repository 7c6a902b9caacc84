"""An order as a durable function: plain asyncio code that survives crashes, and waits of weeks."""

from __future__ import annotations

import asyncio
from typing import Any

from daemon.durable import CallFailed, DurableContext, Undo, durable
from daemon.handlers import StepFailure, handler

LIMIT = 1000


@handler("inventory.reserve")
async def reserve(item: str) -> dict[str, str]:
    """Reserve one item."""
    return {"id": f"r-{item}"}


@handler("inventory.release")
async def release(reservation: str) -> None:
    """Undo a reservation."""


@handler("payments.charge")
async def charge(amount: float) -> dict[str, Any]:
    """Charge the card, or refuse."""
    if amount > LIMIT:
        raise StepFailure("over the limit", "limit", retryable=False)
    return {"charged": amount}


@handler("mail.send")
async def send(text: str) -> str:
    """Send a mail."""
    return text


@durable("orders.fulfil")
async def fulfil(ctx: DurableContext, items: list[str], total: float) -> dict[str, Any]:
    """Reserve all items side by side, charge, then wait for the customer, but not for ever."""
    undo = Undo(release, {"reservation": "{{ step.output.id }}"})
    reserved = await asyncio.gather(*(ctx.step(reserve, {"item": item}, compensate=undo) for item in items))
    try:
        await ctx.step(charge, {"amount": total}, retry={"max_attempts": 3, "initial": "200ms"})
    except CallFailed as error:
        return {"refused": error.code}
    await ctx.sleep("100ms")  # may be a month: it takes no memory
    try:
        async with asyncio.timeout(0.2):
            wish = await ctx.signal("wish")
    except TimeoutError:
        wish = "none"
    mail = await ctx.step(send, {"text": f"{len(reserved)} items, wish: {wish}"})
    return {"reserved": [each["id"] for each in reserved], "mail": mail}
