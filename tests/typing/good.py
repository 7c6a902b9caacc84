"""What type checkers have nothing against, and what they take the values for."""

from __future__ import annotations

from typing import Any, assert_type

from daemon.flow import (
    Cache,
    Failure,
    Mail,
    Rate,
    Retry,
    Tell,
    Throttle,
    any_of,
    approval,
    branch,
    default,
    error_of,
    expr,
    for_each,
    for_pages,
    for_range,
    function,
    http,
    joined,
    kafka,
    message,
    negate,
    parallel,
    pipe,
    port,
    saga,
    signal,
    size,
    sql,
    step,
    transform,
    undo,
    wait,
    when,
    while_loop,
    workflow,
)
from tests.typing.shop import Line, Order, Receipt, apologise, charge, fulfil, lines_on, refund, tell, weigh

BY_FUNCTION = charge.options(compensate=lambda done: refund(done.output))
KINDLY = charge.options(compensate=undo(refund, kind="idempotent"), id="again")


@step("shop.lambda", compensate=lambda done: refund(done.output))
async def other(order: Order) -> Receipt:
    return Receipt(order.id, order.total)


@workflow("orders", triggers=[kafka("orders", filter=message.value.total > 0)])
def orders(order: Order) -> dict[str, float]:
    receipt = charge(order)
    assert_type(receipt, Receipt)
    assert_type(receipt.amount * 2 > 1, bool)
    assert_type(tell(["mail"]), Any)
    assert_type(apologise(error_of(receipt)), str)
    large = branch("large", (receipt.amount > 100) & negate(order.id == "x"))
    with large.true:
        assert_type(signal("review", "reviewed", Receipt, timeout="24h"), Receipt)
        assert_type(signal("other_review", "reviewed"), Any)
    with port(receipt, "declined", str) as reason:
        assert_type(reason, str)
    with port(receipt, "error") as problem:
        assert_type(problem, Failure)
    with for_each("lines", order.lines) as lines:
        assert_type(lines.item, Line)
        lines.skip_if(lines.item.quantity == 0)
        weights = lines.collect(weigh(lines.item))
    assert_type(weights, list[float])
    with for_range("numbers", 1, size(weights), after=any_of(lines, large.false)) as numbers:
        assert_type(numbers.item, int)
        last = numbers.last(f"{numbers.item}")
    assert_type(last, str)
    with parallel("boxes", 3) as boxes:
        assert_type(boxes.item, int)
    with parallel("beside", order.lines, on_failure="collect") as beside:
        assert_type(beside.item, Line)
        assert_type(beside.aggregate(pipe(beside.results, "first")), Any)
    with saga("together") as together:
        assert_type(together.output(transform("pair", (receipt, 1))), tuple[Receipt, int])
    with while_loop("going", lambda going: going.index < 3):
        wait("pause", "1s")
    assert_type(default(receipt, None), Receipt | None)
    assert_type(when(receipt.amount > 3, "a", 1), str | int)
    assert_type(expr(f"{weights} | sum", float), float)
    assert_type(joined(weights, ", "), str)
    assert_type(http("call", "GET", "https://x")["status"], int)
    KINDLY.options(id="third")(order)
    assert_type(sql("rows", "db", "select 1"), list[dict[str, Any]])
    assert_type(sql("lines_of", "db", "select 1", type_=Line), list[Line])
    assert_type(sql("one", "db", "select 1", fetch="one", type_=Line), Line)
    assert_type(sql("changed", "db", "delete from x", {"id": order.id}, fetch="none", retry=Retry(2))["rows"], int)
    ask = approval("ask", "ok?", ["ann"], form=Line, rule=1, notify=[Mail("a@x"), Tell(apologise)])
    with ask.approved as said:
        assert_type(said["data"], Line)
        assert_type(said["by"], list[str])
    assert_type(function("durable", fulfil)(["a"], total=1), Receipt)
    assert_type(function("far", "far.f", str)(1), str)
    with for_pages("pages", lambda page: lines_on(order.id, page.cursor)) as pages:
        assert_type(pages.item, Line)
    charge.options(throttle=Throttle(rate=Rate(1, "1s"), key=order.id), cache=Cache(order.id, "1h"), priority=1)(order)
    return {"amount": receipt.amount}


@workflow("parent")
def parent(order: Order) -> float:
    amounts = orders(order)
    assert_type(amounts, dict[str, float])
    assert_type(orders.options(id="again", on_close="abandon")(order), dict[str, float])
    return amounts["amount"]


assert_type(BY_FUNCTION.name, str)
