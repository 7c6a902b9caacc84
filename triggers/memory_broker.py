"""The in-process broker: topics with consumer groups, for development, demonstrations and tests. Nothing is on disk.

It keeps the promises of a real one: at least once, acknowledged one by one, what a consumer took and did not
acknowledge comes back when the consumer goes. A topic keeps its messages until every group has acknowledged them; while
it has no group, it keeps the newest `RETAINED`.

Comes from: `publishing.Publisher`'s users. Goes to: `memory`, its trigger.
"""

from __future__ import annotations

import heapq
from collections import deque
from datetime import UTC, datetime
from typing import TYPE_CHECKING
from uuid import uuid4

from msgspec import Struct

from triggers.message import ConnectionStatus
from triggers.publishing import Outbound

if TYPE_CHECKING:
    import asyncio
    from collections.abc import Callable

RETAINED = 10_000


class Stored(Struct, frozen=True):
    """A message in a topic."""

    offset: int
    message: Outbound
    published_at: datetime


class _Group:
    """What one group has of a topic: everything from `next` on is new to it."""

    def __init__(self, first: int) -> None:
        self.next = first
        self.returned: list[int] = []
        self.taken: set[int] = set()
        self.waiting: set[asyncio.Event] = set()

    def low(self) -> int:
        return min([self.next, *self.taken, *self.returned[:1]])

    def wake(self) -> None:
        for event in self.waiting:
            event.set()


class _Topic:
    def __init__(self) -> None:
        self.messages: deque[Stored] = deque()
        self.end = 0
        self.groups: dict[str, _Group] = {}

    @property
    def start(self) -> int:
        return self.end - len(self.messages)

    def trim(self) -> None:
        keep_from = min((group.low() for group in self.groups.values()), default=self.end - RETAINED)
        while self.messages and self.start < keep_from:
            self.messages.popleft()


class MemoryBroker:
    """The broker itself, shared by its publishers and triggers; all in one event loop."""

    def __init__(self, *, now: Callable[[], datetime] | None = None) -> None:
        self.id = uuid4().hex[:8]
        """Tells the messages of this life of the process from those of another, whose offsets begin at 0 too."""
        self._now = now or (lambda: datetime.now(UTC))
        self._topics: dict[str, _Topic] = {}

    async def publish(self, message: Outbound) -> str:
        """Append to the topic, which is made when it is missing."""
        topic = self._topic(message.destination)
        stored = Stored(topic.end, message, self._now())
        topic.messages.append(stored)
        topic.end += 1
        topic.trim()
        for group in topic.groups.values():
            group.wake()
        return f"memory:{message.destination}@{stored.offset}"

    async def close(self) -> None:
        """Nothing to do."""

    @property
    def status(self) -> ConnectionStatus:
        """Return that it works: it is here."""
        return ConnectionStatus("memory", connected=True)

    def messages(self, topic: str) -> tuple[Stored, ...]:
        """Return what the topic still keeps, oldest first; for people and tests."""
        return tuple(self._topic(topic).messages)

    def join(self, topic: str, group: str) -> None:
        """Make a group, which gets everything that the topic keeps, and all that comes; again changes nothing."""
        joined = self._topic(topic)
        joined.groups.setdefault(group, _Group(joined.start))

    def take(self, topic: str, group: str, most: int) -> list[Stored]:
        """Return up to `most` messages for the group that nobody else of it has, returned ones first."""
        if most <= 0:
            return []
        source = self._topic(topic)
        reader = source.groups[group]
        offsets: list[int] = []
        while len(offsets) < most and reader.returned:
            offsets.append(heapq.heappop(reader.returned))
        fresh = range(reader.next, min(source.end, reader.next + most - len(offsets)))
        reader.next = fresh.stop
        offsets.extend(fresh)
        reader.taken.update(offsets)
        start = source.start
        return [source.messages[offset - start] for offset in offsets]

    def ack(self, topic: str, group: str, offset: int) -> None:
        """Settle a message for the group."""
        self._topic(topic).groups[group].taken.discard(offset)
        self._topic(topic).trim()

    def give_back(self, topic: str, group: str, offset: int) -> None:
        """Let the group have a message again."""
        reader = self._topic(topic).groups[group]
        if offset in reader.taken:
            reader.taken.discard(offset)
            heapq.heappush(reader.returned, offset)
            reader.wake()

    def watch(self, topic: str, group: str, event: asyncio.Event) -> None:
        """Set the event whenever the group has something new to take."""
        self._topic(topic).groups[group].waiting.add(event)

    def unwatch(self, topic: str, group: str, event: asyncio.Event) -> None:
        """Leave the event alone again."""
        self._topic(topic).groups[group].waiting.discard(event)

    def _topic(self, name: str) -> _Topic:
        return self._topics.setdefault(name, _Topic())
