"""Work that nobody does is taken up: at the start, when others die or leave, when they hint; never in a hot loop."""

from __future__ import annotations

import asyncio
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Any
from uuid import UUID, uuid4

import pytest

from daemon.core.errors import Rejected
from daemon.core.events import EVENT_TYPES, ExecutionCancelled, ExecutionStarted
from daemon.core.evolve import fold
from daemon.core.state import INITIAL, State
from daemon.core.values import NULL
from daemon.runtime.leases import Membership
from daemon.runtime.recovery import Recovery
from daemon.testing.clock import FakeClock, settle
from eventstore.codec import Codec
from eventstore.errors import Unavailable
from eventstore.index import IndexChange
from eventstore.log import Append
from eventstore.store import Store, open_store

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable, Sequence

    from eventstore.leases import Leases

TTL = timedelta(seconds=9)


class Engine:
    """Notes what it is to resume; an execution stays in memory until `finish`."""

    def __init__(self, max_active: int) -> None:
        self.max_active = max_active
        self.resumed: list[UUID] = []
        self.memory: set[UUID] = set()
        self.most = 0
        self.old_waits = False
        self.refuses: dict[UUID, Exception] = {}
        self.states: dict[UUID, State] = {}
        self._room = asyncio.Event()
        self._room.set()

    @property
    def active(self) -> int:
        return len(self.memory)

    async def room_for_old(self) -> None:
        await self._room.wait()

    def old_first(self, *, waits: bool) -> None:
        self.old_waits = waits

    def holds(self, execution_id: UUID) -> bool:
        return execution_id in self.memory

    async def resume(self, execution_id: UUID) -> State:
        self.resumed.append(execution_id)
        if execution_id in self.refuses:
            raise self.refuses[execution_id]
        self.memory.add(execution_id)
        self._update()
        return self.states.get(execution_id, INITIAL)

    def finish(self, execution_id: UUID) -> None:
        self.memory.discard(execution_id)
        self._update()

    def _update(self) -> None:
        self.most = max(self.most, self.active)
        self._room.set() if self.active < self.max_active else self._room.clear()

    def act_as(self, daemon: UUID | None) -> None:
        pass

    def forget_all(self) -> None:
        self.memory.clear()

    def abandon(self) -> None:
        pass


class Daemon:
    """What takes up work, on a store of the test's choice."""

    def __init__(self, bench: Bench, max_active: int) -> None:
        self.engine = Engine(max_active)
        self.membership = Membership(bench.leases, bench.clock, name="d", ttl=TTL)
        self.membership.engine, self.membership.steps = self.engine, self.engine
        self.recovery = Recovery(
            bench.leases, self.engine, self.membership, bench.clock, ttl=TTL, max_active=max_active
        )
        self.tasks: list[asyncio.Task[None]] = []

    async def start(self) -> int:
        await self.membership.join()
        count = await self.recovery.start()
        self.tasks = [asyncio.create_task(self.membership.run()), asyncio.create_task(self.recovery.run())]
        await settle()
        return count

    async def kill(self) -> None:
        for task in self.tasks:
            task.cancel()
        await asyncio.gather(*self.tasks, return_exceptions=True)


class Counting:
    """Leases that count what they are asked."""

    def __init__(self, inner: Leases) -> None:
        self.inner = inner
        self.asked: list[str] = []
        self.fails: dict[str, Exception] = {}
        self.after: dict[str, Callable[[], None]] = {}
        self.away: set[str] = set()

    def __getattr__(self, name: str) -> Any:
        method = getattr(self.inner, name)
        if name == "news":
            return method

        async def counted(*args: Any, **options: Any) -> Any:
            self.asked.append(name)
            if name in self.away:
                raise Unavailable("away")
            answer = await method(*args, **options)
            if name in self.after:
                self.after.pop(name)()
            if name in self.fails:
                raise self.fails.pop(name)
            return answer

        return counted


