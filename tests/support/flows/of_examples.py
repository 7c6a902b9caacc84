"""The workflows of deploy/examples, in Python. `test_same_as_yaml` holds that they are the same definitions."""

from __future__ import annotations

from typing import Any, TypedDict

from daemon.flow import (
    CONTEXT,
    Context,
    End,
    Port,
    Retry,
    Route,
    assign,
    branch,
    child,
    default,
    edges,
    error_of,
    expr,
    for_each,
    for_times,
    given,
    irreversible,
    join,
    kafka,
    memory,
    message,
    parallel,
    port,
    publish,
    rabbitmq,
    saga,
    schedule,
    secret,
    signal,
    size,
    step,
    transform,
    undo,
    update,
    variables,
    wait,
    webhook,
    when,
    while_loop,
    workflow,
)


def required(*names: str, **properties: Any) -> dict[str, Any]:
    schema: dict[str, Any] = {"type": "object", "required": list(names)}
    return schema | ({"properties": properties} if properties else {})


TEXT, NUMBER = {"type": "string"}, {"type": "number"}


@workflow(
    "hello",
    description="Greets by name, after a moment.",
    input={"type": "object", "properties": {"name": {"type": "string", "default": "world"}}},
    triggers=[memory("greetings")],
)
def hello(person: dict[str, str]) -> str:
    pause = wait("pause", "1s")
    greeting = {"greeting": f"Hello, {default(person['name'], 'world')}!"}
    return transform("greet", greeting, after=pause)["greeting"]


# loops


class Line(TypedDict):
    quantity: int
    price: float


class Cart(TypedDict):
    lines: list[Line]


@workflow(
    "loops",
    description="Adds up an order line by line, and gives the discount that the total allows.",
    input=required("lines", lines={"type": "array", "items": {"type": "object"}}),
    vars={"total": 0, "discount": 0},
)
def loops(cart: Cart) -> Any:
    with for_each("lines", cart["lines"]) as lines:
        lines.skip_if(lines.item["quantity"] == 0)
        price = transform("price", lines.item["quantity"] * lines.item["price"])
        assign("add", {"total": variables.total + price})
        lines.stop_if(variables.total > 1000)
        priced = lines.collect({"line": f"{lines.iteration} of {lines.total}", "price": price})
    with while_loop("discount", variables.total - variables.discount > 100, limit=50, after=lines) as discount:
        assign("more", {"discount": variables.discount + 30})
        reduced = discount.last(variables.discount)
    return {"lines": priced, "total": variables.total, "discount": reduced}


# fan_out


class Offer(TypedDict):
    carrier: str
    price: float


@step("carriers.ask", retry=Retry(2, initial="100ms"), timeout="10s")
async def ask(carrier: str, weight: float) -> Offer:
    return {"carrier": carrier, "price": weight}


class Freight(TypedDict):
    carriers: list[str]
    weight: float


@workflow(
    "fan-out",
    description="Asks three carriers for a price at once, and takes the cheapest of the first two that answer.",
    input=required("carriers", "weight"),
)
def fan_out(freight: Freight) -> Any:
    with parallel("offers", freight["carriers"], concurrency=10, on_failure="collect", enough=2) as offers:
        offers.collect(ask(offers.item, freight["weight"]))
        best = f"{offers.results} | selectattr('price') | sort(attribute='price') | first"
        offer = offers.aggregate(expr(best, Offer))
    with for_times("deliveries", 2) as deliveries:
        with parallel("boxes", 2) as boxes:
            text = f"{offer['carrier']} {deliveries.iteration}/{boxes.index + 1}"
            labelled = boxes.collect(transform("label", text))
        labels = deliveries.collect(labelled)
    return {"offer": offer, "labels": labels}


# travel_booking


class Trip(TypedDict):
    traveller: str
    budget: float


class Booking(TypedDict):
    id: str
    price: float


@step("travel.prices", side_effects=False)
async def prices() -> dict[str, float]:
    return {}


@step("travel.release", retry=Retry(5, initial="100ms"))
async def release(booking: str) -> None: ...


@step("travel.book", compensate=lambda done: release(done.output["id"]))
async def book(what: str, price: float, traveller: str, *, context: Context = CONTEXT) -> Booking:
    return {"id": context.idempotency_key, "price": price}


@step("travel.refund")
async def refund(payment: str, amount: float) -> None: ...


@step(
    "travel.pay",
    retry=Retry(3, initial="100ms", non_retryable=["over_budget"]),
    compensate=lambda done: refund(done.output["id"], done.input["total"]),
)
async def pay(total: float, budget: float) -> dict[str, str]:
    return {}


