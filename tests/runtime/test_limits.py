"""Limits that executions share, on real daemons: exact, fair, and still true after restarts."""

from __future__ import annotations

import asyncio
from datetime import timedelta
from typing import TYPE_CHECKING

from daemon.core.commands import CancelExecution, PauseExecution, ResumeExecution
from daemon.core.state import Running
from daemon.runtime.standings import limits_view, standings
from daemon.runtime.why import why
from daemon.settings import Throttle
from daemon.testing.clock import FakeClock
from tests.support import gated_handlers
from tests.support.daemons import finished, running, settings_for, start, until
from tests.support.limit_rules import exceeded

if TYPE_CHECKING:
    from pathlib import Path

    import pytest

WORKFLOW = """
workflow: limited
nodes:
  a: {task: gate, with: {name: "{{ input.gate }}"}, throttle: {concurrency: 2, key: "{{ input.key }}"}}
"""


async def test_no_more_than_the_limit_are_at_work(tmp_path: Path, request: pytest.FixtureRequest) -> None:
    """Of three with one key two work; when one is done, the third begins."""
    gates = [f"{request.node.name}{number}" for number in range(3)]
    async with running(settings_for(tmp_path, WORKFLOW)) as daemon:
        ids = [await start(daemon, "limited", {"gate": gate, "key": "k"}) for gate in gates]
        for gate in gates[:2]:
            await gated_handlers.entered[gate].wait()
        third = await daemon.history.load(ids[2])
        assert isinstance(third, Running)
        assert list(third.limited) == ["a"]
        assert (await daemon.store.slots.use("limited/a", "k")).held == 2
        gated_handlers.gates[gates[0]].set()
        await gated_handlers.entered[gates[2]].wait()
        for gate in gates:
            gated_handlers.gates[gate].set()
        for each in ids:
            assert (await finished(daemon, each)).status == "completed"
        assert await daemon.store.slots.uses(most=9) == []
        assert 'sagad_limit_wait_seconds_count{limit="limited/a"} 1.0' in (await daemon.metrics.exposition()).decode()


async def test_why_tells_limit_holders_and_place(tmp_path: Path, request: pytest.FixtureRequest) -> None:
    """Who waits for a limit is told who holds it, and its place in the queue."""
    text = WORKFLOW.replace("concurrency: 2", "concurrency: 1")
    gate = request.node.name
    async with running(settings_for(tmp_path, text)) as daemon:
        ids = [await start(daemon, "limited", {"gate": gate, "key": "k"}) for _ in range(3)]
        state = await until(daemon, ids[2], lambda state: isinstance(state, Running) and bool(state.limited))
        waits = await standings(daemon.store.slots, ids[2], state)
        answer = why(state, None, daemon.clock.now(), standings=waits)
        [cause] = answer.causes
        assert (cause.kind, cause.limit, cause.key, cause.place) == ("limit", "limited/a", "k", 2)
        assert cause.holders == (f"{ids[0]}/a",)
        assert "number 2 of 2 in the queue; 1 of 1 are held" in cause.sentence
        view = await limits_view(daemon.store.slots, {}, limit="limited/a")
        assert [one["execution_id"] for one in view["limits"][0]["queue"]] == ids[1:]
        gated_handlers.gates[gate].set()
        for each in ids:
            await finished(daemon, each)


async def test_a_cancelled_one_leaves_the_queue_and_gives_its_slot_back(
    tmp_path: Path, request: pytest.FixtureRequest
) -> None:
    """Who is cancelled while it waits is passed over; who is cancelled at work makes room."""
    gates = [f"{request.node.name}{number}" for number in range(3)]
    text = WORKFLOW.replace("concurrency: 2", "concurrency: 1")
    async with running(settings_for(tmp_path, text)) as daemon:
        ids = [await start(daemon, "limited", {"gate": gate, "key": "k"}) for gate in gates]
        await gated_handlers.entered[gates[0]].wait()
        for each in ids[1::-1]:
            await daemon.engine.send(each, CancelExecution(reason="", actor="test", at=daemon.clock.now()))
        await gated_handlers.entered[gates[2]].wait()
        assert not gated_handlers.entered[gates[1]].is_set()
        gated_handlers.gates[gates[2]].set()
        await finished(daemon, ids[2])


async def test_a_paused_one_lets_others_go_first(tmp_path: Path, request: pytest.FixtureRequest) -> None:
    """A step of a paused execution takes no slot; after the pause it asks again."""
    gates = [f"{request.node.name}{number}" for number in range(3)]
    text = WORKFLOW.replace("concurrency: 2", "concurrency: 1")
    async with running(settings_for(tmp_path, text)) as daemon:
        ids = [await start(daemon, "limited", {"gate": gate, "key": "k"}) for gate in gates]
        await gated_handlers.entered[gates[0]].wait()
        await daemon.engine.send(ids[1], PauseExecution(actor="test", at=daemon.clock.now()))
        gated_handlers.gates[gates[0]].set()
        await gated_handlers.entered[gates[2]].wait()
        await daemon.engine.send(ids[1], ResumeExecution(actor="test", at=daemon.clock.now()))
        for gate in gates:
            gated_handlers.gates[gate].set()
        for each in ids:
            assert (await finished(daemon, each)).status == "completed"


