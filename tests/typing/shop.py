"""Steps for the typed examples beside this."""

from __future__ import annotations

from dataclasses import dataclass

from daemon.durable import DurableContext, durable
from daemon.flow import CONTEXT, Again, Context, End, Failure, Page, Port, Retry, Route, step


@dataclass
class Line:
    price: float
    quantity: int


@dataclass
class Order:
    id: str
    total: float
    lines: list[Line]


@dataclass
class Receipt:
    id: str
    amount: float


@step
async def refund(receipt: Receipt) -> None: ...


@step("payments.charge", retry=Retry(5), timeout="10s", compensate=refund, ports=["declined"])
async def charge(order: Order, *, context: Context = CONTEXT) -> Receipt | Port | Again:
    return Receipt(context.idempotency_key, order.total)


@step
def weigh(line: Line, factor: float = 1) -> float | End:
    return line.quantity * factor


@step
async def tell(ways: list[str]) -> Route:
    return Route(ways)


@step
async def apologise(error: Failure) -> str:
    return error.message


@step
async def lines_on(order: str, after: str | None) -> Page[Line]:
    return {"items": [], "next": order + (after or "")}


@durable("shop.fulfil")
async def fulfil(ctx: DurableContext, items: list[str], total: float) -> Receipt:
    return Receipt(ctx.address, total * len(items))
