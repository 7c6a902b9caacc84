"""Timers: fired when due, earliest first, whatever was armed when, without polling and without memory."""

from __future__ import annotations

import asyncio
from datetime import timedelta
from typing import TYPE_CHECKING
from uuid import UUID, uuid4

import pytest

from daemon.core.commands import Command, FireTimer
from daemon.core.effects import ArmTimer
from daemon.core.events import EVENT_TYPES, ExecutionStarted
from daemon.core.values import NULL
from daemon.runtime.timers import Timers
from eventstore.codec import Codec
from eventstore.errors import Unavailable, Undecodable
from eventstore.index import IndexChange, TimerRow
from eventstore.log import Append
from eventstore.store import Store, open_store
from tests.support.clock import FakeClock

if TYPE_CHECKING:
    from collections.abc import AsyncIterator


class Engine:
    """Notes which timers were fired, and clears their rows as the real one does."""

    def __init__(self, store: Store) -> None:
        self.store = store
        self.fired: list[str] = []
        self.refuses: Exception | None = None

    async def send(self, execution_id: UUID, command: Command) -> None:
        assert isinstance(command, FireTimer)
        if self.refuses is not None:
            raise self.refuses
        self.fired.append(command.timer_id)
        recorded = await self.store.log.read(execution_id)
        change = IndexChange(timers_cleared=(command.timer_id,))
        await self.store.log.insert([Append(execution_id, len(recorded), (started(execution_id, command),), change)])


def started(execution_id: UUID, at: FireTimer | FakeClock) -> ExecutionStarted:
    moment = at.at if isinstance(at, FireTimer) else at.now()
    return ExecutionStarted(
        execution_id=execution_id, workflow="w", definition="d", input=NULL, actor="test", at=moment
    )


class Bench:
    """A store, a clock and the service under test."""

    def __init__(self, store: Store) -> None:
        self.store, self.clock = store, FakeClock()
        self.engine = Engine(store)
        self.timers = Timers(store.index, self.engine, self.clock)

    async def set(self, timer_id: str, after_s: float) -> None:
        due = self.clock.now() + timedelta(seconds=after_s)
        new = uuid4()
        change = IndexChange(timers_set=(TimerRow(timer_id, due),))
        await self.store.log.insert([Append(new, 0, (started(new, self.clock),), change)])
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
    due = bench.clock.now() + timedelta(seconds=3)
    other = uuid4()
    change = IndexChange(timers_set=(TimerRow("foreign", due),))
    await bench.store.log.insert([Append(other, 0, (started(other, bench.clock),), change)])
    await bench.clock.advance(11)
    assert bench.engine.fired == ["foreign"]


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
