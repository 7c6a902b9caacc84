"""Handlers of the crash stories: each tells the witness, and may be struck dead before, while and after doing so."""

from __future__ import annotations

import asyncio
from typing import Any

from daemon.handlers import Context, StepFailure, handler
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
