"""What was received over one channel; it ends with the channel, and late verdicts with it.

Comes from: `rabbitmq`. Goes to: `delivery`, and so to the `Sink`, daemon/runtime/intake.
"""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Any

from aio_pika.exceptions import AMQPConnectionError

from triggers.delivery import Delivery
from triggers.link import explain, set_within
from triggers.rabbitmq_client import open_channel
from triggers.rabbitmq_message import acknowledgements, to_dead_letter, to_inbound

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable
    from datetime import datetime

    from aio_pika import Message
    from aio_pika.abc import AbstractConnection, AbstractIncomingMessage

    from triggers.link import Link
    from triggers.message import Aside, DeadLetter, Inbound, RetryPolicy, Sink


class RabbitSession:
    """Consumes one queue over one channel. Messages are known by their delivery tag, which counts from 1."""

    def __init__(
        self,
        link: Link,
        *,
        trigger: str,
        queue: str,
        prefetch: int,
        sink: Sink,
        retry: RetryPolicy,
        bury: Callable[[Message], Awaitable[None]],
        aside: Aside | None = None,
        place: str = "",
        now: Callable[[], datetime],
    ) -> None:
        """`bury` publishes a dead letter; it raises what a `Publisher` does. `aside` keeps it too."""
        self._link = link
        self._trigger = trigger
        self._queue = queue
        self._prefetch = prefetch
        self._bury = bury
        self._now = now
        self._delivery = Delivery[int](
            sink=sink, retry=retry, dead_letter=self._set_aside, aside=aside, place=place, batch=prefetch
        )
        self._unacknowledged: dict[int, AbstractIncomingMessage] = {}
        self._wake = asyncio.Event()
        self._broken: Exception | None = None

    async def consume(self, connection: AbstractConnection) -> None:
        """Receive until stopped. Raises one of `rabbitmq_client.LOST` when the channel or the queue goes away.

        1. one sink call with what is new and what is due again  2. acknowledge what is settled.
        """
        connection.close_callbacks.add(self._on_close)
        channel = await open_channel(connection, publisher_confirms=False)
        channel.close_callbacks.add(self._on_close)
        (await channel.get_underlay_channel()).on_consumer_cancel_callbacks.add(self._on_cancel)
        await channel.set_qos(prefetch_count=self._prefetch)
        queue = await channel.get_queue(self._queue, ensure=True)
        consumer_tag = await queue.consume(self._on_message)
        self._link.up()
        while not self._link.stopping.is_set():
            if self._broken is not None:
                raise self._broken
            self._wake.clear()
            wait_s = self._delivery.wait_s()
            if wait_s == 0:
                await self._acknowledge(await self._delivery.turn())
                self._link.trouble = self._delivery.trouble
            else:
                await self._link.unless_stopped(set_within(self._wake, wait_s))
        await queue.cancel(consumer_tag)

    async def _on_message(self, message: AbstractIncomingMessage) -> None:
        tag = message.delivery_tag or 0
        self._unacknowledged[tag] = message
        inbound = to_inbound(message, trigger=self._trigger, queue=self._queue, received_at=self._now())
        self._delivery.add(tag, inbound)
        self._wake.set()

    def _on_close(self, _sender: Any, error: BaseException | None) -> None:
        self._break(error if isinstance(error, Exception) else AMQPConnectionError("the connection was closed"))

    def _on_cancel(self, _frame: Any) -> None:
        self._break(AMQPConnectionError(f"RabbitMQ ended the subscription: queue {self._queue} is gone or has moved"))

    def _break(self, error: Exception) -> None:
        self._broken = self._broken or error
        self._link.down(explain(error))
        self._wake.set()

    async def _acknowledge(self, settled: list[int]) -> None:
        for tag, multiple in acknowledgements(self._unacknowledged, set(settled)):
            await self._unacknowledged[tag].ack(multiple=multiple)
        for tag in settled:
            del self._unacknowledged[tag]

    async def _set_aside(self, tag: int, inbound: Inbound, verdict: DeadLetter) -> None:
        await self._bury(to_dead_letter(self._unacknowledged[tag], inbound, verdict))
