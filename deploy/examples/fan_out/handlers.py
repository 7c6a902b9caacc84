"""Handlers of the fan-out example: three carriers, of which one never has a price."""

from __future__ import annotations

from daemon.handlers import StepFailure, handler

PRICES = {"snail": 4.0, "horse": 9.5}
"""For a kilogram."""


@handler("carriers.ask")
async def ask(carrier: str, weight: float) -> dict[str, float | str]:
    """Return the carrier's price."""
    if carrier not in PRICES:
        raise StepFailure(f"{carrier} does not answer", code="no_answer")
    return {"carrier": carrier, "price": PRICES[carrier] * weight}
