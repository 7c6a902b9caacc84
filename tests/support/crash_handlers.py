"""Handlers of the crash stories: each tells the witness, and may be struck dead before, while and after doing so."""

from __future__ import annotations

import asyncio
from typing import Any

from daemon.durable import CallFailed, DurableContext, Undo, durable
from daemon.handlers import Context, Pause, StepFailure, handler
from tests.support.crash_world import current


def _do(name: str, context: Context, value: object) -> Any:
    return current[-1].effect(name, context.idempotency_key, context.attempt, value)


@handler("work")
async def work(value: Any = None, *, context: Context) -> Any:
    """Do something in the event loop."""
    return _do(context.address, context, value)


@handler("work_in_thread")
def work_in_thread(value: Any = None, *, context: Context) -> Any:
    """Do something in a thread."""
    return _do(context.address, context, value)


@handler("fails")
async def fails(times: int, value: Any = None, *, context: Context) -> Any:
    """Fail in so many attempts, each time after it was begun; then do it."""
    if context.attempt <= times:
        key = f"{context.idempotency_key}/failed"
        current[-1].effect(f"{context.address}: attempt {context.attempt}", key, context.attempt, None)
        raise StepFailure("not yet", code="flaky")
    return _do(context.address, context, value)


@handler("large")
async def large(kib: int, *, context: Context) -> Any:
    """Give a value above the threshold."""
    return _do(context.address, context, f"{context.address}-" * (kib * 1024 // (len(context.address) + 1)))


@handler("hangs")
async def hangs(*, context: Context) -> None:
    """Tell the witness, then never end."""
    _do(context.address, context, None)
    world = current[-1]
    world.sleeping += 1
    try:
        await asyncio.get_running_loop().create_future()
    finally:
        world.sleeping -= 1


@handler("tells")
async def tells(to: str, notice: dict[str, Any], *, context: Context) -> Any:
    """Tell somebody what is asked."""
    return _do(context.address, context, [to, notice["kind"]])


@handler("asks")
async def asks(*, context: Context) -> Any:
    """Pause for a number; then do something with it."""
    if context.resumed is None:
        current[-1].effect(f"{context.address}: asks", f"{context.idempotency_key}/asked", context.attempt, None)
        return Pause("which?", {"type": "integer"}, state=context.address, timeout="1h")
    return _do(context.address, context, [context.resumed, context.state])


@durable("crash.flow")
async def flow(ctx: DurableContext, n: int) -> dict[str, Any]:
    """Call side by side, sleep, wait for what does not come, wait for what does, start a child, and handle an error."""
    undo = Undo("work", {"value": "{{ step.output }}"})
    retry = {"max_attempts": 2, "initial": "1m"}
    sides = await asyncio.gather(
        ctx.step("work", {"value": n}, compensate=undo),
        ctx.step("fails", {"times": 1, "value": 2}, retry=retry, compensate=undo),
    )
    await ctx.sleep("3m")
    answer = "none"
    try:
        async with asyncio.timeout(60):
            answer = await ctx.signal("answer")
    except TimeoutError:
        answer = await ctx.signal("answer", timeout="30m")
    child = await ctx.child("small", {"n": n})
    code = ""
    try:
        await ctx.step("fails", {"times": 9}, retry=retry)
    except CallFailed as error:
        code = error.code
    return {"sides": sides, "answer": answer, "child": child, "code": code, "version": ctx.version("v", 1, 2)}
