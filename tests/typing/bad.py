"""What type checkers refuse: each line that ends in `# wrong: CODE`, and no other."""

from __future__ import annotations

from daemon.flow import (
    Retry,
    Throttle,
    approval,
    branch,
    error_of,
    for_each,
    for_pages,
    function,
    http,
    kafka,
    parallel,
    port,
    signal,
    sql,
    step,
    wait,
    workflow,
)
from tests.typing.shop import Order, Receipt, apologise, charge, fulfil, lines_on, refund, weigh


@step(compensate=refund)  # wrong: arg-type
async def gives_no_receipt(order: Order) -> Order:
    return order


@step(retry=5)  # wrong: call-overload # wrong: untyped-decorator
async def retried(order: Order) -> Order:
    return order


@workflow("orders", triggers=["kafka"], on_error="explode")  # wrong: list-item # wrong: arg-type
def orders(order: Order) -> float:
    receipt = charge(order)
    charge(receipt)  # wrong: arg-type
    charge(order, receipt)  # wrong: call-arg # wrong: arg-type
    charge(total=1)  # wrong: call-arg
    charge(order.total)  # wrong: arg-type
    weigh.options(timeout=receipt.totl)  # wrong: attr-defined
    wait("sum", receipt.amount + receipt.id)  # wrong: operator # wrong: arg-type
    apologise(receipt)  # wrong: arg-type
    wait("reason", error_of(receipt).reason)  # wrong: attr-defined
    branch("large", order.id)  # wrong: arg-type
    weigh.options(compensate=refund)  # wrong: arg-type
    charge.options(compensate=lambda done: refund(done.otput))  # wrong: attr-defined
    charge.options(retries=Retry(5))  # wrong: call-arg
    charge.options(on_error="ignore")  # wrong: arg-type
    with for_each("lines", order.lines) as lines:
        weigh(lines.item.price)  # wrong: arg-type
        weights = lines.collect(weigh(lines.item))
    charge(weights)  # wrong: arg-type
    with for_each("nothing", order.total):  # wrong: arg-type
        pass
    with parallel("boxes", 3) as boxes:
        weigh(boxes.item)  # wrong: arg-type
    with port(receipt, "declined", str) as reason:
        wait("amount", reason.amount)  # wrong: attr-defined
    charge(signal("review", "reviewed", Receipt))  # wrong: arg-type
    http("call", "FETCH", "https://x")  # wrong: arg-type
    wait("pause", 10)  # wrong: arg-type
    kafka("orders", topics="orders")  # wrong: call-arg
    sql("rows", "db", "select 1", fetch="some")  # wrong: call-overload
    charge(sql("one", "db", "select 1", fetch="one", type_=Receipt))  # wrong: arg-type
    approval("ask", "ok?", 7)  # wrong: call-overload
    with approval("sure", "ok?", ["ann"], form=Receipt).approved as said:
        charge(said["data"])  # wrong: arg-type
    function("durable", fulfil)("a", 1)  # wrong: arg-type
    function("again", fulfil)(["a"])  # wrong: call-arg
    with for_pages("pages", lambda page: lines_on(order.id, page.cursor)) as pages:
        charge(pages.item)  # wrong: arg-type
    for_pages("none", lambda _: charge(order))  # wrong: arg-type # wrong: return-value
    charge.options(throttle=3)  # wrong: arg-type
    Throttle(concurency=1)  # wrong: call-arg
    return order  # wrong: return-value


@workflow("parent")
def parent(order: Order) -> float:
    orders(order.id)  # wrong: arg-type
    return orders(order)["amount"]  # wrong: index # wrong: no-any-return


async def awaited(order: Order) -> None:
    await charge(order)  # wrong: misc