class Bench:
    def __init__(self, store: Store, clock: FakeClock) -> None:
        self.store, self.clock = store, clock
        self.leases = Counting(store.leases)
        self.daemons: list[Daemon] = []

    async def daemon(self, max_active: int = 100) -> Daemon:
        self.daemons.append(Daemon(self, max_active))
        return self.daemons[-1]

    async def started(self, max_active: int = 100) -> Daemon:
        daemon = await self.daemon(max_active)
        await daemon.start()
        return daemon

    async def busy(self, count: int = 1, by: UUID | None = None) -> Sequence[UUID]:
        """Put so many executions with a handler owed into the store."""
        ids = [uuid4() for _ in range(count)]
        await self.store.log.insert([self._append(each, 0, IndexChange(busy=True), by) for each in ids])
        return ids

    async def change(self, execution_id: UUID, change: IndexChange) -> None:
        version = len(await self.store.log.read(execution_id))
        await self.store.log.insert([self._append(execution_id, version, change, None)])

    def _append(self, execution_id: UUID, version: int, change: IndexChange, by: UUID | None) -> Append:
        return Append(execution_id, version, (started(execution_id),), change, by)


def started(execution_id: UUID) -> ExecutionStarted:
    return ExecutionStarted(
        execution_id=execution_id,
        workflow="w",
        definition="d",
        input=NULL,
        actor="test",
        at=datetime(2026, 1, 1, tzinfo=UTC),
    )


@pytest.fixture
async def bench() -> AsyncIterator[Bench]:
    clock = FakeClock()
    bench = Bench(await open_store("memory://", Codec(EVENT_TYPES, {}), memory_now=clock.now), clock)
    yield bench
    for daemon in bench.daemons:
        await daemon.kill()


async def test_at_the_start_everything_that_nobody_has_is_taken_up(bench: Bench) -> None:
    left = await bench.busy(1200)
    daemon = await bench.daemon(max_active=5000)
    assert await daemon.start() == 1200
    assert sorted(daemon.engine.resumed) == sorted(left)


async def test_no_more_is_taken_up_than_there_is_room_for(bench: Bench) -> None:
    """The rest waits at the store, where others may take it; it follows as soon as there is room again."""
    left = await bench.busy(1000)
    daemon = await bench.daemon(max_active=30)
    assert await daemon.start() == 30
    while daemon.engine.memory:
        for execution_id in list(daemon.engine.memory)[:7]:
            daemon.engine.finish(execution_id)
        await settle()
    assert sorted(daemon.engine.resumed) == sorted(left)
    assert daemon.engine.most <= 30


async def test_new_executions_wait_while_there_may_be_old_ones(bench: Bench) -> None:
    """Otherwise a steady stream of messages would fill the room each time, and the old ones would starve."""
    await bench.busy(30)
    daemon = await bench.started(max_active=20)
    assert daemon.engine.old_waits
    for execution_id in list(daemon.engine.memory):
        daemon.engine.finish(execution_id)
    await settle()
    assert len(daemon.engine.resumed) == 30
    assert not daemon.engine.old_waits


async def test_two_daemons_share_what_is_left(bench: Bench) -> None:
    left = await bench.busy(100)
    one, two = await bench.started(max_active=60), await bench.started(max_active=60)
    assert sorted([*one.engine.resumed, *two.engine.resumed]) == sorted(left)
    assert (len(one.engine.resumed), len(two.engine.resumed)) == (60, 40)


async def test_the_work_of_a_silent_daemon_is_taken_within_its_ttl_and_a_second(bench: Bench) -> None:
    one, two = await bench.started(), await bench.started()
    left = await bench.busy(3, by=one.membership.id)
    await one.kill()
    await bench.clock.advance(TTL.total_seconds() - 1)
    assert two.engine.resumed == []
    await bench.clock.advance(2)
    assert sorted(two.engine.resumed) == sorted(left)


