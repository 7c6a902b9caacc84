"""Time in a test: it moves when nothing else can happen, and never before."""

from __future__ import annotations

import asyncio
import time
from datetime import timedelta
from typing import TYPE_CHECKING

import pytest

from daemon.handlers import Again
from daemon.testing import Misused, Stuck, WorkflowFailed, virtual_time

if TYPE_CHECKING:
    from daemon.testing import Flow, Sagad

WEEKS = """
workflow: weeks
nodes:
  weeks: {for: 52, do: {nodes: {nap: {wait: 7d}, mail: {task: mail.send}}, edges: [nap -> mail]}}
"""
TWO_NAPS = """
workflow: naps
nodes: {first: {wait: 1d}, second: {wait: 9d}, end: {transform: done}}
edges: [first -> second, second -> end]
output: "{{ end }}"
"""
SLOW = """
workflow: slow
nodes: {work: {task: shop.work, timeout: 1m, retry: {max_attempts: 2, initial: 1s}}}
output: "{{ work }}"
"""
ASK = "workflow: ask\nnodes: {ask: {signal: {name: answer, timeout: 30d}}}\noutput: '{{ ask }}'"


async def test_a_year_takes_no_time(sagad: Sagad) -> None:
    flow = sagad.workflow(WEEKS)
    flow.fake("mail.send", returns=None)
    began, began_s = sagad.clock.now(), time.perf_counter()
    await (await flow.start()).result()
    assert sagad.clock.now() - began == timedelta(days=364)
    assert len(flow.calls("mail.send")) == 52
    assert time.perf_counter() - began_s < 5


async def test_time_stands_still_while_nothing_is_waited_for(sagad: Sagad) -> None:
    execution = await sagad.workflow(TWO_NAPS).start()
    began = sagad.clock.now()
    await sagad.clock.settle()
    assert sagad.clock.now() == began
    assert execution.step("first").status == "sleeping"


async def test_what_is_due_happens_at_its_own_time(sagad: Sagad) -> None:
    execution = await sagad.workflow(TWO_NAPS).start()
    began = sagad.clock.now()
    await sagad.clock.advance("3d")
    assert sagad.clock.now() - began == timedelta(days=3)
    assert (execution.step("first").status, execution.step("second").status) == ("succeeded", "sleeping")
    await sagad.clock.advance(7 * 86400)
    assert execution.status == "completed"
    assert [event.at - began for event in execution.events("TimerFired")] == [timedelta(days=1), timedelta(days=10)]


async def test_held_time_does_not_move_by_itself(sagad: Sagad) -> None:
    execution = await sagad.workflow(TWO_NAPS).start()
    with sagad.clock.hold():
        with pytest.raises(Stuck, match=r"time is held \(sagad.clock.hold\)"):
            await execution.result()
        await sagad.clock.advance("1d")
        assert execution.step("second").status == "sleeping"
    assert await execution.result() == "done"


async def test_held_time_is_released(sagad: Sagad) -> None:
    execution = await sagad.workflow(TWO_NAPS).start()
    sagad.clock.hold()
    with pytest.raises(Stuck):
        await execution.result()
    sagad.clock.release()
    assert await execution.result() == "done"


async def test_a_deadline_comes_when_the_signal_does_not(sagad: Sagad) -> None:
    flow = sagad.workflow(ASK)
    answered = await flow.start()
    await sagad.clock.advance("29d")
    await answered.signal("answer", "yes")
    assert await answered.result() == "yes"
    with pytest.raises(WorkflowFailed, match="timeout"):
        await (await flow.start()).result()


def slow(sagad: Sagad, takes: str) -> Flow:
    flow = sagad.workflow(SLOW)
    flow.fake("shop.work", returns="done", takes=takes)
    return flow


async def test_a_slow_handler_takes_virtual_time(sagad: Sagad) -> None:
    execution = await slow(sagad, "59s").start()
    began = sagad.clock.now()
    await sagad.clock.advance("58s")
    assert execution.step("work").status == "running"
    assert await execution.result() == "done"
    assert sagad.clock.now() - began == timedelta(seconds=59)


async def test_a_handler_that_is_too_slow_times_out(sagad: Sagad) -> None:
    execution = await slow(sagad, "30d").start()
    began = sagad.clock.now()
    with pytest.raises(WorkflowFailed, match="not finished within 1m"):
        await execution.result()
    assert sagad.clock.now() - began == timedelta(seconds=121)
    assert [event.error.code for event in execution.events("StepFailed")] == ["timeout", "timeout"]


async def test_the_function_of_a_fake_may_take_virtual_time(sagad: Sagad) -> None:
    async def work() -> str:
        await sagad.clock.sleep("40s")
        return "done"

    flow = sagad.workflow(SLOW)
    flow.fake("shop.work", calls=work)
    began = sagad.clock.now()
    assert await (await flow.start()).result() == "done"
    assert sagad.clock.now() - began == timedelta(seconds=40)
    with pytest.raises(Misused, match="advance"):
        await sagad.clock.sleep("1s")


async def test_a_handler_that_polls_is_called_again_in_virtual_time(sagad: Sagad) -> None:
    flow = sagad.workflow("workflow: w\nnodes: {poll: {task: shop.poll}}\noutput: '{{ poll }}'")
    began = sagad.clock.now()

    async def poll() -> object:
        return "ready" if sagad.clock.now() - began >= timedelta(hours=3) else Again("1h")

    flow.fake("shop.poll", calls=poll)
    assert await (await flow.start()).result() == "ready"
    assert len(flow.calls("shop.poll")) == 4


async def test_time_waits_for_real_work(sagad: Sagad) -> None:
    """A handler that does something real is waited for: its timeout does not come meanwhile."""
    flow = sagad.workflow(SLOW)
    flow.fake("shop.work", calls=lambda: sum(range(100_000)))
    began = sagad.clock.now()
    await (await flow.start()).result()
    assert sagad.clock.now() == began


async def test_a_handler_that_never_ends_is_named(sagad: Sagad, monkeypatch: pytest.MonkeyPatch) -> None:
    async def work() -> None:
        await asyncio.get_running_loop().create_future()

    monkeypatch.setattr(virtual_time, "PATIENCE_S", 0.05)
    flow = sagad.workflow(SLOW)
    flow.fake("shop.work", calls=work)
    with pytest.raises(Stuck, match=r"nothing has happened for 0.05 s of real time; at work:\n  work, attempt 1"):
        await (await flow.start()).result()
