"""The connection to Kafka: settings, and what consumer and producer are made with.

Comes from: `kafka`, `kafka_publisher`.
"""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Any, Literal

from aiokafka.errors import ConsumerStoppedError, KafkaError, KafkaTimeoutError
from msgspec import Struct, field

from triggers.link import Reconnect
from triggers.tls import Tls, ssl_context

if TYPE_CHECKING:
    from collections.abc import Mapping

    from aiokafka import AIOKafkaConsumer, AIOKafkaProducer

_CLOSE_S = 5.0
"""How long leaving a group may take."""
LOST = (KafkaError, ConsumerStoppedError, OSError, TimeoutError)
"""What a broken connection, a broker's refusal or a lost membership raises."""


class Sasl(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Who we are."""

    username: str
    password: str
    mechanism: Literal["PLAIN", "SCRAM-SHA-256", "SCRAM-SHA-512"] = "PLAIN"
    """PLAIN shows the password to the broker, and without TLS to everybody on the way."""

    def __repr__(self) -> str:
        """Leave the password out of logs."""
        return f"Sasl(username={self.username!r}, mechanism={self.mechanism!r})"


class KafkaConnection(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Where Kafka is: the daemon's settings `[kafka]`."""

    bootstrap_servers: str | list[str]
    """`host:port`, several with commas or as a list."""
    client_id: str = "sagad"
    tls: Tls | None = None
    sasl: Sasl | None = None
    request_timeout_s: float = 10.0
    """How long one request may take; also how long a message may wait to be confirmed."""
    session_timeout_s: float = 10.0
    """A daemon that is silent for so long loses its partitions to others."""
    max_poll_interval_s: float = 300.0
    probe_interval_s: float = 5.0
    """After so long without a message the broker is asked whether it is there."""
    reconnect: Reconnect = field(default_factory=Reconnect)


def client_arguments(connection: KafkaConnection) -> Mapping[str, Any]:
    """Return what aiokafka's consumer and producer have in common. Raises what `ssl_context` raises."""
    arguments: dict[str, Any] = {
        "bootstrap_servers": connection.bootstrap_servers,
        "client_id": connection.client_id,
        "request_timeout_ms": round(connection.request_timeout_s * 1000),
        "security_protocol": _protocol(connection),
    }
    if connection.tls is not None:
        arguments["ssl_context"] = ssl_context(connection.tls)
    if connection.sasl is not None:
        arguments["sasl_mechanism"] = connection.sasl.mechanism
        arguments["sasl_plain_username"] = connection.sasl.username
        arguments["sasl_plain_password"] = connection.sasl.password
    return arguments


async def close_consumer(consumer: AIOKafkaConsumer) -> None:
    """Leave the group and disconnect, also from a broker that is away.

    There aiokafka's `stop` waits long, or lets the cancellation of its own fetches escape as if it were ours.
    """
    stopping = asyncio.create_task(consumer.stop())
    await asyncio.wait({stopping}, timeout=_CLOSE_S)
    if not stopping.done() or stopping.cancelled() or stopping.exception() is not None:
        stopping.cancel()
        await asyncio.gather(stopping, return_exceptions=True)
        await consumer._client.close()  # noqa: SLF001  stop() did not come so far, and does nothing when called again


async def abandon_producer(producer: AIOKafkaProducer) -> None:
    """Close a producer with all that it has not sent.

    aiokafka has no way to: an idempotent producer tries for ever, and its `stop` waits for that. What was given up must
    not be sent minutes later, after its step was recorded as failed.
    """
    await producer._sender.close()  # noqa: SLF001  see above
    unsent = producer._message_accumulator  # noqa: SLF001  see above
    batches = [batch for queue in unsent._batches.values() for batch in queue]  # noqa: SLF001  see above
    unsent._pending_batches.update(batches)  # noqa: SLF001  those tried before expect to be in there when they end
    unsent.fail_all(KafkaTimeoutError())
    for batch in batches:
        batch._drain_waiter.exception()  # noqa: SLF001  else asyncio complains that nobody has looked
    await producer.stop()
    await producer.client.close()


def _protocol(connection: KafkaConnection) -> str:
    transport = "PLAINTEXT" if connection.tls is None else "SSL"
    return transport if connection.sasl is None else f"SASL_{transport}"
