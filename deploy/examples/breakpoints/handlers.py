"""A shop that cannot price large lines by itself."""

from __future__ import annotations

from daemon.handlers import StepFailure, handler

MOST = 9
"""Pieces that are sold at the list price."""


@handler("shop.price")
async def price(line: dict[str, float]) -> float:
    """Price a line. Of so many pieces somebody else knows the price."""
    if line["quantity"] > MOST:
        raise StepFailure("there is no price for so many", code="too_many")
    return line["quantity"] * line["price"]


@handler("shop.charge")
async def charge(amount: float) -> float:
    """Charge the order."""
    return amount
