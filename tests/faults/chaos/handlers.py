"""What the orders of the chaos run do: fail, dawdle, and tell the witness, with their idempotency key."""

from __future__ import annotations

import asyncio
import os
import time
from typing import Any

import httpx

from daemon.handlers import Context, StepFailure, handler

PATIENCE_S = 20.0
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


@handler("witness.charge")
async def charge(total: float, *, context: Context) -> dict[str, Any]:
    """Decline what ends on 13 cents."""
    await asyncio.sleep(0)
    effect = await tell(context)
    if round(total * 100) % 100 == 13:
        raise StepFailure("card declined", code="declined", retryable=False)
    return {"effect": effect}


@handler("witness.sorry")
async def sorry(error: dict[str, Any], *, context: Context) -> dict[str, Any]:
    """Apologise."""
    return {"effect": await tell(context), "for": error["code"]}
