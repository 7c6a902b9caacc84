"""Handlers of the testing example. Only the first can be used as it is in a test: the others touch the world."""

from __future__ import annotations

from typing import Any, NoReturn

from daemon.handlers import handler


@handler("prices.total")
def total(items: list[dict[str, Any]]) -> float:
    """Add up what the items cost."""
    return float(sum(item["price"] * item["count"] for item in items))


@handler("inventory.reserve")
async def reserve(order: str) -> str:
    """Take the goods from the shelf."""
    _elsewhere("warehouse", order)


@handler("inventory.release")
async def release(reservation: str) -> str:
    """Put them back."""
    _elsewhere("warehouse", reservation)


@handler("payments.charge")
async def charge(amount: float) -> str:
    """Take the money."""
    _elsewhere("bank", amount)


def _elsewhere(what: str, given: object) -> NoReturn:
    raise ConnectionError(f"this example has no {what} that could be asked for {given}")
