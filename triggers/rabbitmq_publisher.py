"""Messages to RabbitMQ: persistent, mandatory (no queue for it is an error) and confirmed.

It has a connection of its own, apart from the consumers': the broker slows down publishers by not reading from them.

Comes from: the `publish` node, `rabbitmq` (dead letters), the command line.
"""

from __future__ import annotations

import asyncio
from contextlib import suppress
from typing import TYPE_CHECKING
from weakref import WeakValueDictionary

from aio_pika import DeliveryMode, Message
from aio_pika.exceptions import PublishError

from triggers.errors import BrokerUnavailable, Unroutable
from triggers.link import explain
from triggers.message import ConnectionStatus
from triggers.publishing import Outbound, outgoing_headers
from triggers.rabbitmq_client import (
    LOST,
    RabbitConnection,
    connect,
    exchange_exists,
    losses_told,
    open_channel,
    tls_context,
)

if TYPE_CHECKING:
    from aio_pika.abc import AbstractChannel, AbstractConnection


class RabbitPublisher:
    """A shared channel with confirms, opened when first used and again after it broke."""

    def __init__(self, connection: RabbitConnection) -> None:
        """Raise `ValueError`, `OSError` or `ssl.SSLError` when the TLS settings are wrong."""
        self._settings = connection
        self._tls = tls_context(connection)
        self._connection: AbstractConnection | None = None
        self._channel: AbstractChannel | None = None
        self._exchanges: set[str] = set()
        self._connecting = asyncio.Lock()
        self._in_turn: WeakValueDictionary[str, asyncio.Lock] = WeakValueDictionary()
        self._trouble = ""

    @property
    def status(self) -> ConnectionStatus:
        """How it is, as of the last message."""
        return ConnectionStatus("rabbitmq publisher", not self._trouble, self._trouble)

    async def publish(self, message: Outbound) -> str:
        """Send and wait for the confirm; see `Publisher`."""
        headers = outgoing_headers(message)
        headers.pop("content-type", None)
        if message.key is not None:
            headers.setdefault("key", message.key)
        amqp = Message(
            message.body,
            headers={name: bytearray(v) if isinstance(v, bytes) else v for name, v in headers.items()},
            content_type=message.content_type,
            message_id=message.message_id,
            delivery_mode=DeliveryMode.PERSISTENT,
        )
        return await self.send(message.exchange, message.destination, amqp)

    async def send(self, exchange: str, routing_key: str, message: Message) -> str:
        """Send this message with all its properties; see `Publisher.publish`."""
        # aiormq tells returned messages apart by their id: two with one id must not be under way at once.
        async with self._in_turn.setdefault(message.message_id or str(id(message)), asyncio.Lock()):
            return await self._send(exchange, routing_key, message)

    async def close(self) -> None:
        """Disconnect; confirms still to come are lost to those who wait for them."""
        connection, self._connection, self._channel = self._connection, None, None
        if connection is not None:
            with suppress(*LOST), losses_told():
                await connection.close()

    async def _send(self, exchange: str, routing_key: str, message: Message) -> str:
        place = f"rabbitmq:{exchange}/{routing_key}" if exchange else f"rabbitmq:{routing_key}"
        try:
            async with asyncio.timeout(self._settings.confirm_timeout_s):
                with losses_told():
                    await self._hand_over(exchange, routing_key, message)
        except PublishError:
            raise Unroutable(f"RabbitMQ has no queue for {place.removeprefix('rabbitmq:')}") from None
        except LOST as error:
            await self._forget()
            self._trouble = f"RabbitMQ did not confirm a message to {place}: {explain(error)}"
            raise BrokerUnavailable(self._trouble) from error
        self._trouble = ""
        return place

    async def _hand_over(self, exchange: str, routing_key: str, message: Message) -> None:
        channel = await self._ready(exchange)
        target = await channel.get_exchange(exchange, ensure=False) if exchange else channel.default_exchange
        await target.publish(message, routing_key, mandatory=True)

    async def _ready(self, exchange: str) -> AbstractChannel:
        """Return an open channel. An unknown exchange would close it, and fail what others send: ask before."""
        async with self._connecting:
            if self._connection is None or self._connection.is_closed:
                self._channel = None
                self._connection = await connect(self._settings, self._tls, "sagad publisher")
            if exchange and exchange not in self._exchanges:
                if not await exchange_exists(self._connection, exchange):
                    raise Unroutable(f"RabbitMQ has no exchange {exchange}, or it is not open to us")
                self._exchanges.add(exchange)
            if self._channel is None or self._channel.is_closed:
                self._channel = await open_channel(self._connection, publisher_confirms=True, on_return_raises=True)
            return self._channel

    async def _forget(self) -> None:
        """Begin anew with the next message, and ask for exchanges again."""
        connection, self._connection, self._channel = self._connection, None, None
        self._exchanges.clear()
        if connection is not None:
            try:
                async with asyncio.timeout(1.0):
                    with losses_told():
                        await connection.close()
            except LOST:
                return
