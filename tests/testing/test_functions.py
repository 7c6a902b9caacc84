"""The testing kit with durable functions: their calls are faked, and they are killed everywhere."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Any

import pytest

from daemon.durable import CallFailed, DurableContext, Undo, durable
from daemon.testing import Unfaked, crash_everywhere

if TYPE_CHECKING:
    from daemon.testing import Execution, Flow, Sagad

WORKFLOW = """
workflow: order
nodes:
  order: {function: test.order, with: {items: [1, 2, 3]}}
  after: {task: t.after, with: "{{ order }}"}
edges: [order -> after]
"""


@durable("test.order")
async def order(ctx: DurableContext, items: list[int]) -> dict[str, Any]:
    """Use most of what there is."""
    undo = Undo("t.release", "{{ step.output }}", kind="idempotent")
    side_by_side = asyncio.as_completed([ctx.step("t.reserve", item, compensate=undo) for item in items])
    reserved = [await each for each in side_by_side]
    reserved.sort(key=lambda each: each["id"])  # which one is first is the world's to say
    async with asyncio.TaskGroup() as group:
        wish = group.create_task(ctx.signal("wish", timeout="1d"))
        group.create_task(ctx.sleep("30m"))
    try:
        async with asyncio.timeout(60):
            await ctx.step("t.slow", id="slow")
    except TimeoutError:
        reserved.append("slow")
    try:
        await ctx.step("t.pay", {"dice": ctx.random() < 1, "wish": wish.result()}, retry=2)
    except CallFailed as error:
        reserved.append(error.code)
    await asyncio.sleep(86_400 * 365)
    return {"reserved": reserved, "year": ctx.now().year, "version": ctx.version("pay", 1, 2)}


async def reserve(input: Any) -> Any:  # noqa: A002  the whole of `with`
    return {"id": input}


async def pass_on(input: Any) -> Any:  # noqa: A002  the whole of `with`
    return input


def prepared(sagad: Sagad) -> Flow:
    flow = sagad.workflow(WORKFLOW, handlers=[order])
    flow.fake("t.reserve", calls=reserve, takes="2s")
    flow.fake("t.slow", takes="5m")
    flow.fake("t.pay", fails="declined")
    flow.fake("t.release")
    flow.fake("t.after", calls=pass_on)
    return flow


async def wished(execution: Execution) -> None:
    await execution.signal("wish", "blue")


async def test_a_function_that_is_killed_everywhere_ends_the_same(sagad: Sagad) -> None:
    report = await crash_everywhere(prepared(sagad), then=wished)
    assert report.points > 30
    assert report.missed == 0


async def test_what_it_owes_is_undone_wherever_it_is_killed(sagad: Sagad) -> None:
    flow = prepared(sagad)
    flow.fake("t.after", fails="broken", retryable=False)
    report = await crash_everywhere(flow, then=wished)
    assert report.missed == 0


async def test_a_year_passes_in_a_function(sagad: Sagad) -> None:
    """Its clock is the virtual one, and what it has called is seen by the test."""
    flow = prepared(sagad)
    execution = await flow.start()
    await wished(execution)
    result = await execution.result()
    assert result["after"]["reserved"] == [{"id": 1}, {"id": 2}, {"id": 3}, "slow", "declined"]
    assert flow.calls("t.pay") == [{"dice": True, "wish": "blue"}] * 2


async def test_what_a_function_needs_is_told(sagad: Sagad) -> None:
    flow = sagad.workflow(WORKFLOW)
    flow.fake("t.after")
    with pytest.raises(Unfaked, match=r"durable function test\.order, of node order"):
        await flow.start()
