"""The port for messages that go out: the `publish` node, dead letters and the command line use it.

Goes to: `kafka_publisher`, `rabbitmq_publisher`, `memory`, which implement `Publisher`.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Protocol

from msgspec import Struct

if TYPE_CHECKING:
    from triggers.message import ConnectionStatus, DeadLetter, Inbound

MAX_REASON = 1000
"""Characters of a dead letter's reason, which may quote the message: brokers bound headers, and the whole message."""


class Outbound(Struct, frozen=True, kw_only=True):
    """One message to send."""

    destination: str
    """A Kafka topic, a RabbitMQ routing key (a queue's name on the default exchange), or an in-process topic."""
    body: bytes
    key: str | bytes | None = None
    """Kafka: messages with one key stay in order. The other brokers carry it as the header `key`."""
    headers: Mapping[str, str | bytes] = {}
    content_type: str | None = None
    message_id: str | None = None
    """Stable over retries; sent as the header `idempotency-key`, and as RabbitMQ's `message_id`."""
    exchange: str = ""
    """RabbitMQ only; empty for the default exchange."""
    partition: int | None = None
    """Kafka only; None leaves it to the key."""


class Publisher(Protocol):
    """A connection that sends; connects when first used, shared by all, safe for concurrent tasks."""

    async def publish(self, message: Outbound) -> str:
        """Send and wait until the broker has confirmed; return where it went, for people: `kafka:orders/3@42`.

        At least once: after an error the message may be there all the same.
        Raises `BrokerUnavailable` (repeat later) or `Unroutable` (somebody must act).
        """

    async def close(self) -> None:
        """Send what is under way, then disconnect. May be called more than once."""

    @property
    def status(self) -> ConnectionStatus:
        """How the connection is; one that was never used counts as connected."""


def outgoing_headers(message: Outbound) -> dict[str, str | bytes]:
    """Return the headers with content type and idempotency key among them; those given explicitly win."""
    implied = {"content-type": message.content_type, "idempotency-key": message.message_id}
    return {name: value for name, value in implied.items() if value is not None} | dict(message.headers)


def dead_letter_headers(inbound: Inbound, verdict: DeadLetter) -> dict[str, str]:
    """Return the headers that tell why a message was set aside; the same on every broker, and of limited length."""
    reason = verdict.reason
    return {
        "sagad-reason": reason if len(reason) <= MAX_REASON else f"{reason[: MAX_REASON - 1]}…",
        "sagad-code": verdict.code,
        "sagad-trigger": inbound.trigger,
        "sagad-source": inbound.source,
    }
