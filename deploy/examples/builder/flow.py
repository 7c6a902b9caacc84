"""An order, in Python: one file is the whole application.

    sagad run flow.py --input '{"id": "A7", "total": 150, "lines": [{"sku": "tea", "count": 2}]}'   one execution
    sagad run flow.py                                       the daemon, with the trigger below
    sagad validate flow.py                                  every mistake, with its line
    sagad export flow.py                                    the same workflow as YAML, with the same hash

The functions at the top are the handlers: plain typed functions, which a unit test calls as `charge.function(...)`. The
function at the end is run once, when the file is loaded, to wire them: what a step gives is not there yet, but a type
checker takes it for what it will be, so `receipt.totl` and `ship(receipt)` are errors in the editor.
"""

from __future__ import annotations

from dataclasses import dataclass

from daemon.flow import (
    CONTEXT,
    Context,
    Failure,
    Retry,
    StepFailure,
    branch,
    default,
    error_of,
    for_each,
    memory,
    message,
    pipe,
    signal,
    step,
    workflow,
)

WEIGHT = {"tea": 0.1, "anvil": 90.0}
LIMIT = 10_000
LARGE = 1_000


@dataclass
class Line:
    """What is ordered, and how many of it."""

    sku: str
    count: int


@dataclass
class Order:
    """The input: its JSON Schema is made of this."""

    id: str
    total: float
    lines: list[Line]


@dataclass
class Receipt:
    """Money that was taken."""

    id: str
    total: float


@step("payments.refund")
async def refund(receipt: Receipt) -> None:
    """Give the money back."""


@step("payments.charge", retry=Retry(3, initial="200ms"), timeout="10s", compensate=refund)
async def charge(order: Order, *, context: Context = CONTEXT) -> Receipt:
    """Take the money. `refund` undoes it, should the execution fail later: it takes what this gives."""
    if order.total > LIMIT:
        raise StepFailure("over the limit", code="limit", retryable=False)
    return Receipt(context.idempotency_key, order.total)


@step("warehouse.weigh", side_effects=False)
def weigh(line: Line) -> float:
    """Return what a line weighs. A plain `def` runs in a thread."""
    return WEIGHT[line.sku] * line.count


@step("carriers.ship")
async def ship(order: Order, weight: float) -> str:
    """Send the parcel."""
    return f"{order.id}: {weight:.1f} kg"


@step("mail.apologise")
async def apologise(order: Order, error: Failure) -> str:
    """Tell the customer that it did not work."""
    return f"{order.id}: {error.code}"


@workflow("builder", triggers=[memory("orders", dedupe=message.value.id)])
def orders(order: Order) -> str:
    """Charges an order, has large ones reviewed, weighs its lines and ships it."""
    receipt = charge(order)
    apology = apologise(order, error_of(receipt))  # what reads an error begins by the `error` way

    large = branch("large", receipt.total > LARGE)
    with large.true:  # what begins in here begins by this way
        review = signal("review", "reviewed", timeout="24h")

    with for_each("lines", order.lines, after=[large.false, review]) as lines:
        lines.skip_if(lines.item.count == 0)
        weights = lines.collect(weigh(lines.item))  # a list[float], to be read after the loop

    parcel = ship(order, pipe(weights, "sum"))  # what reads a value comes after it: there is no edge to be written
    return default(parcel, apology)
