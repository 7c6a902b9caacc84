"""Messages from the in-process broker.

Comes from: `memory_broker`. Goes to: `routing`, by way of daemon/runtime/intake.
"""

from __future__ import annotations

import asyncio
from datetime import UTC, datetime
from typing import TYPE_CHECKING

from msgspec import Struct

from triggers.content import header_text
from triggers.delivery import Delivery
from triggers.link import Link, Reconnect, set_within
from triggers.message import ConnectionStatus, DeadLetter, Inbound
from triggers.publishing import Outbound, dead_letter_headers, outgoing_headers

if TYPE_CHECKING:
    from collections.abc import Callable

    from triggers.memory_broker import MemoryBroker, Stored
    from triggers.message import Aside, RetryPolicy, Sink


class MemorySettings(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """What a definition says under `memory:`."""

    topic: str
    group: str | None = None
    """Groups each get every message, members of one share them; None is a group for this trigger alone."""
    batch: int = 500
    """The most messages in one append."""
    max_unresolved: int = 1000
    """The most messages taken and not settled."""


class MemoryTrigger:
    """Receives from a `MemoryBroker`. Its group exists from construction on, so nothing published later is missed."""

    def __init__(
        self,
        name: str,
        settings: MemorySettings,
        *,
        broker: MemoryBroker,
        sink: Sink,
        retry: RetryPolicy,
        dead_letter: str | None = None,
        aside: Aside | None = None,
        now: Callable[[], datetime] | None = None,
    ) -> None:
        """`dead_letter` is a topic; None is `<topic>.dlq`. `aside` keeps dead letters too."""
        self.name = name
        self._settings = settings
        self._broker = broker
        self._group = settings.group or name
        self._dead_letters = dead_letter or f"{settings.topic}.dlq"
        self._now = now or (lambda: datetime.now(UTC))
        self._link = Link(name, Reconnect())
        self._delivery = Delivery[int](
            sink=sink,
            retry=retry,
            dead_letter=self._bury,
            aside=aside,
            place=f"memory:{self._dead_letters}",
            batch=settings.batch,
        )
        self._raw: dict[int, Outbound] = {}
        broker.join(settings.topic, self._group)

    @property
    def status(self) -> ConnectionStatus:
        """How it is."""
        self._link.trouble = self._delivery.trouble
        return self._link.status

    async def run(self) -> None:
        """Receive until stopped; gives back what is not settled, also when cancelled."""
        await self._link.run(self._session, ())

    async def stop(self) -> None:
        """Take no more, settle what is with the sink, give the rest back."""
        await self._link.stop()

    async def _session(self) -> None:
        topic, wake = self._settings.topic, asyncio.Event()
        self._broker.watch(topic, self._group, wake)
        self._link.up()
        try:
            while not self._link.stopping.is_set():
                wake.clear()
                self._take()
                if self._delivery.wait_s() == 0:
                    for offset in await self._delivery.turn():
                        self._broker.ack(topic, self._group, offset)
                        del self._raw[offset]
                elif not wake.is_set():
                    await self._link.unless_stopped(set_within(wake, self._delivery.wait_s()))
        finally:
            self._broker.unwatch(topic, self._group, wake)
            self._delivery.drop(lambda _: True)
            for offset in self._raw:
                self._broker.give_back(topic, self._group, offset)
            self._raw.clear()

    def _take(self) -> None:
        room = min(self._settings.batch, self._settings.max_unresolved - len(self._delivery))
        for stored in self._broker.take(self._settings.topic, self._group, room):
            self._raw[stored.offset] = stored.message
            self._delivery.add(stored.offset, self._inbound(stored))

    def _inbound(self, stored: Stored) -> Inbound:
        message, topic = stored.message, self._settings.topic
        named = outgoing_headers(message)
        headers = {name.lower(): _text(value) for name, value in named.items()}
        return Inbound(
            trigger=self.name,
            source=f"memory:{topic}@{stored.offset}",
            identity=message.message_id or f"{self._broker.id}/{topic}/{stored.offset}",
            body=message.body,
            key=_text(message.key) if message.key is not None else None,
            headers=headers,
            content_type=headers.get("content-type"),
            received_at=self._now(),
        )

    async def _bury(self, offset: int, inbound: Inbound, verdict: DeadLetter) -> None:
        raw = self._raw[offset]
        headers = {**raw.headers, **dead_letter_headers(inbound, verdict)}
        await self._broker.publish(
            Outbound(
                destination=self._dead_letters,
                body=raw.body,
                key=raw.key,
                headers=headers,
                content_type=raw.content_type,
                message_id=raw.message_id,
            )
        )


def _text(value: str | bytes) -> str:
    return value if isinstance(value, str) else header_text(value)
