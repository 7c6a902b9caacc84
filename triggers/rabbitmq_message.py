"""AMQP messages to `Inbound` and to dead letters, and which acknowledgements to send. Pure.

Comes from: `rabbitmq_session`.
"""

from __future__ import annotations

from datetime import datetime
from typing import TYPE_CHECKING, Any

import msgspec
from aio_pika import DeliveryMode, Message

from triggers.content import header_text
from triggers.message import DeadLetter, Inbound
from triggers.publishing import dead_letter_headers
from triggers.rabbitmq_values import sendable

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

    from aio_pika.abc import AbstractIncomingMessage


def to_inbound(message: AbstractIncomingMessage, *, trigger: str, queue: str, received_at: datetime) -> Inbound:
    """Return the message as the port has it.

    The AMQP properties are headers too, where no header has their name: `message-id`, `correlation-id`, `reply-to`,
    `type`, `app-id`, `timestamp`, `routing-key`, `exchange`. The key is the header `key`.
    """
    properties = {
        "message-id": message.message_id,
        "correlation-id": message.correlation_id,
        "reply-to": message.reply_to,
        "type": message.type,
        "app-id": message.app_id,
        "timestamp": message.timestamp,
        "routing-key": message.routing_key,
        "exchange": message.exchange,
    }
    named = {**properties, **{name.lower(): value for name, value in message.headers.items()}}
    headers = {name: _text(value) for name, value in named.items() if value is not None}
    return Inbound(
        trigger=trigger,
        source=f"rabbitmq:{queue}",
        identity=message.message_id,
        body=message.body,
        key=headers.get("key"),
        headers=headers,
        content_type=message.content_type,
        received_at=received_at,
    )


def to_dead_letter(message: AbstractIncomingMessage, inbound: Inbound, verdict: DeadLetter) -> Message:
    """Return the message as it came, with the reason in its headers.

    Two properties stay behind: `expiration`, or it would vanish, and `user_id`, which must be the sender's own.
    """
    return Message(
        message.body,
        headers={**sendable(message.headers), **dead_letter_headers(inbound, verdict)},
        content_type=message.content_type,
        content_encoding=message.content_encoding,
        correlation_id=message.correlation_id,
        message_id=message.message_id,
        reply_to=message.reply_to,
        timestamp=message.timestamp,
        type=message.type,
        app_id=message.app_id,
        priority=message.priority,
        delivery_mode=DeliveryMode.PERSISTENT,
    )


def acknowledgements(unacknowledged: Iterable[int], settled: set[int]) -> Iterator[tuple[int, bool]]:
    """Yield (delivery tag, multiple): one for all up to the first that is not settled, then one for each other.

    `unacknowledged` are all tags of the channel that were not acknowledged yet, rising.
    """
    up_to = 0
    for tag in unacknowledged:
        if tag not in settled:
            break
        up_to = tag
    if up_to:
        yield up_to, True
    yield from ((tag, False) for tag in sorted(settled) if tag > up_to)


def _text(value: Any) -> str:
    """Return text, or what it is in JSON; AMQP tables hold numbers, times, lists and tables."""
    match value:
        case str():
            return value
        case bytes() | bytearray():
            return header_text(bytes(value))
        case datetime():
            return value.isoformat()
    return msgspec.json.encode(value, enc_hook=str).decode()
