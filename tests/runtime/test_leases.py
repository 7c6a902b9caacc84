"""A daemon among others: signs of life, being fenced and beginning anew, its share, its clock."""

from __future__ import annotations

import asyncio
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Any
from uuid import UUID

import pytest

from daemon.core.events import EVENT_TYPES
from daemon.runtime.clock import SharedClock
from daemon.runtime.leases import ALONE, Membership, Share
from daemon.testing.clock import FakeClock
from eventstore.codec import Codec
from eventstore.errors import Unavailable
from eventstore.store import open_store

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Sequence

    from eventstore.leases import Leases, Member

TTL = timedelta(seconds=9)


class Work:
    """Stands for the engine and the steps: notes what they are told."""

    def __init__(self) -> None:
        self.ids: list[UUID | None] = []
        self.told: list[str] = []

    def act_as(self, daemon: UUID | None) -> None:
        self.ids.append(daemon)

    def forget_all(self) -> None:
        self.told.append("forget_all")

    def abandon(self) -> None:
        self.told.append("abandon")


class Bench:
    """Daemons on one store in memory, and one clock for all."""

    def __init__(self, clock: FakeClock, leases: Leases) -> None:
        self.clock, self.leases = clock, leases
        self.tasks: list[asyncio.Task[None]] = []
        self.fenced = 0

    def daemon(self, name: str, leases: Leases | None = None) -> tuple[Membership, Work]:
        membership = Membership(leases or self.leases, self.clock, name=name, ttl=TTL, fenced=self._count)
        work = Work()
        membership.engine, membership.steps = work, work
        return membership, work

    async def joined(self, name: str, leases: Leases | None = None) -> tuple[Membership, Work]:
        membership, work = self.daemon(name, leases)
        await membership.join()
        self.tasks.append(asyncio.create_task(membership.run()))
        return membership, work

    def _count(self) -> None:
        self.fenced += 1


@pytest.fixture
async def bench() -> AsyncIterator[Bench]:
    clock = FakeClock()
    store = await open_store("memory://", Codec(EVENT_TYPES, {}), memory_now=clock.now)
    bench = Bench(clock, store.leases)
    yield bench
    for task in bench.tasks:
        task.cancel()
    await asyncio.gather(*bench.tasks, return_exceptions=True)


class Failing:
    """Leases that are away while `away`."""

    def __init__(self, inner: Leases) -> None:
        self._inner = inner
        self.away = False
        self.deaf = False
        self.beats = 0

    def __getattr__(self, name: str) -> Any:
        return getattr(self._inner, name)

    async def join(self, daemon_id: UUID, name: str, *, ttl: timedelta) -> None:
        self._check()
        await self._inner.join(daemon_id, name, ttl=ttl)

    async def beat(self, daemon_id: UUID) -> Sequence[Member]:
        self.beats += 1
        if self.deaf:
            raise Unavailable("lost")
        self._check()
        return await self._inner.beat(daemon_id)

    async def leave(self, daemon_id: UUID) -> None:
        self._check()
        await self._inner.leave(daemon_id)

    def _check(self) -> None:
        if self.away:
            raise Unavailable("away")


async def test_a_member_that_beats_is_never_dead(bench: Bench) -> None:
    member, work = await bench.joined("one")
    for _ in range(20):
        await bench.clock.advance(TTL.total_seconds() / 2)
        assert await bench.leases.fence_dead() == []
    assert (work.ids, work.told) == ([member.id], [])


async def test_three_beats_come_within_one_ttl(bench: Bench) -> None:
    leases = Failing(bench.leases)
    await bench.joined("one", leases)
    before = leases.beats
    await bench.clock.advance(TTL.total_seconds())
    assert leases.beats - before == 3


async def test_a_fenced_daemon_lets_go_of_all_and_joins_anew(bench: Bench) -> None:
    """It learns it from its next beat: it forgets and abandons first, then it is another member."""
    member, work = await bench.joined("one")
    first = member.id
    assert first is not None
    await bench.leases.leave(first)
    await bench.clock.advance(TTL.total_seconds() / 3)
    assert work.told == ["forget_all", "abandon"]
    assert work.ids == [first, None, member.id]
    assert member.id != first
    assert bench.fenced == 1


async def test_a_refused_append_makes_it_ask_at_once(bench: Bench) -> None:
    member, work = await bench.joined("one")
    assert member.id is not None
    await bench.leases.leave(member.id)
    member.doubt()
    await bench.clock.advance(0)
    assert work.told == ["forget_all", "abandon"]


