"""What outlives a crash, and the crash itself: a store, a broker, a witness that stay, and lives that end at a point.

A *point* is a place where a process may die: before and after each append, each handler call, each acknowledgement. A
life counts the points that it passes and dies at the one that it was told to. From then on nothing reaches the store,
the broker or the witness: each of them refuses a dead caller, so what is left of the process may stop as it likes.
"""

from __future__ import annotations

import asyncio
import threading
from collections import Counter
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Literal

from daemon.testing.ports import Crash, Mortal, mortal
from eventstore.errors import Unavailable
from triggers.memory_broker import MemoryBroker

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Sequence

    from daemon.testing.clock import FakeClock
    from eventstore.store import Store
    from triggers.memory_broker import Stored
    from triggers.publishing import Outbound

Kind = Literal["crash", "lost", "cut"]
"""What happens at a point: the process dies; or, at an append, the store's answer does not come: because the log says
so, or because the network is cut between the server's commit and its answer."""


@dataclass(frozen=True)
class Fault:
    """At which point, counted from 1 in each life, and what."""

    at: int
    kind: Kind = "crash"


class Life:
    """One process, from its start to its end or its fault. Points may be passed in any thread."""

    def __init__(self, fault: Fault | None) -> None:
        self.fault = fault
        self.passed: list[str] = []
        self.dead = False
        self.died = asyncio.Event()
        self.busy = 0
        """Calls of the store that are under way, or will be repeated."""
        self.calls = 0
        self.owed_repeats = 0
        self.cut: Callable[[], None] | None = None
        """Has the network swallow the answer to the next append, for faults of that kind."""
        self._loop = asyncio.get_running_loop()
        self._lock = threading.Lock()

    def point(self, name: str, *, may_lose: bool = False) -> bool:
        """Pass a point; die there if told to. True when the store's answer is to be lost here."""
        with self._lock:
            self.check()
            self.passed.append(name)
            if self.fault is None or len(self.passed) != self.fault.at:
                return False
            if self.fault.kind != "crash":
                return may_lose
            self.dead = True
        self._loop.call_soon_threadsafe(self.died.set)
        raise Crash(name)

    def check(self) -> None:
        """Refuse a dead caller."""
        if self.dead:
            raise Crash("dead")

    async def through(self, call: Callable[[], Awaitable[Any]]) -> Any:
        """Count a call of the store while it is under way."""
        self.busy += 1
        self.calls += 1
        try:
            return await call()
        finally:
            self.busy -= 1


class MortalLog(Mortal):
    """The log: a point before and after each append."""

    def __init__(self, inner: object, life: Life) -> None:
        super().__init__(inner, life)
        self._life = life

    async def insert(self, batch: Sequence[Any]) -> None:
        life = self._life
        life.busy -= life.owed_repeats
        life.owed_repeats = 0
        what = "+".join(str(len(append.events)) for append in batch)
        lost = life.point(f"append {what}: before", may_lose=True)
        if lost and life.cut is not None:
            life.cut()
        else:
            self._lose(lost)
        try:
            await self._call(self._inner.insert, (batch,), {})  # type: ignore[attr-defined]  # it is a log
        except Unavailable:
            life.owed_repeats += 1
            life.busy += 1
            raise
        self._lose(life.point(f"append {what}: after", may_lose=True))

    def _lose(self, lost: bool) -> None:  # noqa: FBT001  what `point` said
        if lost:
            self._life.owed_repeats += 1
            self._life.busy += 1  # the writer comes again after a pause of real time
            raise Unavailable("planned: no answer")


class SurvivingBroker(MemoryBroker):
    """The in-process broker as a server apart: it keeps its messages over a crash, and has points around each ack."""

    def __init__(self, clock: FakeClock) -> None:
        super().__init__(now=clock.now)
        self.id = "broker"
        self.life: Life | None = None
        self.sent: Counter[tuple[str, str | None]] = Counter()
        """Topic and message id -> how often a `publish` node has sent it."""

    def revive(self, life: Life) -> None:
        """Let a new process in; what the dead one had taken is to be delivered again."""
        self.life = life
        for topic in self._topics.values():
            for group in topic.groups.values():
                group.returned = sorted({*group.returned, *group.taken})
                group.taken.clear()

    @property
    def settled(self) -> bool:
        """Whether every message has been acknowledged by all who receive it."""
        groups = [(topic, group) for topic in self._topics.values() for group in topic.groups.values()]
        return all(not group.taken and not group.returned and group.next == topic.end for topic, group in groups)

    def take(self, topic: str, group: str, most: int) -> list[Stored]:
        self._life.check()
        return super().take(topic, group, most)

    def ack(self, topic: str, group: str, offset: int) -> None:
        self._life.point(f"ack {topic}@{offset}: before")
        super().ack(topic, group, offset)
        self._life.point(f"ack {topic}@{offset}: after")

    def give_back(self, topic: str, group: str, offset: int) -> None:
        if self._life.dead:
            return
        super().give_back(topic, group, offset)

    async def publish(self, message: Outbound) -> str:
        self._life.point(f"publish {message.destination}: before")
        self.sent[message.destination, message.message_id] += 1
        place = await super().publish(message)
        self._life.point(f"publish {message.destination}: after")
        return place

    async def deliver(self, message: Outbound) -> None:
        """Be some other program that publishes."""
        await super().publish(message)

    @property
    def _life(self) -> Life:
        assert self.life is not None
        return self.life


@dataclass
class Witness:
    """The world outside: what it was asked to do, and what it has done, once for each idempotency key."""

    asked: Counter[str] = field(default_factory=Counter)
    """`key#attempt` -> how often it was asked."""
    done: dict[str, object] = field(default_factory=dict)
    """Idempotency key -> what came of it, the first time."""


class World:
    """Everything that stays when a process dies. `life` is the one that is lived now."""

    def __init__(self, store: Store, clock: FakeClock, url: str) -> None:
        """`store` is for looking at what is there: each process opens its own, but for one in memory."""
        self.store = store
        self.url = url
        self.cut: Callable[[], None] | None = None
        self.in_memory = url.startswith("memory:")
        self.clock = clock
        self.broker = SurvivingBroker(clock)
        self.witness = Witness()
        self.life: Life | None = None
        self.lock = threading.Lock()
        self.sleeping = 0
        """Handlers that wait for nothing but the clock."""
        self.began = clock.now()
        self.next_message = 0
        """Of the story's messages, the first that has not been published."""

    def begin_life(self, store: Store, fault: Fault | None) -> Store:
        """Start a process; return its store as it sees it."""
        self.life = Life(fault)
        self.life.cut = self.cut if fault is not None and fault.kind == "cut" else None
        self.sleeping = 0
        self.broker.revive(self.life)
        return mortal(store, self.life, MortalLog(store.log, self.life))

    def effect(self, name: str, key: str, attempt: int, value: object) -> object:
        """Be asked for something by a handler: points before it, when it is done in part, and after it."""
        life = self.life
        assert life is not None
        life.point(f"{name}: before")
        with self.lock:
            self.witness.asked[f"{key}#{attempt}"] += 1
        life.point(f"{name}: during")
        with self.lock:
            done = self.witness.done.setdefault(key, value)
        life.point(f"{name}: after")
        return done


current: list[World] = []
"""The world that handlers act on; one at a time."""
