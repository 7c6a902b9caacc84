"""A bank that answers slowly, and gives each answer a number of its own."""

from __future__ import annotations

import asyncio
from uuid import uuid4

from daemon.handlers import handler

RATES = {"USD": 0.5, "GBP": 2.0}


@handler("bank.rate")
async def rate(currency: str) -> dict[str, str | float]:
    """Ask for the rate of a currency."""
    await asyncio.sleep(0.05)
    return {"rate": RATES[currency], "quote": str(uuid4())}
