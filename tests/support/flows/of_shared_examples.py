"""More workflows of deploy/examples in Python: people, databases, limits, results, durable functions, pages."""

from __future__ import annotations

from typing import Any, TypedDict

from daemon.durable import DurableContext, durable
from daemon.flow import (
    Cache,
    Escalate,
    Page,
    Rate,
    Retry,
    Tell,
    Throttle,
    approval,
    assign,
    branch,
    default,
    expr,
    fail,
    for_pages,
    function,
    notice,
    parallel,
    pipe,
    sql,
    step,
    transform,
    variables,
    workflow,
)


def required(*names: str, **properties: Any) -> dict[str, Any]:
    schema: dict[str, Any] = {"type": "object", "required": list(names)}
    return schema | ({"properties": properties} if properties else {})


TEXT = {"type": "string"}

# approval


class Invoice(TypedDict):
    supplier: str
    amount: float
    lead: str


class Booking(TypedDict):
    cost_centre: str


@step("chat.tell")
async def tell(to: str, notice: dict[str, str]) -> None: ...


@step("bank.pay")
async def pay(amount: float, decided: Any) -> str:
    return f"{amount} {decided}"


@workflow(
    "payment-approval",
    description="Pays an invoice when the team lead and somebody of finance have approved it; the CFO is asked when they do not.",  # noqa: E501  as it is in YAML
    input=required("supplier", "amount", "lead"),
)
def payment_approval(invoice: Invoice) -> Any:
    large = branch("large", invoice["amount"] > 1000)
    with large.true:
        ask = approval(
            "ask",
            f"Pay {invoice['amount']} to {invoice['supplier']}?",
            [invoice["lead"], "group:finance"],
            rule="all",
            timeout="2d",
            on_timeout=Escalate(["cfo"], timeout="1d", then="reject"),
            reminder="4h",
            comment="on_reject",
            form={"type": "object", "properties": {"cost_centre": TEXT}},
            notify=[Tell(tell, {"to": notice.approver})],
        )
    paid = pay.options(after=large.false)(invoice["amount"], default(ask.approved.value, {}))
    with ask.rejected as said:
        refused = transform("refuse", f"refused: {said['comment']}")
    return default(paid, refused)


# sql


class Order(TypedDict):
    order: str
    item: str
    pieces: int


class Left(TypedDict):
    item: str
    pieces: int


TABLE = "create table if not exists taken (key text primary key, who text, item text, pieces integer)"
TAKE = """\
insert into taken values (%(idempotency_key)s, %(who)s, %(item)s, %(pieces)s)
on conflict do nothing
"""
LEFT = "select item, 10 - sum(pieces) as pieces from taken where item = %(item)s group by item"


@workflow(
    "stock",
    description="Takes pieces out of the stock, once however often the step runs, and says what is left.",
    input=required("order", "item", "pieces", pieces={"type": "integer", "minimum": 1}),
)
def stock(order: Order) -> Left:
    table = sql("table", "stock", TABLE, fetch="none")
    who, item, pieces = order["order"], order["item"], order["pieces"]
    take = sql(
        "take",
        "stock",
        TAKE,
        {"who": who, "item": item, "pieces": pieces},
        fetch="none",
        retry=Retry(5),
        after=table,
        compensate=lambda _: sql("undo", "stock", "delete from taken where who = %(who)s", {"who": who}, fetch="none"),
    )
    left = sql("left", "stock", LEFT, {"item": item}, fetch="one", type_=Left, read_only=True, after=take)
    enough = branch("enough", left["pieces"] >= 0)
    with enough.false:
        fail("too_few", f"only {left['pieces'] + pieces} are there", code="too_few")
    with enough.true:
        return transform("taken", left)


# limits


class Imports(TypedDict):
    tenant: str
    files: list[str]
    priority: int


@step("service.send")
async def send(file: str) -> str:
    return file


@workflow(
    "imports",
    description="Imports files of tenants into a service that takes little at once.",
    input=required("tenant", "files", priority={"type": "integer"}),
    throttle=lambda given: Throttle(concurrency=2, key=given["tenant"]),
    priority=lambda given: default(given["priority"], 0),
)
def imports(given: Imports) -> list[str]:
    service = Throttle(shared="service", fair=given["tenant"])
    with parallel("upload", given["files"]) as upload:
        limited = send.options(throttle=[service, Throttle(rate=Rate(100, per="1s", burst=10))])
        return upload.collect(limited(upload.item))


# result_cache


@step("bank.rate")
async def rate(currency: str) -> dict[str, Any]:
    return {"rate": 1, "quote": currency}


@workflow(
    "result-cache",
    description="Converts prices; the rate of a currency is asked for once an hour, whoever needs it.",
    input=required("prices"),
)
def result_cache(given: Any) -> Any:
    with parallel("convert", given.prices) as convert:
        currency = convert.item["in"]
        cached = rate.options(cache=Cache(currency, ttl="1h", name="rates"), retry=Retry(3, initial="200ms"))
        found: Any = cached(currency)
        price = transform("price", convert.item.amount * found.rate)
        converted: Any = convert.collect({"price": price, "quote": found.quote})
    return {
        "prices": pipe(pipe(converted, "map", attribute="price"), "list"),
        "asked_once": converted[0].quote == converted[1].quote,
        "asked_for_each_currency": converted[0].quote != converted[2].quote,
    }


# durable_function


@durable("orders.fulfil")
async def fulfil(ctx: DurableContext, items: list[str], total: float) -> dict[str, Any]:
    return {"mail": await ctx.step(tell, {"to": items[0], "notice": total})}


class Basket(TypedDict):
    items: list[str]
    total: float


@workflow(
    "durable-function",
    description="Fulfils an order in one durable function.",
    input=required("items", "total"),
)
def durable_function(basket: Basket) -> Any:
    order = function("order", fulfil)(basket["items"], basket["total"])
    return transform("shown", {"result": order, "said": expr(f"{order}.mail")})


# pages


class Day(TypedDict):
    day: str


class Bill(TypedDict):
    id: int
    day: str


@step("bills.open", retry=Retry(5, initial="1s"), timeout="30s")
async def open_bills(day: str, after: int | None) -> Page[Bill]:
    return {"items": [{"id": after or 0, "day": day}]}


@step("bills.remind", retry=Retry(3, initial="1s"))
async def remind(bill: int) -> str:
    return f"reminded of {bill}"


@workflow(
    "pages",
    description="Reminds every customer whose bill is open, however many there are.",
    input=required("day", day=TEXT),
    vars={"reminded": 0},
)
def pages(given: Day) -> Any:
    with for_pages("bills", lambda page: open_bills(given["day"], page.cursor), limit=1_000_000) as bills:
        reminded = remind(bills.item["id"])
        assign("count", {"reminded": variables.reminded + 1}, after=reminded)
        last = bills.last(f"{bills.index}: {reminded}")
    return {"reminded": variables.reminded, "last": last}
