"""Messages from RabbitMQ: whatever has arrived is handed on as one append, acknowledged after its verdicts.

`prefetch` bounds what is taken and not settled. A message that is tried again later stays unacknowledged meanwhile, and
takes one place of these; the broker closes a channel that holds one for longer than its `consumer_timeout` (30 minutes
by default), so retries should be done by then. When the connection breaks, everything not acknowledged comes again.

A message's identity is its `message_id`; without one, the trigger needs a `dedupe`.

Comes from: RabbitMQ. Goes to: `rabbitmq_session`.
"""

from __future__ import annotations

from datetime import UTC, datetime
from typing import TYPE_CHECKING, Literal

from msgspec import Struct

from triggers.link import Link
from triggers.rabbitmq_client import LOST, RabbitConnection, Topology, connect, losses_told, make_missing, tls_context
from triggers.rabbitmq_session import RabbitSession

if TYPE_CHECKING:
    from collections.abc import Callable

    from aio_pika import Message

    from triggers.message import Aside, ConnectionStatus, RetryPolicy, Sink
    from triggers.rabbitmq_publisher import RabbitPublisher


class RabbitSettings(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """What a definition says under `rabbitmq:`."""

    queue: str
    prefetch: int = 500
    """The most messages taken and not settled, and so the most in one append."""
    declare: bool = True
    """Make the queues (and the exchange) when they are missing; what exists is never changed."""
    queue_type: Literal["quorum", "classic"] = "quorum"
    exchange: str = ""
    """Bind the queue to this exchange, with each of `routing_keys`."""
    exchange_type: Literal["direct", "topic", "fanout", "headers"] = "topic"
    routing_keys: tuple[str, ...] = ("#",)
    dead_letter_exchange: str = ""
    """Where dead letters are published; empty is the default exchange, with their queue's name as routing key."""


class RabbitTrigger:
    """One queue."""

    def __init__(
        self,
        name: str,
        settings: RabbitSettings,
        connection: RabbitConnection,
        *,
        sink: Sink,
        retry: RetryPolicy,
        publisher: RabbitPublisher,
        dead_letter: str | None = None,
        aside: Aside | None = None,
        expires_s: int | None = None,
        now: Callable[[], datetime] = lambda: datetime.now(UTC),
    ) -> None:
        """`dead_letter` is a routing key, None is `<queue>.dlq`; `aside` keeps dead letters too.

        With `expires_s` a queue that we make, a classic one, is deleted when nobody has read from it for so long.
        Raises `ValueError`, `OSError` or `ssl.SSLError` for wrong TLS settings.
        """
        self.name = name
        self._settings = settings
        self._connection = connection
        self._tls = tls_context(connection)
        self._sink = sink
        self._retry = retry
        self._publisher = publisher
        self._dead_letters = dead_letter or f"{settings.queue}.dlq"
        self._aside = aside
        self._expires_s = expires_s
        self._now = now
        self._link = Link(name, connection.reconnect)

    @property
    def status(self) -> ConnectionStatus:
        """How the connection is."""
        return self._link.status

    async def run(self) -> None:
        """Receive until stopped, reconnecting."""
        await self._link.run(self._session, LOST)

    async def stop(self) -> None:
        """Take no more, settle and acknowledge what is with the sink, disconnect; the rest goes back to the queue."""
        await self._link.stop()

    async def _session(self) -> None:
        opening = connect(self._connection, self._tls, f"sagad {self.name}")
        connection = await self._link.unless_stopped(opening)
        if connection is None:
            return
        session = RabbitSession(
            self._link,
            trigger=self.name,
            queue=self._settings.queue,
            prefetch=self._settings.prefetch,
            sink=self._sink,
            retry=self._retry,
            bury=self._bury,
            aside=self._aside,
            place=f"rabbitmq:{'/'.join(filter(None, (self._settings.dead_letter_exchange, self._dead_letters)))}",
            now=self._now,
        )
        with losses_told():
            try:
                if self._settings.declare:
                    await make_missing(connection, self._topology())
                await session.consume(connection)
            finally:
                await connection.close()

    def _topology(self) -> Topology:
        settings = self._settings
        return Topology(
            queue=settings.queue,
            queue_type=settings.queue_type,
            expires_s=self._expires_s,
            exchange=settings.exchange,
            exchange_type=settings.exchange_type,
            routing_keys=settings.routing_keys,
            dead_letter_exchange=settings.dead_letter_exchange,
            dead_letters=self._dead_letters,
        )

    async def _bury(self, letter: Message) -> None:
        await self._publisher.send(self._settings.dead_letter_exchange, self._dead_letters, letter)