async def test_the_work_of_one_that_leaves_is_taken_at_once(bench: Bench) -> None:
    one, two = await bench.started(), await bench.started()
    left = await bench.busy(3, by=one.membership.id)
    await one.membership.leave()
    await bench.clock.advance(0)
    assert sorted(two.engine.resumed) == sorted(left)


async def test_a_hint_makes_the_holder_look(bench: Bench) -> None:
    one, two = await bench.started(), await bench.started()
    (execution_id,) = await bench.busy(by=one.membership.id)
    await bench.change(execution_id, IndexChange(hint=True))
    await bench.clock.advance(0)
    assert (one.engine.resumed, two.engine.resumed) == ([execution_id], [])


async def test_a_lost_answer_about_hints_is_made_up_for(bench: Bench) -> None:
    """Reading has cleared the hint, and the answer did not come: all that it holds is looked at."""
    one = await bench.started()
    (execution_id,) = await bench.busy(by=one.membership.id)
    bench.leases.fails["hinted"] = Unavailable("lost")
    await bench.change(execution_id, IndexChange(hint=True))
    await bench.clock.advance(2)
    assert one.engine.resumed == [execution_id]


async def test_a_claim_whose_answer_is_lost_leaves_nothing_behind(bench: Bench) -> None:
    """The leases are this daemon's, so no later claim gives them: they are found among what it holds."""
    left = await bench.busy(2)
    daemon = await bench.daemon()
    bench.leases.fails["claim"] = Unavailable("lost")
    starting = asyncio.create_task(daemon.start())
    await bench.clock.advance(2)
    assert await starting == 2
    assert sorted(daemon.engine.resumed) == sorted(left)


async def test_what_it_knows_already_is_not_looked_at_again_after_a_lost_claim(bench: Bench) -> None:
    known = await bench.busy(2)
    daemon = await bench.started()
    (new,) = await bench.busy()
    bench.leases.fails["claim"] = Unavailable("lost")
    await bench.clock.advance(2 * TTL.total_seconds())
    assert sorted(daemon.engine.resumed) == sorted([*known, new])


async def test_a_fenced_daemon_waits_for_its_membership_and_asks_nothing_meanwhile(bench: Bench) -> None:
    daemon = await bench.started(max_active=1)
    await bench.busy(3)
    await bench.clock.advance(TTL.total_seconds())
    (first,) = daemon.engine.memory
    assert daemon.membership.id is not None
    daemon.tasks.pop(0).cancel()  # its membership hangs: it learns from its claim that it was fenced
    await bench.leases.leave(daemon.membership.id)
    daemon.engine.finish(first)
    await settle()
    bench.leases.asked.clear()
    await settle()
    assert bench.leases.asked == []


async def test_a_lease_taken_before_a_fence_is_no_reason_to_resume(bench: Bench) -> None:
    """The execution may be another daemon's by now."""
    (execution_id,) = await bench.busy()
    daemon = await bench.daemon()
    await daemon.membership.join()
    bench.leases.after["take"] = lambda: setattr(daemon.membership, "id", uuid4())
    with pytest.raises(Unavailable, match="taken for dead"):
        await daemon.recovery.resume(execution_id)
    assert daemon.engine.resumed == []


async def test_a_lease_taken_for_a_caller_who_got_no_answer_is_gone_on_with(bench: Bench) -> None:
    """It is this daemon's, so no claim would give it, and the caller may not come again."""
    daemon = await bench.started(max_active=1)
    (working,) = await bench.busy()
    await settle()
    (waiting,) = await bench.busy()
    bench.leases.fails["take"] = Unavailable("lost")
    with pytest.raises(Unavailable):
        await daemon.recovery.resume(waiting)
    await bench.clock.advance(0)
    assert daemon.engine.resumed == [working, waiting]


async def test_a_store_that_refuses_is_not_asked_again_at_once(bench: Bench) -> None:
    """Even where there is room for more, and surely more to take up."""
    daemon = await bench.daemon(max_active=2)
    await bench.busy(10)
    await daemon.start()
    bench.leases.away.add("claim")
    bench.leases.asked.clear()
    daemon.engine.finish(daemon.engine.resumed[0])
    await settle()
    assert bench.leases.asked.count("claim") == 1