@step("travel.send_tickets", compensate=irreversible("the tickets are with the traveller", manual="ask for them to be destroyed"))  # fmt: skip # noqa: E501  one sentence
async def tickets(traveller: str, flight: str) -> str:
    return traveller + flight


@workflow(
    "travel-booking",
    description="Books flight, hotel and car, takes the payment, and gives everything back when one of them fails.",
    input=required("traveller", "budget", traveller=TEXT, budget=NUMBER),
    undo="automatic",
)
def travel(trip: Trip) -> Any:
    today = prices()
    flight = book.options(id="flight")("flight", today["flight"], trip["traveller"])
    hotel = book.options(id="hotel", after=flight)("hotel", today["hotel"], trip["traveller"])
    back = undo(lambda done: release.options(retry=None)(done.output["id"]), kind="idempotent")
    car = book.options(id="car", after=flight, compensate=back)("car", today["car"], trip["traveller"])
    paid = pay(flight["price"] + hotel["price"] + car["price"], trip["budget"])
    tickets.options(after=paid)(trip["traveller"], flight["id"])
    return {"flight": flight["id"], "hotel": hotel["id"], "car": car["id"], "payment": paid["id"]}


# saga_group


class Label(TypedDict):
    number: str
    parcel: str


class Parcel(TypedDict):
    parcel: str
    kilograms: float


@step("parcels.tear_up")
async def tear_up(input: Label) -> None: ...  # noqa: A002  the whole of `with`


@step("parcels.label", compensate=tear_up)
async def label(parcel: str) -> Label:
    return {"number": "1", "parcel": parcel}


@step("parcels.send_courier_home")
async def send_courier_home(courier: str) -> None: ...


@step("parcels.call_courier", compensate=send_courier_home)
async def call_courier() -> str:
    return "courier 7"


@step("parcels.weigh", side_effects=False)
async def weigh(kilograms: float) -> float:
    return kilograms


@step("parcels.post")
async def post(label: str, why: str) -> str:
    return label + why


@workflow("saga-group", description="Sends an order by express if it can, else by post.", input=required("parcel", "kilograms"))  # fmt: skip # noqa: E501  as above
def saga_group(parcel: Parcel) -> Any:
    labelled = label(parcel["parcel"])
    with saga("express", "automatic", after=labelled) as express:
        courier = call_courier.options(id="courier")()
        weigh.options(after=courier)(parcel["kilograms"])
        sent = express.output(f"by {courier}")
    by_post: Any = post(labelled["number"], error_of(sent).code)
    why: Any = sent
    return transform("sent", given(why.error) & by_post | sent, after=[sent, by_post])


# handler_answers


class Sale(TypedDict):
    order: str
    total: float
    tell: list[str]


@step("payments.charge", ports=["declined"])
async def charge(total: float) -> dict[str, float] | Port:
    return {"charged": total}


@step("carriers.label", retry=Retry(2), timeout="10s")
async def carrier_label(order: str) -> dict[str, Any]:
    return {"tracking": order}


@step("customers.tell")
async def tell(ways: list[str]) -> Route:
    return Route(ways)


@step("customers.survey")
async def survey(total: float) -> str | End:
    return str(total)


@workflow(
    "handler-answers",
    description="Charges an order, waits for the carrier's label, and tells the customer in the ways that were asked for.",  # noqa: E501  as above
    input=required("order", "total", "tell"),
)
def handler_answers(sale: Sale) -> Any:
    charged = charge(sale["total"])
    printed = carrier_label.options(id="label", after=charged)(sale["order"])
    told = tell.options(after=printed)(sale["tell"])
    ways = [transform(name, f"{name}: {printed['tracking']}", after=told) for name in ("mail", "sms", "letter")]
    everywhere = join("told", *ways)
    asked = survey.options(after=charged)(sale["total"])
    transform("ask", "How was it?", after=asked)
    with port(charged, "declined", dict[str, str]) as declined:
        refuse = transform("refuse", f"declined: {declined['reason']}")
    return {"label": default(printed, refuse), "told": default(everywhere, {}), "survey": default(asked, "not asked")}


# order_fulfilment


class Order(TypedDict):
    order_id: str
    total: float


class Reservation(TypedDict):
    id: str


class Receipt(TypedDict):
    charged: float


