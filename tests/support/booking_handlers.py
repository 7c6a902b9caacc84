"""Handlers that note what they have done outside, by idempotency key, as services do."""

from __future__ import annotations

from collections import defaultdict
from typing import Any

from daemon.handlers import Context, StepFailure, handler

done: defaultdict[str, list[tuple[str, str]]] = defaultdict(list)
"""World -> what was done in it: the handler and its key, once for each key."""


def _do(world: str, what: str, context: Context) -> None:
    if (what, context.idempotency_key) not in done[world]:
        done[world].append((what, context.idempotency_key))


@handler("reserve")
async def reserve(world: str, amount: int, *, context: Context) -> dict[str, Any]:
    """Reserve so much."""
    _do(world, "reserve", context)
    return {"world": world, "amount": amount}


@handler("charge")
async def charge(world: str, amount: int, *, context: Context) -> dict[str, Any]:
    """Take the money."""
    _do(world, "charge", context)
    return {"world": world, "charged": amount}


@handler("ship")
async def ship(world: str, order: Any, *, fail: bool, context: Context) -> Any:
    """Send it; some parcels are lost."""
    if fail:
        raise StepFailure("lost", "lost", retryable=False)
    _do(world, "ship", context)
    return order


@handler("undo")
async def undo(of: dict[str, Any], *, context: Context) -> None:
    """Undo what was done."""
    _do(of["world"], "undo", context)