async def test_a_claim_under_way_at_the_stop_starts_no_other(bench: Bench) -> None:
    daemon = await bench.daemon(max_active=2)
    await bench.busy(10)
    await daemon.start()
    bench.leases.after["claim"] = daemon.recovery.claim_no_more
    bench.leases.asked.clear()
    for execution_id in list(daemon.engine.memory):
        daemon.engine.finish(execution_id)
    await settle()
    assert bench.leases.asked.count("claim") == 1
    assert not daemon.engine.old_waits


async def test_the_lease_of_one_that_another_has_ended_is_dropped_once_it_was_looked_at(bench: Bench) -> None:
    one = await bench.started()
    (execution_id,) = await bench.busy(by=one.membership.id)
    one.engine.states[execution_id] = fold([started(execution_id), ExecutionCancelled(reason="", at=bench.clock.now())])
    await bench.change(execution_id, IndexChange(hint=True))
    await bench.clock.advance(0)
    assert await bench.store.index.busy(after=None, limit=10) == []


async def test_one_that_cannot_be_resumed_is_tried_once_and_holds_up_nobody(bench: Bench) -> None:
    bad, good = await bench.busy(2)
    daemon = await bench.daemon()
    daemon.engine.refuses[bad] = Rejected("the definition is missing")
    assert await daemon.start() == 1
    await bench.clock.advance(10 * TTL.total_seconds())
    assert sorted(daemon.engine.resumed) == sorted([bad, good])


async def test_one_that_the_store_does_not_answer_for_is_tried_again(bench: Bench) -> None:
    (execution_id,) = await bench.busy()
    daemon = await bench.daemon()
    daemon.engine.refuses[execution_id] = Unavailable("away")
    starting = asyncio.create_task(daemon.start())
    await bench.clock.advance(3)
    daemon.engine.refuses.clear()
    await bench.clock.advance(1)
    assert await starting == 1


async def test_a_fenced_daemon_begins_anew_and_takes_back_what_is_free(bench: Bench) -> None:
    daemon = await bench.started()
    left = await bench.busy(2, by=daemon.membership.id)
    assert daemon.membership.id is not None
    await bench.leases.leave(daemon.membership.id)
    await bench.clock.advance(TTL.total_seconds())
    assert sorted(daemon.engine.resumed) == sorted(left)


async def test_asked_to_resume_it_takes_a_free_lease_and_hints_the_holder_of_another(bench: Bench) -> None:
    one, two = await bench.started(), await bench.started()
    (held,) = await bench.busy(by=one.membership.id)
    assert await two.recovery.resume(held) is None
    await bench.clock.advance(0)
    assert (one.engine.resumed, two.engine.resumed) == ([held], [])
    await one.kill()
    await one.membership.leave()
    assert await two.recovery.resume(held) is INITIAL


async def test_a_daemon_that_stops_claims_nothing(bench: Bench) -> None:
    daemon = await bench.started()
    daemon.recovery.claim_no_more()
    await bench.busy(3)
    await bench.clock.advance(10 * TTL.total_seconds())
    assert daemon.engine.resumed == []


async def test_a_daemon_alone_and_idle_asks_the_store_less_than_once_a_second(bench: Bench) -> None:
    await bench.started()
    bench.leases.asked.clear()
    await bench.clock.advance(100 * TTL.total_seconds())
    assert len(bench.leases.asked) / (100 * TTL.total_seconds()) < 0.7


async def test_two_idle_daemons_ask_less_than_twice_a_second_each(bench: Bench) -> None:
    await bench.started()
    await bench.started()
    await bench.clock.advance(TTL.total_seconds())
    bench.leases.asked.clear()
    await bench.clock.advance(100 * TTL.total_seconds())
    assert len(bench.leases.asked) / (100 * TTL.total_seconds()) < 2 * 1.8
