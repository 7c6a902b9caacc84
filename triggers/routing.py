"""What a message means: start an execution, signal one, nothing, or something that can never be handled. Pure.

The composition root compiles each trigger of the definitions into a `Route`; its expressions arrive here as callables.

**Identity.** A message starts at most one execution because the execution's id is made of it:
`execution_id(scope, key)`. The key is what `dedupe` gives; else a CloudEvent's source and id; else the broker's own id
of the message. The scope is the trigger's qualified name, unless the definition sets another so that two triggers (one
on Kafka and one on RabbitMQ, say) mean the same executions.

Comes from: the adapters, by way of daemon/runtime/intake. Goes to: daemon/runtime/intake.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from datetime import UTC
from typing import TYPE_CHECKING, Any
from uuid import UUID, uuid5

import msgspec
from msgspec import Struct

from triggers import cloudevents
from triggers.content import decode
from triggers.errors import BadCloudEvent, ExpressionFailed

if TYPE_CHECKING:
    from triggers.message import Inbound

SAGAD_NAMESPACE = UUID("f3328c71-b087-55e8-b6d3-5fefb1261c15")
"""Never to be changed: all execution ids hang on it."""

Expression = Callable[[Mapping[str, Any]], Any]
"""Gets `{"message": {...}}`, gives a JSON value, raises `ExpressionFailed`."""


class SignalByKey(Struct, frozen=True, kw_only=True):
    """Signal the execution that the message with dedupe key `key` started or will start in `scope`."""

    name: str
    scope: str
    key: Expression


class SignalById(Struct, frozen=True, kw_only=True):
    """Signal the execution whose id the message carries."""

    name: str
    execution: Expression


class Route(Struct, frozen=True, kw_only=True):
    """One trigger, compiled."""

    trigger: str
    """Qualified: `workflow/trigger`."""
    scope: str | None = None
    """Scope of the identity; None is the trigger's own name."""
    filter: Expression | None = None
    """False acknowledges the message and does nothing."""
    dedupe: Expression | None = None
    input: Expression | None = None
    """The execution's input, or the signal's data; None hands on the message's value."""
    signal: SignalByKey | SignalById | None = None
    """None starts an execution."""


class Start(Struct, frozen=True):
    """Start this execution, unless it exists."""

    execution_id: UUID
    dedupe_key: str
    input: Any
    message: Mapping[str, Any]
    """What expressions know as `message`."""


class SignalExecution(Struct, frozen=True):
    """Give this execution a signal, now or as soon as it exists."""

    execution_id: UUID
    name: str
    signal_id: str
    """The same at each redelivery of the message."""
    data: Any
    message: Mapping[str, Any]


class Filtered(Struct, frozen=True):
    """Acknowledge it; it is not for this trigger."""


class Unusable(Struct, frozen=True):
    """It can never be handled as it is."""

    code: str
    """`undecodable` | `invalid` | `expression` | `unidentified`."""
    reason: str


Routed = Start | SignalExecution | Filtered | Unusable


def execution_id(scope: str, key: str) -> UUID:
    """Return the id of the execution that the message with this key starts."""
    return uuid5(SAGAD_NAMESPACE, f"{scope}\0{key}")


def route(inbound: Inbound, routes: Mapping[str, Route]) -> Routed:
    """Tell what to do with a message. `routes` holds one route for each trigger, by its qualified name.

    1. decode body and CloudEvent  2. filter  3. identity  4. input and, for signals, the execution meant.
    """
    chosen = routes[inbound.trigger]
    try:
        message = message_scope(inbound)
    except BadCloudEvent as error:
        return Unusable("invalid", str(error))
    except ValueError as error:
        return Unusable("undecodable", f"the body is not what its content type says: {error}")
    try:
        return _apply(chosen, message)
    except ExpressionFailed as error:
        return Unusable("expression", str(error))


def message_scope(inbound: Inbound) -> dict[str, Any]:
    """Return what expressions see as `message`: JSON values only.

    `value`, `encoding` (see `content.Content`), `key`, `headers`, `source`, `id`, `received_at` (ISO 8601, UTC) and
    `cloudevent` (its attributes, or None). Raises `BadCloudEvent` or `ValueError`.
    """
    event = cloudevents.from_message(inbound.headers, inbound.body, inbound.content_type)
    content = event.content if event is not None else decode(inbound.body, inbound.content_type)
    return {
        "value": content.value,
        "encoding": content.encoding,
        "key": inbound.key,
        "headers": dict(inbound.headers),
        "source": inbound.source,
        "id": event.identity if event is not None else inbound.identity,
        "received_at": inbound.received_at.astimezone(UTC).isoformat(),
        "cloudevent": event.attributes if event is not None else None,
    }


def _apply(chosen: Route, message: dict[str, Any]) -> Routed:
    scope = {"message": message}
    if chosen.filter is not None and not _yes(chosen.filter(scope)):
        return Filtered()
    key = _text("dedupe", chosen.dedupe(scope)) if chosen.dedupe is not None else message["id"]
    if not key:
        return Unusable(
            "unidentified",
            "the message has no id of its own; add `dedupe` to the trigger, with an expression that gives the same key"
            " whenever the message is delivered again",
        )
    identity_scope = chosen.scope or chosen.trigger
    value = chosen.input(scope) if chosen.input is not None else message["value"]
    if chosen.signal is None:
        return Start(execution_id(identity_scope, key), key, value, message)
    target = _target(chosen.signal, scope)
    return SignalExecution(target, chosen.signal.name, f"{identity_scope}:{key}", value, message)


def _target(signal: SignalByKey | SignalById, scope: Mapping[str, Any]) -> UUID:
    if isinstance(signal, SignalById):
        return _uuid(signal.execution(scope))
    return execution_id(signal.scope, _text("signal key", signal.key(scope)))


def _yes(answer: Any) -> bool:
    if isinstance(answer, bool):
        return answer
    raise ExpressionFailed(f"filter must give true or false, and gave {_shown(answer)}")


def _text(what: str, key: Any) -> str:
    """Text is taken as it is; any other value becomes canonical JSON, so that 7 and "7" are one key."""
    if key is None or key in ("", [], {}):
        raise ExpressionFailed(f"{what} gave {_shown(key)}, which identifies nothing")
    return key if isinstance(key, str) else msgspec.json.encode(key, order="sorted").decode()


def _uuid(value: Any) -> UUID:
    try:
        return UUID(value)
    except (ValueError, TypeError, AttributeError):
        raise ExpressionFailed(f"signal execution must give an execution's id, and gave {_shown(value)}") from None


def _shown(value: Any) -> str:
    return msgspec.json.encode(value).decode()[:80]