@step("inventory.reserve", retry=Retry(5, "exponential", initial="200ms", max="30s"), timeout="10s", description="Takes the goods from the shelf.")  # fmt: skip # noqa: E501  as above
async def reserve(order: Order) -> Reservation:
    return {"id": order["order_id"]}


@step("payments.charge", retry=Retry(3, initial="500ms", non_retryable=["card_declined"]))
def take(amount: float, reservation: str) -> Receipt:
    return {"charged": amount}


@step("mail.apologise")
async def apologise(error: Any) -> str:
    return str(error)


@workflow(
    "order-fulfilment",
    description="Reserves the goods of an order, has large orders reviewed, charges, and tells the others.",
    input=required("order_id", "total", order_id={"type": "string", "minLength": 1}, total={"type": "number", "minimum": 0}),  # noqa: E501  as above
    triggers=[
        kafka(
            "orders",
            group="sagad",
            batch=500,
            filter=message.value.total > 0,
            dedupe=message.value.order_id,
            input=message.value,
            dead_letter="orders.dlq",
            retry=Retry(3, "exponential", initial="1s"),
        ),
        rabbitmq("orders-queue", queue="orders", prefetch=100, dedupe=message.headers.id, input=message.value),
        webhook("order-hook", path="orders", verify={"scheme": "standard-webhooks", "secret": secret.ORDER_HOOK}),
        schedule("nightly", "0 3 * * *", timezone="Europe/Berlin", catch_up="last", input={"order_id": f"nightly-{message.id}", "total": 0}),  # noqa: E501  as above
    ],
)  # fmt: skip
def order_fulfilment(order: Order) -> Receipt:
    reserved = reserve(order)
    large = branch("large", order["total"] > 1000, after=reserved)
    with large.true:
        review = signal("review", "reviewed", timeout="24h", description="Somebody looks at it, within a day.")
    receipt = take.options(id="charge", after=[large.false, review])(order["total"], reserved["id"])
    publish("notify", receipt, kafka={"topic": "orders.done", "key": order["order_id"]})
    apologise.options(id="sorry")(error_of(receipt))
    return receipt


# subflows


@step("orders.pay_back")
async def pay_back(receipt: str) -> None: ...


@step("orders.pay", compensate=pay_back)
async def pay_order() -> str:
    return "r"


@step("parcels.unpack")
async def unpack(name: str) -> None: ...


@step("parcels.pack")
async def pack(name: str) -> None: ...


@step("parcels.hand_over")
async def hand_over(name: str) -> str:
    return name


@workflow("parcel", description="Packs one parcel and hands it to the carrier.", input=None)
def parcel(wanted: dict[str, str]) -> dict[str, str]:
    packing = pack.options(compensate=lambda _: unpack(wanted["name"]))(wanted["name"])
    return {"tracking": hand_over.options(after=packing)(wanted["name"])}


class Parcels(TypedDict):
    parcels: list[str]


@workflow(
    "parcels-order",
    description="Ships every parcel of an order as an execution of its own.",
    input=required("parcels"),
)
def parcels_order(order: Parcels) -> list[Any]:
    paid = pay_order.options(id="pay")()
    with parallel("ship", order["parcels"], concurrency=10, after=paid) as ship:
        shipped = parcel.options(result=child.output.tracking, on_close="cancel", timeout="2d")({"name": ship.item})
        return ship.collect(shipped)


# updates

ADDRESSED = {"type": "object", "required": ["address"]}


@workflow(
    "cart",
    description="Takes items until it is checked out, and is given up after a day.",
    vars={"items": [], "open": True},
    signals={"checked_out": {"data": ADDRESSED}},
    updates={
        "add": {
            "data": {"type": "string", "minLength": 1},
            "accept": expr("vars.open and (vars.items | length) < 10"),
            "refusal": f"no room for {update.data}",
            "set": {"items": expr(f"{variables.items} + [{update.data}]")},
            "result": {"count": size(variables.items)},
        },
        "check_out": {
            "data": ADDRESSED,
            "accept": expr(f"({variables.items} | length) > 0"),
            "refusal": "there is nothing in the cart",
            "set": {"open": False},
            "signal": "checked_out",
        },
    },
    queries={"items": {"result": variables.items}},
)
def cart() -> dict[str, Any]:
    waited = signal("wait", "checked_out", timeout="24h", on_error="continue", default=None)
    return {"items": variables.items, "to": when(waited, waited.address, "nobody")}


@workflow("edges-told", input=None)
def told_edges(_: Any) -> None:
    first, second, third, fourth = (transform(name, name) for name in "abcd")
    edges(first, [second, third], fourth)