async def test_limits_hold_after_a_restart(tmp_path: Path, request: pytest.FixtureRequest) -> None:
    """Who held still holds, who waited still waits, in another daemon."""
    gates = [f"{request.node.name}{number}" for number in range(3)]
    text = WORKFLOW.replace("concurrency: 2", "concurrency: 1")
    settings = settings_for(tmp_path, text, store_url=f"sqlite:///{tmp_path}/r.db")
    async with running(settings) as first:
        ids = [await start(first, "limited", {"gate": gate, "key": "k"}) for gate in gates]
        await gated_handlers.entered[gates[0]].wait()
    gated_handlers.entered[gates[0]].clear()
    async with running(settings) as second:
        await gated_handlers.entered[gates[0]].wait()
        assert (await second.store.slots.use("limited/a", "k")).held == 1
        for place, gate in enumerate(gates):
            gated_handlers.gates[gate].set()
            await finished(second, ids[place])
        log = await second.store.log.read_all(limit=1000)
        assert not list(exceeded(log))


async def test_an_execution_waits_before_its_first_step(tmp_path: Path, request: pytest.FixtureRequest) -> None:
    """A limit of the workflow is held from the begin to the end of an execution."""
    gate = request.node.name
    text = """
workflow: limited
throttle: {concurrency: 1}
nodes: {a: {transform: 1}, b: {task: gate, with: {name: "{{ input }}"}}}
edges: [a -> b]
"""
    async with running(settings_for(tmp_path, text)) as daemon:
        first, second = [await start(daemon, "limited", gate) for _ in range(2)]
        state = await until(daemon, second, lambda state: isinstance(state, Running))
        assert isinstance(state, Running)
        assert (list(state.limited), len(state.steps)) == ([""], 0)
        gated_handlers.gates[gate].set()
        await finished(daemon, first)
        await finished(daemon, second)


async def test_a_limit_of_the_settings_is_shared_by_workflows(tmp_path: Path, request: pytest.FixtureRequest) -> None:
    """By its name, by node type and by handler: one limit, whoever takes it, the calls of durable functions too."""
    gate = request.node.name
    text = """
workflow: named
nodes: {a: {task: gate, with: {name: "{{ input }}"}, throttle: both}}
---
workflow: covered
nodes: {a: {task: gate, with: {name: "{{ input }}"}}}
---
workflow: coded
nodes: {a: {function: gated.flow, with: {name: "{{ input }}"}}}
"""
    shared = {
        "both": Throttle(concurrency=1, handlers=("ga*",)),
        "tasks": Throttle(concurrency=9, node_types=("task",)),
    }
    async with running(settings_for(tmp_path, text, throttle=shared)) as daemon:
        ids = [await start(daemon, name, gate) for name in ("named", "covered", "coded")]
        for each in ids[1:]:
            await until(daemon, each, lambda state: isinstance(state, Running) and bool(state.limited))
        assert [(use.limit, use.held, use.waiting) for use in await daemon.store.slots.uses(most=9)] == [
            ("both", 1, 2),
            ("tasks", 1, 2),
        ]
        gated_handlers.gates[gate].set()
        for each in ids:
            await finished(daemon, each)


async def test_a_rate_spreads_steps_over_time(tmp_path: Path) -> None:
    """Ten at two a second, two of them at once: the last begins after four seconds, and nobody polls for it."""
    clock = FakeClock()
    text = """
workflow: rated
nodes: {a: {task: pass, throttle: {rate: {limit: 2, per: 1s, burst: 2}}}}
"""
    async with running(settings_for(tmp_path, text), clock=clock) as daemon:
        begun = clock.now()
        ids = [await start(daemon, "rated") for _ in range(10)]
        for _ in range(8):
            await clock.advance(0.5)
        ends = [await finished(daemon, each) for each in ids]
        assert max(end.finished_at for end in ends) - begun == timedelta(seconds=4)
        assert not list(exceeded(await daemon.store.log.read_all(limit=1000)))


async def test_a_retry_gives_its_slot_back_meanwhile(tmp_path: Path, request: pytest.FixtureRequest) -> None:
    """Between two attempts the slot is somebody else's."""
    name = request.node.name
    gated_handlers.failures[name] = 1
    text = """
workflow: flaky
nodes:
  a: {task: flaky, with: {name: "{{ input }}"}, retry: {max_attempts: 2, initial: 1m}, throttle: {concurrency: 1}}
"""
    clock = FakeClock()
    async with running(settings_for(tmp_path, text), clock=clock) as daemon:
        first = await start(daemon, "flaky", name)
        await until(daemon, first, lambda state: isinstance(state, Running) and state.sleeping == 1)
        await finished(daemon, await start(daemon, "flaky", "other"))
        await clock.advance(61)
        assert (await finished(daemon, first)).status == "completed"


async def test_two_daemons_never_exceed_it(tmp_path: Path, fresh_postgres_url: str) -> None:
    """Both take and grant at once, on one Postgres: judged from the log, no limit was ever exceeded."""
    text = """
workflow: raced
throttle: {concurrency: 6, key: "{{ input.key }}"}
priority: "{{ input.n % 2 }}"
nodes:
  a: {task: pass, throttle: {concurrency: 2, fair: "{{ input.key }}"}}
  b: {task: pass, throttle: {concurrency: 3, key: "{{ input.key }}"}}
edges: [a -> b]
"""
    settings = settings_for(tmp_path, text, store_url=fresh_postgres_url)
    async with running(settings) as one, running(settings) as two:
        starts = [start(daemon, "raced", {"key": n % 3, "n": n}) for n in range(30) for daemon in (one, two)]
        for each in await asyncio.gather(*starts):
            assert (await finished(one, each)).status == "completed"
        log = await one.store.log.read_all(limit=10_000)
        assert not list(exceeded(log))
        assert any(recorded.event.NAME == "SlotsAsked" for recorded in log)
        assert await one.store.slots.uses(most=9) == []
