"""The way from a daemon to its store: every call may be slow, refused, carried out without an answer, or overtaken.

The store itself lives on when daemons die. A call is carried out in one moment between the two ways; a caller that is
killed on its way there has asked for nothing, one killed on its way back has had it done.
"""

from __future__ import annotations

import asyncio
import inspect
from contextlib import asynccontextmanager
from dataclasses import fields, replace
from typing import TYPE_CHECKING, Any

from eventstore.errors import StoreError, Unavailable

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Awaitable, Callable, Collection, Sequence
    from random import Random
    from uuid import UUID

    from eventstore.log import Append
    from eventstore.store import Store
    from tests.faults.simulation.loop import Process, SimulatedLoop
    from tests.faults.simulation.profile import Profile

WRAPPED = ("log", "index", "definitions", "cursors", "snapshots", "payloads", "leases", "slots")
"""The ports of a store that are a network away."""
LONGEST_S = 20.0
"""How late an answer, or an append that was given up for lost, may come."""


class Wire:
    """One network between all daemons and one store."""

    def __init__(self, loop: SimulatedLoop, dice: Random, profile: Profile, tell: Callable[[str], None]) -> None:
        self._loop = loop
        self._dice = dice
        self._profile = profile
        self._tell = tell
        self.healed = False
        """Whether faults are over for good."""
        self.away_until_s = 0.0
        self.overtake: Callable[[Sequence[Append]], None] = lambda _: None
        """Lets a rival append first."""
        self.joined: dict[UUID, Process] = {}
        """Each id that a daemon has joined under, and in which process."""
        self.members: Callable[[], Collection[UUID]] = tuple
        """Gives the ids that nobody has fenced."""
        self.problems: list[str] = []

    @property
    def client(self) -> Process:
        """The process that calls."""
        return self._loop.current

    async def call(self, what: str, operation: Callable[[], Awaitable[Any]], batch: Sequence[Append] | None) -> Any:
        """Carry the operation out, as the dice will have it; `batch` is what it appends."""
        await self._travel()
        if not self.healed:
            await self._suffer(what, operation, batch)
        result = at_once(operation())
        if batch is not None:
            self._look_at(batch)
        if not self.healed and self._dice.random() < self._profile.lost:
            self._tell(f"store lost {what}")
            await self._travel()
            raise Unavailable("simulated: no answer")
        await self._travel()
        return result

    async def _suffer(self, what: str, operation: Callable[[], Awaitable[Any]], batch: Sequence[Append] | None) -> None:
        dice, profile = self._dice, self._profile
        if self._loop.time() < self.away_until_s:
            self._tell(f"store away {what}")
            await asyncio.sleep(dice.random())
            raise Unavailable("simulated: the store is away")
        if dice.random() < profile.refused:
            self._tell(f"store refused {what}")
            raise Unavailable("simulated: refused")
        if dice.random() < profile.slow:
            self._tell(f"store slow {what}")
            await asyncio.sleep(dice.random() * LONGEST_S)
        if batch is not None and dice.random() < profile.late:
            self._tell(f"store late {what}")
            loop, carry_out = self._loop, lambda: _in_vain(operation)
            loop.spawn(loop.world, _later(dice.random() * LONGEST_S, carry_out))
            raise Unavailable("simulated: no answer yet")
        if batch is not None and dice.random() < profile.rival:
            self._tell(f"store rival {what}")
            self.overtake(batch)

    def _look_at(self, batch: Sequence[Append]) -> None:
        """Check who has just appended: a daemon signs with the id that it has joined under itself."""
        process = self._loop.current
        for append in batch:
            if append.by is None or self.joined.get(append.by) is not process:
                self.problems.append(f"{process.name} has appended to {append.execution_id} as {append.by}")
            elif append.by not in self.members():
                self.problems.append(f"{process.name} has appended to {append.execution_id} although it is fenced")

    async def _travel(self) -> None:
        kind = self._dice.random()
        if kind < 0.3:
            return
        await asyncio.sleep(0 if kind < 0.6 or self.healed else self._dice.random() * self._profile.latency_s)

    @asynccontextmanager
    async def listen(self, source: Callable[..., Any], *args: Any) -> AsyncIterator[asyncio.Event]:
        """Give the event that the store sets, or one that it never sets: a hint is no promise."""
        if self._dice.random() < self._profile.deaf:
            self._tell("store deaf")
            yield asyncio.Event()
            return
        async with source(*args) as event:
            yield event


def over(wire: Wire, store: Store) -> Store:
    """Return the store as it is seen over the wire."""
    names = [field.name for field in fields(store) if field.name in WRAPPED]
    ports: dict[str, Any] = {name: _Port(wire, name, getattr(store, name)) for name in names}
    versions = _Port(wire, "log", store).versions
    url = "postgresql://simulated"  # so that daemons put their clocks right by the store's
    return replace(store, url=url, **ports, versions=versions, hints=lambda: wire.listen(store.hints))


class _Port:
    """Any port of the store: all its coroutine functions go over the wire."""

    def __init__(self, wire: Wire, name: str, target: object) -> None:
        self._wire = wire
        self._name = name
        self._target = target

    def __getattr__(self, method: str) -> Any:
        inner, wire, what = getattr(self._target, method), self._wire, f"{self._name}.{method}"
        if not inspect.iscoroutinefunction(inner):
            return lambda *args: wire.listen(inner, *args)

        async def call(*args: Any, **named: Any) -> Any:
            batch = args[0] if method == "insert" else None
            if method == "join":
                wire.joined[args[0]] = wire.client
            return await wire.call(what, lambda: inner(*args, **named), batch)

        setattr(self, method, call)
        return call


def at_once(work: Awaitable[Any]) -> Any:
    """Return what a coroutine gives that waits for nothing."""
    coro: Any = work
    try:
        coro.send(None)
    except StopIteration as result:
        return result.value
    coro.close()
    raise AssertionError("the store in memory has waited for something")


async def _later(delay_s: float, action: Callable[[], None]) -> None:
    await asyncio.sleep(delay_s)
    action()


def _in_vain(operation: Callable[[], Awaitable[Any]]) -> None:
    try:
        at_once(operation())
    except StoreError:
        return
