"""The shop and the bank."""

from __future__ import annotations

from typing import Any

from daemon.handlers import handler


@handler("shop.find")
async def find(order: str) -> dict[str, Any]:
    """Find what was bought, and by whom."""
    return {"item": f"the lamp of {order}", "account": "AT61"}


@handler("bank.repay")
async def repay(account: str, amount: float) -> dict[str, Any]:
    """Pay back."""
    return {"to": account, "amount": amount}
