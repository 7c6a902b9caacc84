"""The connection to RabbitMQ: settings, opening it, and making what is missing.

Comes from: `rabbitmq`, `rabbitmq_publisher`.
"""

from __future__ import annotations

from contextlib import contextmanager
from typing import TYPE_CHECKING, Literal

import aio_pika
from aio_pika.exceptions import (
    AMQPConnectionError,
    AMQPError,
    ChannelClosed,
    ChannelInvalidStateError,
    ChannelNotFoundEntity,
)
from msgspec import Struct, field
from pamqp.exceptions import PAMQPException

from triggers.link import Reconnect
from triggers.rabbitmq_values import read_leniently
from triggers.tls import Tls, ssl_context

if TYPE_CHECKING:
    import ssl
    from collections.abc import Iterator

    from aio_pika.abc import AbstractChannel, AbstractConnection
    from pamqp.common import FieldValue

LOST = (AMQPError, ChannelInvalidStateError, PAMQPException, OSError, TimeoutError)
"""What a broken connection or a broker's refusal raises."""


class RabbitConnection(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Where RabbitMQ is: the daemon's settings `[rabbitmq]`."""

    url: str
    """`amqp://user:password@host:5672/vhost`; with `amqps` it speaks TLS."""
    tls: Tls | None = None
    """For `amqps`; None trusts the system's authorities."""
    heartbeat_s: int = 30
    """A connection on which nothing is heard for about twice this long is dead."""
    connect_timeout_s: float = 10.0
    confirm_timeout_s: float = 10.0
    """How long the broker may take to confirm a message."""
    reconnect: Reconnect = field(default_factory=Reconnect)

    def __repr__(self) -> str:
        """Leave the password out of logs."""
        return f"RabbitConnection(url={self.url.rpartition('@')[2]!r})"


class Topology(Struct, frozen=True, kw_only=True):
    """What a trigger needs to exist in the broker."""

    queue: str
    queue_type: Literal["quorum", "classic"]
    expires_s: int | None
    """Seconds without a consumer after which the queue is deleted; None for never."""
    exchange: str
    """Empty: the queue is not bound by us."""
    exchange_type: Literal["direct", "topic", "fanout", "headers"]
    routing_keys: tuple[str, ...]
    dead_letter_exchange: str
    """Empty for the default exchange: only then is the queue for dead letters ours to make."""
    dead_letters: str
    """Their routing key, which in the default exchange is the name of their queue."""


def tls_context(connection: RabbitConnection) -> ssl.SSLContext | None:
    """Return the context for `amqps`. Raises what `ssl_context` raises, and `ValueError` for TLS without `amqps`."""
    if connection.tls is not None and not connection.url.startswith("amqps:"):
        raise ValueError("rabbitmq.tls is set, but the url does not begin with amqps:")
    return ssl_context(connection.tls or Tls()) if connection.url.startswith("amqps:") else None


@contextmanager
def losses_told() -> Iterator[None]:
    """Raise one of `LOST` where aiormq raises a bare Exception: what was under way when the connection broke."""
    try:
        yield
    except Exception as error:
        if type(error) is Exception:
            raise AMQPConnectionError("the connection was lost") from error
        raise


async def connect(connection: RabbitConnection, tls: ssl.SSLContext | None, name: str) -> AbstractConnection:
    """Open a connection, shown under this name in RabbitMQ's management. Raises one of `LOST`."""
    read_leniently()
    return await aio_pika.connect(
        connection.url,
        ssl_context=tls,
        timeout=connection.connect_timeout_s,
        client_properties={"connection_name": name},
        heartbeat=connection.heartbeat_s,
    )


async def open_channel(connection: AbstractConnection, **how: bool) -> AbstractChannel:
    """Open a channel; `how` is what `Connection.channel` takes. Raises one of `LOST`.

    On a connection that has been lost a moment ago, aiormq and aio-pika raise a bare RuntimeError.
    """
    try:
        return await connection.channel(**how)
    except RuntimeError as error:
        raise AMQPConnectionError(f"the connection was lost: {error}") from error


async def make_missing(connection: AbstractConnection, topology: Topology) -> None:
    """Declare durable what does not exist; what exists stays as it is, whatever its settings are."""
    if not topology.dead_letter_exchange:
        await _queue(connection, topology.dead_letters, {"x-queue-type": topology.queue_type})
    # Without these, RabbitMQ 4 drops what has come back to a quorum queue 20 times, with the connections of a daemon
    # that is killed again and again.
    instead_of_dropping = {
        "x-dead-letter-exchange": topology.dead_letter_exchange,
        "x-dead-letter-routing-key": topology.dead_letters,
    }
    arguments: dict[str, FieldValue] = {"x-queue-type": topology.queue_type, **instead_of_dropping}
    if topology.expires_s is not None:
        arguments["x-expires"] = topology.expires_s * 1000
    await _queue(connection, topology.queue, arguments)
    if topology.exchange:
        await _exchange(connection, topology.exchange, topology.exchange_type)
        channel = await open_channel(connection)
        queue = await channel.get_queue(topology.queue, ensure=False)
        for routing_key in topology.routing_keys:
            await queue.bind(topology.exchange, routing_key)
        await channel.close()


async def exchange_exists(connection: AbstractConnection, exchange: str) -> bool:
    """Ask on a channel of its own, which the broker closes when the answer is no."""
    channel = await open_channel(connection)
    try:
        await channel.get_exchange(exchange, ensure=True)
    except ChannelClosed:
        return False
    await channel.close()
    return True


async def _exchange(connection: AbstractConnection, exchange: str, kind: str) -> None:
    if not await exchange_exists(connection, exchange):
        channel = await open_channel(connection)
        await channel.declare_exchange(exchange, type=kind, durable=True)
        await channel.close()


async def _queue(connection: AbstractConnection, queue: str, arguments: dict[str, FieldValue]) -> None:
    channel = await open_channel(connection)
    try:
        await channel.get_queue(queue, ensure=True)
    except ChannelNotFoundEntity:
        channel = await open_channel(connection)
        await channel.declare_queue(queue, durable=True, arguments=arguments)
    await channel.close()
