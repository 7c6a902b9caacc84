"""The messages of a run, made of its seed alone, and what must come of each.

Comes from: `load`. Goes to: the ledger, and so to tests/faults/checker.
"""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any, Literal
from uuid import UUID

from msgspec import Struct

from triggers.routing import execution_id

if TYPE_CHECKING:
    from random import Random

Way = Literal["kafka", "rabbitmq", "hook", "api"]

UNDECODABLE, SCHEMA, EXPRESSION = "not JSON", "against the schema", "without a key"
"""Why a poisonous message cannot be handled."""


class Message(Struct, frozen=True, kw_only=True):
    """One message to be sent by one way, and its place in the ledger."""

    message_id: str
    kind: Literal["start", "signal", "poison", "filtered"]
    way: Way
    body: bytes
    execution: UUID | None = None
    signal: str | None = None
    status: str | None = None
    output: Any = None
    key: str = ""
    """Kafka's: messages with the same one keep their order."""

    @property
    def topic(self) -> str:
        """The topic or queue that it goes to."""
        return "reviews" if self.kind == "signal" else "orders"

    def line(self, *, confirmed: bool) -> dict[str, Any]:
        """Return its line in the ledger."""
        line: dict[str, Any] = {"id": self.message_id, "kind": self.kind, "confirmed": confirmed, "via": self.way}
        if self.execution is not None:
            line["execution"] = str(self.execution)
        if self.signal is not None:
            line["signal"] = self.signal
        if self.status is not None:
            line["status"] = self.status
        if self.output is not None:
            line["output"] = self.output
        return line


class Parcel(Struct, frozen=True):
    """A message and how much later than its order it is sent; less than nothing is earlier."""

    message: Message
    after_s: float


def parcels(number: int, dice: Random, ways: list[Way]) -> list[Parcel]:
    """Return what is sent for the order of this number: mostly one message, a fifth twice, and its review.

    Of the reviews half come before their order. One in twenty is poison, one in twenty is filtered out. One in five is
    found broken at its end, and is undone.
    """
    way, lot = dice.choice(ways), dice.random()
    if lot < 0.05:
        return [Parcel(_poison(number, dice, "hook" if way == "api" else way), 0.0)]
    if lot < 0.10:
        return [Parcel(_filtered(number, "hook" if way == "api" else way), 0.0)]
    order = {
        "order_id": f"o-{number}",
        "total": number + dice.choice((0.13, 0.50, 0.50, 0.99)),
        "review": dice.random() < 0.2,
        "fails": dice.choice((0, 0, 0, 1, 2, 3)),
        "doomed": dice.random() < 0.05,
        "heavy": dice.random() < 0.2,
        "broken": dice.random() < 0.2,
        "lines": list("abc")[: dice.randint(1, 3)],
        "parcels": list(range(dice.choice((1, 1, 2)))),
        "papers": dice.randint(0, 2),
        "dock": dice.randrange(3),
        "pause": f"{dice.choice((1, 50, 200, 1000))}ms",
        "slow_s": dice.choice((0.0, 0.0, 0.0, 0.05, 0.5)),
    }
    start = _start(order, way)
    sent = [Parcel(start, 0.0)]
    if dice.random() < 0.2:
        again = way if way == "api" else dice.choice([each for each in ways if each != "api"])
        sent.append(Parcel(_start(order, again), dice.choice((0.0, 0.0, 0.5, 3.0))))
    return [*sent, Parcel(_review(number, start, dice.choice(ways)), dice.choice((-1.0, -0.1, 0.5, 2.0)))]


def _start(order: dict[str, Any], way: Way) -> Message:
    charged = round(order["total"] * 100) % 100 != 13
    scope = "order/api" if way == "api" else "orders"
    output = {
        "order": order["order_id"],
        "reserved": order["order_id"],
        "picked": order["lines"],
        "parcels": [{"packed": True, "labelled": 200} for _ in order["parcels"]],
        "express": not order["heavy"],
        "charged": charged,
    }
    fails = order["doomed"] or (order["broken"] and charged)
    return Message(
        message_id=order["order_id"],
        kind="start",
        way=way,
        body=json.dumps(order).encode(),
        execution=execution_id(scope, order["order_id"]),
        status="failed" if fails else "completed",
        output=None if fails else output,
        key=order["order_id"],
    )


def _review(number: int, start: Message, way: Way) -> Message:
    """Sign off an order. An execution of the API is known by its id only, so only the API can signal it."""
    if start.way == "api" or way not in ("kafka", "rabbitmq"):
        way = "api"
    signal = f"r-{number}" if way == "api" else f"reviews:r-{number}"
    body = {"order_id": start.message_id, "review_id": f"r-{number}"}
    return Message(
        message_id=f"r-{number}",
        kind="signal",
        way=way,
        body=json.dumps(body).encode(),
        execution=start.execution,
        signal=signal,
        key=f"r-{number}",
    )


def _poison(number: int, dice: Random, way: Way) -> Message:
    good = {"order_id": f"p-{number}", "total": 1, "review": False}
    bodies = {
        UNDECODABLE: f'{{"p-{number}'.encode(),
        SCHEMA: json.dumps({**good, "review": "perhaps", "total": 1}).encode(),
        EXPRESSION: json.dumps({"total": 1, "review": False, "note": f"p-{number}"}).encode(),
    }
    why = dice.choice(list(bodies))
    return Message(
        message_id=f"p-{number}",
        kind="poison",
        way=way,
        body=bodies[why],
        execution=execution_id("orders", f"p-{number}"),
        key=f"p-{number}",
    )


def _filtered(number: int, way: Way) -> Message:
    body = {"order_id": f"f-{number}", "total": -1, "review": False}
    return Message(
        message_id=f"f-{number}",
        kind="filtered",
        way=way,
        body=json.dumps(body).encode(),
        execution=execution_id("orders", f"f-{number}"),
        key=f"f-{number}",
    )
