"""Timers: fired when due, earliest first, whatever was armed when, without polling and without memory."""

from __future__ import annotations

import asyncio
from datetime import timedelta
from functools import partial
from typing import TYPE_CHECKING, cast
from uuid import UUID, uuid4

import pytest

from daemon.core.commands import Command, FireTimer
from daemon.core.effects import ArmTimer
from daemon.core.events import EVENT_TYPES, ExecutionStarted
from daemon.core.values import NULL
from daemon.runtime.leases import ALONE, Share
from daemon.runtime.timers import Timers
from daemon.testing.clock import FakeClock
from eventstore.codec import Codec
from eventstore.errors import Unavailable, Undecodable
from eventstore.index import IndexChange, TimerRow
from eventstore.log import Append
from eventstore.store import Store, open_store

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
    from datetime import datetime

    from eventstore.index import DueTimer, Index


class Engine:
    """Notes which timers were fired, and clears their rows as the real one does."""

    def __init__(self, store: Store) -> None:
        self.store = store
        self.fired: list[str] = []
        self.refuses: Exception | None = None
        self.holds: dict[str, asyncio.Event] = {}
        self.parked: dict[UUID, str] = {}

    async def send(self, execution_id: UUID, command: Command) -> None:
        assert isinstance(command, FireTimer)
        if self.refuses is not None:
            raise self.refuses
        self.fired.append(command.timer_id)
        if command.timer_id in self.holds:
            await self.holds[command.timer_id].wait()
        recorded = await self.store.log.read(execution_id)
        change = IndexChange(timers_cleared=(command.timer_id,))
        await self.store.log.insert([Append(execution_id, len(recorded), (started(execution_id, command),), change)])


def started(execution_id: UUID, at: FireTimer | FakeClock) -> ExecutionStarted:
    moment = at.at if isinstance(at, FireTimer) else at.now()
    return ExecutionStarted(
        execution_id=execution_id, workflow="w", definition="d", input=NULL, actor="test", at=moment
    )


class CountingIndex:
    """An index that notes which rows it has given out."""

    def __init__(self, inner: Index) -> None:
        self.inner = inner
        self.read: list[str] = []
        self.asked = 0
        self.meanwhile: Callable[[], Awaitable[None]] | None = None
        """Happens once, between the reading of a page and its answer."""

    async def due_timers(self, now: datetime, *, after: DueTimer | None = None, limit: int) -> Sequence[DueTimer]:
        self.asked += 1
        rows = await self.inner.due_timers(now, after=after, limit=limit)
        if rows and self.meanwhile is not None:
            meanwhile, self.meanwhile = self.meanwhile, None
            await meanwhile()
        self.read += [row.timer_id for row in rows]
        return rows

    async def next_due(self, *, after: datetime | None = None) -> datetime | None:
        self.asked += 1
        return await self.inner.next_due(after=after)


class Bench:
    """A store, a clock and the service under test."""

    def __init__(self, store: Store) -> None:
        self.store, self.clock = store, FakeClock()
        self.engine = Engine(store)
        self.index = CountingIndex(store.index)
        self.share = ALONE
        self.timers = Timers(cast("Index", self.index), self.engine, self.clock, share=lambda: self.share)

    async def set(self, timer_id: str, after_s: float, *, execution_id: UUID | None = None, here: bool = True) -> None:
        """Set a timer; not `here`, another daemon has set it."""
        due = self.clock.now() + timedelta(seconds=after_s)
        new = execution_id or uuid4()
        change = IndexChange(timers_set=(TimerRow(timer_id, due),))
        await self.store.log.insert([Append(new, 0, (started(new, self.clock),), change)])
        if here:
            self.timers.arm(ArmTimer(timer_id, due))


@pytest.fixture
async def bench() -> AsyncIterator[Bench]:
    bench = Bench(await open_store("memory://", Codec(EVENT_TYPES, {})))
    async with asyncio.TaskGroup() as tasks:
        running = tasks.create_task(bench.timers.run())
        yield bench
        running.cancel()


async def test_timers_fire_when_due_and_in_order(bench: Bench) -> None:
    await bench.set("later", 120)
    await bench.set("sooner", 60)
    await bench.clock.advance(59)
    assert bench.engine.fired == []
    await bench.clock.advance(1)
    assert bench.engine.fired == ["sooner"]
    await bench.clock.advance(60)
    assert bench.engine.fired == ["sooner", "later"]


async def test_a_timer_that_is_overdue_at_the_start_fires_at_once() -> None:
    bench = Bench(await open_store("memory://", Codec(EVENT_TYPES, {})))
    await bench.set("missed", 5)
    await bench.clock.advance(3600)
    async with asyncio.TaskGroup() as tasks:
        running = tasks.create_task(bench.timers.run())
        await bench.clock.advance(0)
        assert bench.engine.fired == ["missed"]
        running.cancel()


