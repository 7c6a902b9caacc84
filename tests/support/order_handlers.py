"""Handlers of the order examples in tests: they remember what they did in a file, when a test wants to know."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

from daemon.handlers import Context, StepFailure, handler


@handler("inventory.reserve")
async def reserve(order: dict[str, Any], *, context: Context) -> dict[str, Any]:
    """Reserve what was ordered."""
    note(context)
    return {"id": f"res-{order['order_id']}"}


@handler("payments.charge")
def charge(amount: float, reservation: str, *, context: Context) -> dict[str, Any]:
    """Charge the customer; 13 is always declined."""
    note(context)
    if amount == 13:
        raise StepFailure("card declined", code="declined", retryable=False)
    return {"charged": amount, "reservation": reservation}


@handler("mail.apologise")
def apologise(error: dict[str, Any]) -> str:
    """Say sorry."""
    return f"sorry: {error['message']}"


def note(context: Context) -> None:
    """Append the step's idempotency key to the file that `SAGAD_TEST_WITNESS` names: one line for each run."""
    witness = os.environ.get("SAGAD_TEST_WITNESS")
    if witness:
        with Path(witness).open("a") as file:
            file.write(f"{context.idempotency_key}\n")