async def test_doubt_about_a_daemon_that_lives_changes_nothing(bench: Bench) -> None:
    member, work = await bench.joined("one")
    member.doubt()
    await bench.clock.advance(0)
    assert (work.told, work.ids) == ([], [member.id])


async def test_a_store_that_is_away_is_waited_for(bench: Bench) -> None:
    """For longer than the ttl even: nobody has fenced it, so it goes on as the same member."""
    leases = Failing(bench.leases)
    member, work = await bench.joined("one", leases)
    first, leases.away = member.id, True
    await bench.clock.advance(5 * TTL.total_seconds())
    leases.away = False
    await bench.clock.advance(1)
    assert (member.id, work.told) == (first, [])
    assert await bench.leases.fence_dead() == []


async def test_to_join_waits_for_the_store_too(bench: Bench) -> None:
    leases = Failing(bench.leases)
    leases.away = True
    member, _ = bench.daemon("one", leases)
    joining = asyncio.create_task(member.join())
    await bench.clock.advance(10)
    assert not joining.done()
    leases.away = False
    await bench.clock.advance(1)
    await joining
    assert [each.name for each in await bench.leases.members()] == ["one"]


async def test_nothing_is_done_under_an_id_whose_first_beat_was_not_answered(bench: Bench) -> None:
    """It joins again under another id; what was begun under the first would be others' to take."""
    leases = Failing(bench.leases)
    member, work = bench.daemon("one", leases)
    leases.deaf = True
    joining = asyncio.create_task(member.join())
    await bench.clock.advance(0)
    assert (work.ids, member.id) == ([], None)
    leases.deaf = False
    await bench.clock.advance(1)
    await joining
    assert work.ids == [member.id]


async def test_shares_follow_who_lives_and_listeners_are_told(bench: Bench) -> None:
    """The oldest leads; what was a leaver's share is the others' at their next beat."""
    one, _ = await bench.joined("one")
    told: list[Share] = []
    one.listen(lambda: told.append(one.share))
    two, _ = await bench.joined("two")
    await bench.clock.advance(TTL.total_seconds() / 3)
    assert (one.share, two.share) == (Share(0, 2), Share(1, 2))
    assert (one.leads, two.leads) == (True, False)
    await one.leave()
    await bench.clock.advance(TTL.total_seconds() / 3)
    assert (two.share, two.leads) == (ALONE, True)
    assert told == [Share(0, 2)]


def test_shares_leave_nothing_out_and_nothing_twice() -> None:
    executions = [UUID(int=number * 0x9E3779B97F4A7C15) for number in range(1000)]
    for count in (1, 2, 3, 4):
        shares = [Share(rank, count) for rank in range(count)]
        assert all(sum(share.has(each) for share in shares) == 1 for each in executions)
        assert min(sum(map(share.has, executions)) for share in shares) > 1000 / count / 2


async def test_to_leave_gives_up_the_membership_at_once(bench: Bench) -> None:
    member, _ = await bench.joined("one")
    await member.leave()
    await member.leave()
    assert await bench.leases.members() == []


async def test_to_leave_does_not_wait_for_a_store_that_is_away(bench: Bench) -> None:
    leases = Failing(bench.leases)
    member, _ = await bench.joined("one", leases)
    leases.away = True
    await member.leave()
    assert member.id is None


@pytest.mark.parametrize("wrong_by", [timedelta(minutes=5), timedelta(minutes=-5)], ids=["fast", "slow"])
async def test_a_wrong_clock_is_put_right_by_the_store(bench: Bench, wrong_by: timedelta) -> None:
    """Due times are made by one daemon and kept by another: they agree on the store's time."""
    clock = SharedClock(FakeClock(bench.clock.now() + wrong_by))
    member = Membership(bench.leases, clock, name="one", ttl=TTL, compare=clock.compare)
    work = Work()
    member.engine, member.steps = work, work
    await member.join()
    assert clock.now() == bench.clock.now()


def test_clocks_that_are_almost_right_are_left_alone() -> None:
    now = datetime(2026, 1, 1, tzinfo=UTC)
    clock = SharedClock(FakeClock(now))
    clock.compare(now - timedelta(seconds=3), now - timedelta(seconds=2))
    clock.compare(now, now + timedelta(seconds=0.4))
    assert clock.now() == now
    clock.compare(now - timedelta(seconds=3), now - timedelta(seconds=4))
    assert clock.now() == now - timedelta(seconds=1)
