"""Handlers of the subflow example."""

from __future__ import annotations

from daemon.handlers import Context, StepFailure, handler


@handler("orders.pay")
async def pay(*, context: Context) -> str:
    """Take the money; give the receipt."""
    return f"receipt {context.execution_id[:8]}"


@handler("orders.pay_back")
async def pay_back(receipt: str) -> str:
    """Give the money back."""
    return f"paid back: {receipt}"


@handler("parcels.pack")
async def pack(name: str) -> str:
    """Put it into a box."""
    return f"{name}, packed"


@handler("parcels.unpack")
async def unpack(name: str) -> str:
    """Take it out of the box."""
    return f"{name}, unpacked"


@handler("parcels.hand_over")
async def hand_over(name: str) -> str:
    """Give it to the carrier, who refuses what is wet."""
    if name.startswith("wet"):
        raise StepFailure(f"{name} is refused", code="refused", retryable=False)
    return f"tracking-{name}"
