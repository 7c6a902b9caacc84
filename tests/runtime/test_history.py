"""The state at any version and time, of generated executions: what it was live, with snapshots and without."""

from __future__ import annotations

import asyncio
from datetime import timedelta
from itertools import takewhile
from typing import TYPE_CHECKING, Any, cast
from uuid import uuid4

import pytest
from msgspec.structs import replace

from daemon.core.errors import ExecutionNotFound
from daemon.core.events import EVENT_TYPES, SignalReceived
from daemon.core.evolve import evolve, fold
from daemon.core.state import INITIAL, State
from daemon.core.values import to_json
from daemon.runtime.clock import SystemClock
from daemon.runtime.history import FIRST_PAGE, History
from daemon.runtime.snapshot_taking import SnapshotTaker
from daemon.settings import Snapshots
from eventstore.codec import Codec
from eventstore.log import Append
from eventstore.store import open_store
from tests.core.generator.dice import Dice
from tests.core.generator.executions import case
from tests.core.spec import NOON

if TYPE_CHECKING:
    from collections.abc import Sequence

    from eventstore.log import EventLog
    from eventstore.store import Store

CASES = 1_000
IN_A_TEST = 50
CODEC = Codec(EVENT_TYPES, {})


class Life:
    """An execution in a store of its own, with snapshots at versions that the dice choose."""

    def __init__(self, store: Store) -> None:
        self.store = store
        self.id = uuid4()
        self.history = History(store.log, store.snapshots)
        self.taker = SnapshotTaker(
            store.snapshots, self.history, SystemClock(), Snapshots(keep=1000), spawn=asyncio.ensure_future
        )

    async def live(self, events: Sequence[Any]) -> None:
        await self.store.log.insert([Append(self.id, 0, tuple(events))])

    async def snapshot(self, versions: Sequence[int], states: Sequence[State]) -> None:
        for version in versions:
            await self.taker.take(self.id, states[version])


@pytest.mark.parametrize("first", range(0, CASES, IN_A_TEST))
def test_the_state_at_every_version_is_the_one_that_was_live(first: int) -> None:
    """Of a thousand executions: every state that was recorded, and every one between."""

    async def hold(number: int) -> None:
        history, dice = case(number).history, Dice("snapshots", number)
        if history is None:
            return
        events = history.events
        live = {turn.after.version: turn.after for turn in history.turns}
        states = _states(events)
        life = Life(await open_store("memory://", CODEC))
        await life.live(events)
        await life.snapshot([version for version in range(1, len(states)) if dice.chance(15)], states)
        for version in range(1, len(states)):
            state = await life.history.state_at(life.id, version=version)
            assert state == live.get(version, states[version])

    for number in range(first, first + IN_A_TEST):
        asyncio.run(hold(number))


@pytest.mark.parametrize("first", range(0, 100, IN_A_TEST))
def test_the_state_at_a_time_ends_before_the_first_event_that_is_later(first: int) -> None:
    """Whatever clocks the daemons had that recorded them, and whichever snapshots there are."""

    async def hold(number: int) -> None:
        history, dice = case(number).history, Dice("times", number)
        if history is None:
            return
        events = [replace(event, at=event.at + timedelta(seconds=dice.pick(range(9)))) for event in history.events]
        states = _states(events)
        life = Life(await open_store("memory://", CODEC))
        await life.live(events)
        await life.snapshot([dice.pick(range(1, len(states))) for _ in range(4)], states)
        for at in {event.at for event in events}:
            expected = fold(takewhile(lambda event: event.at <= at, events))  # noqa: B023  used at once
            if expected.version:
                assert await life.history.state_at(life.id, at=at) == expected
            else:
                with pytest.raises(ExecutionNotFound):
                    await life.history.state_at(life.id, at=at)

    for number in range(first, first + IN_A_TEST):
        asyncio.run(hold(number))


class CountingLog:
    """A log that counts the events it gives out."""

    def __init__(self, inner: Any) -> None:
        self._inner = inner
        self.given = 0

    async def read(self, *arguments: Any, **named: Any) -> Any:
        found = await self._inner.read(*arguments, **named)
        self.given += len(found)
        return found


async def test_the_state_at_a_time_reads_what_lies_after_the_snapshot_before() -> None:
    """Not the events before it, and no more than a page after the time."""
    life = Life(await open_store("memory://", CODEC))
    many = [_signal(number) for number in range(10_000)]
    await life.live(many)
    states = _states(many)
    await life.snapshot([4000], states)
    log = CountingLog(life.store.log)
    history = History(cast("EventLog", log), life.store.snapshots)
    assert await history.state_at(life.id, at=many[4099].at) == states[4100]
    assert log.given <= FIRST_PAGE


def _signal(number: int) -> SignalReceived:
    at = NOON + timedelta(seconds=number)
    return SignalReceived(signal_id=str(number), name="go", data=to_json(number), actor="test", at=at)


def _states(events: Sequence[Any]) -> list[State]:
    """Return the state after each event, by version."""
    states = [INITIAL]
    for event in events:
        states.append(evolve(states[-1], event))
    return states
