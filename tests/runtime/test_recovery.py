"""Work that nobody does is taken up: at the start, when others die or leave, when they hint; never in a hot loop."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING
from uuid import uuid4

import pytest

from daemon.core.errors import Rejected
from daemon.core.events import EVENT_TYPES, ExecutionCancelled
from daemon.core.evolve import fold
from daemon.core.state import INITIAL
from daemon.testing.clock import FakeClock, settle
from eventstore.codec import Codec
from eventstore.errors import Unavailable
from eventstore.index import IndexChange
from eventstore.store import open_store
from tests.runtime.recovering import TTL, Bench, started
from tests.support.stores import row

if TYPE_CHECKING:
    from collections.abc import AsyncIterator


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
    now = bench.clock.now()
    one.engine.states[execution_id] = fold([started(execution_id), ExecutionCancelled(reason="", at=now)])
    ended = row(execution_id, status="cancelled", finished_at=now)
    await bench.change(execution_id, IndexChange(ended, hint=True))
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
