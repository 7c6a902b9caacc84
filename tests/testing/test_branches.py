"""The testing kit's forks and rewinds, and a rewind that is killed everywhere."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest

from daemon.testing import crash_everywhere

if TYPE_CHECKING:
    from daemon.testing import Execution, Flow, Sagad

TEXT = """
workflow: booking
vars: {rate: 1}
nodes:
  reserve: {task: reserve, with: {n: "{{ input }}"}, compensate: {task: release, with: {n: "{{ step.output }}"}}}
  charge:
    task: charge
    with: {n: "{{ reserve * vars.rate }}"}
    compensate: {task: refund, with: {n: "{{ step.output }}"}}
  ok: {signal: go}
  nap: {wait: 1h}
  ship: {task: ship, with: {n: "{{ charge }}"}}
edges: [reserve -> charge -> ok -> nap -> ship]
output: "{{ ship }}"
"""


def booking(sagad: Sagad, store: str = "memory") -> Flow:
    flow = sagad.workflow(TEXT, store=store)

    async def same(n: int) -> int:
        return n

    for name in ("reserve", "charge", "ship"):
        flow.fake(name, calls=same)
    for name in ("release", "refund"):
        flow.fake(name)
    return flow


async def test_a_fork_takes_edits(sagad: Sagad) -> None:
    flow = booking(sagad)
    execution = await flow.start(3)
    await execution.signal("go")
    assert await execution.result() == 3
    fork = await execution.fork("before:charge", variables={"rate": 10})
    await fork.signal("go")
    assert await fork.result() == 30
    other = await execution.fork("after:charge", steps={"charge": 7})
    await other.signal("go")
    assert await other.result() == 7


async def test_a_rewind_takes_the_signal_again(sagad: Sagad) -> None:
    flow = booking(sagad)
    execution = await flow.start(3)
    await execution.signal("go")
    await execution.result()
    await execution.rewind("before:charge")
    assert await execution.result() == 3
    assert len(flow.calls("charge")) == 2
    assert len(flow.calls("refund")) == 1
    assert len(flow.calls("reserve")) == 1


@pytest.mark.parametrize("store", ["memory", "sqlite"])
async def test_a_rewind_survives_a_crash_at_every_append(sagad: Sagad, store: str) -> None:
    """What is undone is undone once by its key, and what is done again ends as it does undisturbed."""

    async def then(execution: Execution) -> Any:
        await execution.signal("go")
        await execution.until(lambda it: it.step("nap").status == "sleeping")
        await execution.rewind("before:charge")

    report = await crash_everywhere(booking(sagad, store), 3, then=then)
    assert report.points >= 20
