"""Handlers of the order example: they stand for a warehouse, a bank and a mail server, and take about as long.

What an order costs decides what becomes of it, so that the example always ends the same way: with 13 cents the card is
declined, with 50 cents the warehouse is busy at the first attempt.

When `ORDER_JOURNAL` names a file, each run of a handler is written down there as it begins and as it ends. The
demonstration shows by it that no step ran again once its result was recorded.
"""

from __future__ import annotations

import asyncio
import json
import os
import time
import zlib
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any, TypedDict

from daemon.handlers import Context, StepFailure, handler

if TYPE_CHECKING:
    from collections.abc import Iterator

DECLINED_CENTS = 13
BUSY_CENTS = 50


class Reservation(TypedDict):
    """Goods that are put aside."""

    id: str


class Receipt(TypedDict):
    """Money that is taken."""

    charged: float
    reservation: str
    transaction: str


@handler("inventory.reserve")
async def reserve(order: dict[str, Any], *, context: Context) -> Reservation:
    """Take the goods from the shelf. An `async` handler runs in the daemon's event loop."""
    with journal(context):
        await asyncio.sleep(takes_s(order["total"], 0.05, 0.2))
        if cents(order["total"]) == BUSY_CENTS and context.attempt == 1:
            raise StepFailure("the warehouse is busy", code="busy")
        return {"id": f"reservation-{order['order_id']}"}


@handler("payments.charge")
def charge(amount: float, reservation: str, *, context: Context) -> Receipt:
    """Charge the customer. A plain `def` runs in a thread, so it may block."""
    with journal(context):
        time.sleep(takes_s(amount, 0.1, 0.4))
        if cents(amount) == DECLINED_CENTS:
            raise StepFailure("the card was declined", code="card_declined", retryable=False)
        # The bank gets the idempotency key: asked twice for one step, it charges once.
        return {"charged": amount, "reservation": reservation, "transaction": f"bank-{context.idempotency_key}"}


@handler("mail.apologise")
async def apologise(error: dict[str, Any], *, context: Context) -> str:
    """Write to the customer that it did not work."""
    with journal(context):
        await asyncio.sleep(0.05)
        return f"We are sorry: {error['message']}."


def cents(amount: float) -> int:
    """Return what follows the point."""
    return round(amount * 100) % 100


def takes_s(amount: float, least: float, most: float) -> float:
    """Return how long the work for this amount takes, in seconds: always the same."""
    return least + (most - least) * (zlib.crc32(repr(float(amount)).encode()) % 100) / 100


@contextmanager
def journal(context: Context) -> Iterator[None]:
    """Write down when a run begins and when it ends, one line each, which a crash cannot tear."""
    path = os.environ.get("ORDER_JOURNAL")
    if not path:
        yield
        return
    file = os.open(path, os.O_WRONLY | os.O_APPEND | os.O_CREAT, 0o600)

    def write(what: str) -> None:
        line = {
            "what": what,
            "key": context.idempotency_key,
            "attempt": context.attempt,
            "pid": os.getpid(),
            "at": time.time(),
        }
        os.write(file, f"{json.dumps(line)}\n".encode())

    try:
        write("began")
        yield
    finally:
        write("ended")
        os.close(file)