async def test_more_timers_than_a_batch_all_fire(bench: Bench) -> None:
    for number in range(1200):
        await bench.set(f"t{number}", 10)
    await bench.clock.advance(10)
    await bench.clock.advance(0)
    assert len(bench.engine.fired) == 1200


async def test_a_timer_set_by_another_process_is_found_by_the_poll(bench: Bench) -> None:
    await bench.set("foreign", 3, here=False)
    await bench.clock.advance(11)
    assert bench.engine.fired == ["foreign"]


async def test_a_slow_timer_holds_up_no_other_and_is_not_read_again(bench: Bench) -> None:
    """Thousands come due around one whose execution does not answer."""
    bench.engine.holds["slow"] = asyncio.Event()
    await bench.set("slow", 1)
    for number in range(1500):
        await bench.set(f"t{number}", 1 + number / 1000)
    await bench.clock.advance(3)
    assert len(bench.engine.fired) == 1501
    assert len(bench.index.read) == 1501
    bench.engine.holds["slow"].set()


async def test_a_timer_set_for_a_time_that_was_read_already_fires_too(bench: Bench) -> None:
    await bench.set("later", 10)
    await bench.clock.advance(10)
    await bench.set("earlier", -5)
    await bench.clock.advance(0.1)
    assert bench.engine.fired == ["later", "earlier"]


async def test_a_timer_armed_while_a_page_is_read_that_has_it_not_fires_too(bench: Bench) -> None:
    await bench.set("later", 10)
    bench.index.meanwhile = partial(bench.set, "earlier", -5)
    await bench.clock.advance(10.1)
    assert sorted(bench.engine.fired) == ["earlier", "later"]


async def test_each_of_several_fires_its_share(bench: Bench) -> None:
    bench.share = Share(1, 3)
    for number in range(30):
        await bench.set(f"t{number}", 20, execution_id=UUID(int=number), here=False)
    await bench.clock.advance(25)
    assert bench.engine.fired == [f"t{number}" for number in range(1, 30, 3)]


async def test_what_was_set_here_and_is_due_soon_is_fired_here(bench: Bench) -> None:
    """The one whose share it is does not know of it yet: it looks every ten seconds."""
    bench.share = Share(1, 2)
    await bench.set("soon", 0.1, execution_id=UUID(int=0))
    await bench.set("in an hour", 3600, execution_id=UUID(int=2))
    await bench.clock.advance(0.1)
    assert bench.engine.fired == ["soon"]
    await bench.clock.advance(3601)
    assert bench.engine.fired == ["soon"]


async def test_what_others_have_left_for_too_long_is_fired_here(bench: Bench) -> None:
    bench.share = Share(1, 2)
    await bench.set("left", 1, execution_id=UUID(int=0), here=False)
    await bench.clock.advance(10)
    assert bench.engine.fired == []
    await bench.clock.advance(11)
    assert bench.engine.fired == ["left"]


async def test_the_share_of_one_that_has_gone_is_fired_at_once(bench: Bench) -> None:
    bench.share = Share(1, 2)
    await bench.set("left", 1, execution_id=UUID(int=0), here=False)
    await bench.clock.advance(5)
    bench.share = ALONE
    bench.timers.share_changed()
    await bench.clock.advance(0)
    assert bench.engine.fired == ["left"]


async def test_nothing_is_asked_often_while_nothing_is_due(bench: Bench) -> None:
    """Not even with a timer that cannot be fired lying there."""
    bench.engine.refuses = Undecodable("damaged")
    await bench.set("damaged", 1)
    await bench.clock.advance(60)
    bench.index.asked = 0
    await bench.clock.advance(600)
    assert bench.index.asked <= 3 * 61


async def test_a_timer_whose_execution_cannot_be_read_does_not_hold_up_the_others(bench: Bench) -> None:
    bench.engine.refuses = Undecodable("damaged")
    await bench.set("damaged", 1)
    await bench.clock.advance(1)
    bench.engine.refuses = None
    await bench.set("whole", 1)
    await bench.clock.advance(30)
    assert bench.engine.fired == ["whole"]


async def test_timers_wait_for_a_store_that_is_away(bench: Bench) -> None:
    bench.engine.refuses = Unavailable("away")
    await bench.set("patient", 1)
    await bench.clock.advance(1)
    assert bench.engine.fired == []
    bench.engine.refuses = None
    await bench.clock.advance(11)
    assert bench.engine.fired == ["patient"]
