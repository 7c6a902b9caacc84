"""What is ordered, and how each order must end. Pure."""

from __future__ import annotations

from typing import TYPE_CHECKING

from msgspec import Struct

if TYPE_CHECKING:
    from collections.abc import Sequence

REPEATED_EVERY = 5
"""Each fifth order is delivered twice, as webhooks and brokers do now and then."""


class Order(Struct, frozen=True):
    """One order."""

    order_id: str
    total: float
    ending: str
    """The last step that must succeed: `notify`, or `sorry` when the card is declined."""
    reviewed: bool
    """Whether somebody has to look at it first."""
    deliveries: int

    def body(self) -> dict[str, object]:
        """Return what is sent."""
        return {"order_id": self.order_id, "total": self.total}


def make_orders(run: str, count: int) -> Sequence[Order]:
    """Return orders of every kind in turn; `run` makes their ids different from those of other runs."""
    return [_order(run, number) for number in range(1, count + 1)]


def _order(run: str, number: int) -> Order:
    match number % 8:
        case 3:
            total, ending, reviewed = number + 0.13, "sorry", False  # the card is declined: the error edge
        case 5:
            total, ending, reviewed = number + 0.50, "notify", False  # the warehouse is busy at first: a retry
        case 7:
            total, ending, reviewed = 1000.0 + number, "notify", True  # a large order: a branch and a signal
        case _:
            total, ending, reviewed = number + 0.99, "notify", False
    deliveries = 2 if number % REPEATED_EVERY == 0 else 1
    return Order(f"{run}-{number:04}", total, ending, reviewed, deliveries)
