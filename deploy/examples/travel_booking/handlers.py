"""Handlers of the travel example: bookings are kept in memory, by idempotency key, so that none is made twice."""

from __future__ import annotations

from daemon.handlers import Context, StepFailure, handler

BOOKED: dict[str, str] = {}
"""Idempotency key of the step that booked -> what was booked and is not released."""
PAID: dict[str, float] = {}


@handler("travel.prices")
async def prices() -> dict[str, float]:
    """Return today's prices."""
    return {"flight": 320.0, "hotel": 240.0, "car": 110.0}


@handler("travel.book")
async def book(what: str, price: float, traveller: str, *, context: Context) -> dict[str, float | str]:
    """Book it. The same attempt again books nothing again."""
    BOOKED[context.idempotency_key] = f"{what} for {traveller}"
    return {"id": context.idempotency_key, "price": price}


@handler("travel.release")
async def release(booking: str) -> None:
    """Give a booking back; one that there is not any more is no error."""
    BOOKED.pop(booking, None)


@handler("travel.pay")
async def pay(total: float, budget: float, *, context: Context) -> dict[str, str]:
    """Take the money."""
    if total > budget:
        raise StepFailure(f"{total:.0f} is more than {budget:.0f}", code="over_budget", details={"total": total})
    PAID[context.idempotency_key] = total
    return {"id": context.idempotency_key}


@handler("travel.refund")
async def refund(payment: str, amount: float) -> None:
    """Give the money back: the whole sum."""
    if PAID.get(payment) != amount:
        raise StepFailure("the bank knows no such payment", code="no_such_payment", retryable=False)
    del PAID[payment]


@handler("travel.send_tickets")
async def send_tickets(traveller: str, flight: str) -> str:
    """Send the tickets."""
    if not flight:
        raise StepFailure("there is no flight", code="no_flight")
    return f"tickets for {traveller}"
