"""A handler that pauses for input."""

from __future__ import annotations

from typing import Any

from daemon.handlers import Context, Pause, handler

OPEN = {"A1": 20, "A2": 20, "A3": 75}


@handler("payments.match")
async def match(amount: float, context: Context) -> dict[str, Any] | Pause:
    """Find the order that was paid. What is found out before the pause is in `context.state` after it."""
    if context.resumed is not None:  # somebody has chosen; what does not match `expects` never gets here
        return {"order": context.resumed["order"], "chosen_from": context.state}
    fitting = [order for order, total in OPEN.items() if total == amount]
    if len(fitting) == 1:
        return {"order": fitting[0], "chosen_from": fitting}
    expects = {"type": "object", "properties": {"order": {"enum": fitting or list(OPEN)}}, "required": ["order"]}
    return Pause(f"{len(fitting)} orders fit {amount}: which one was paid?", expects, state=fitting, timeout="7d")
