"""What a span tells of the message that started an execution: OpenTelemetry's words for `kafka:orders/3@42`. Pure.

Comes from: `spans`. Goes to: daemon/runtime/otlp, as attributes.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any

from msgspec import Struct

from daemon.core.values import Json, from_json

MAX_KEY = 200
"""Characters of a message's key that a span shows."""

_KAFKA = re.compile(r"(?P<topic>.+)/(?P<partition>\d+)@(?P<offset>\d+)", re.ASCII | re.DOTALL)


class Source(Struct, frozen=True, kw_only=True):
    """The message's span, but for its ids and time."""

    span_name: str
    span_kind: str
    """`consumer` | `server` | `internal`."""
    attributes: Mapping[str, str | int | bool]


def source_of(trigger: Json) -> Source | None:
    """Read the `trigger` of an execution's start; None when no message started it."""
    value: Any = from_json(trigger)
    if not isinstance(value, dict) or not isinstance(value.get("source"), str):
        return None
    kind, _, rest = value["source"].partition(":")
    match kind:
        case "kafka" if (place := _KAFKA.fullmatch(rest)) is not None:
            attributes: dict[str, str | int | bool] = {
                "messaging.destination.partition.id": place["partition"],
                "messaging.kafka.offset": int(place["offset"]),
            }
            if isinstance(key := value.get("key"), str):
                attributes["messaging.kafka.message.key"] = key[:MAX_KEY]
            return _consumed(kind, place["topic"], attributes)
        case "rabbitmq":
            return _consumed(kind, rest, {})
        case "memory":
            return _consumed(kind, rest.rpartition("@")[0], {})
        case "webhook":
            return Source(span_name=f"webhook {rest}", span_kind="server", attributes={"http.route": f"/hooks/{rest}"})
        case "schedule":
            return Source(span_name=f"schedule {rest}", span_kind="internal", attributes={})
        case _:
            return None


def _consumed(system: str, destination: str, more: Mapping[str, str | int | bool]) -> Source:
    attributes = {
        "messaging.system": system,
        "messaging.operation.type": "process",
        "messaging.operation.name": "process",
        "messaging.destination.name": destination,
        **more,
    }
    return Source(span_name=f"process {destination}", span_kind="consumer", attributes=attributes)
