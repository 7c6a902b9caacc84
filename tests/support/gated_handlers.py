"""Handlers that a test can hold back, count and make fail. The test gets at them by the gate's name."""

from __future__ import annotations

import asyncio
from collections import Counter, defaultdict
from typing import Any

from daemon.durable import DurableContext, durable
from daemon.handlers import Context, StepFailure, handler

runs: Counter[str] = Counter()
"""Idempotency key -> how often a handler ran with it."""
gates: defaultdict[str, asyncio.Event] = defaultdict(asyncio.Event)
entered: defaultdict[str, asyncio.Event] = defaultdict(asyncio.Event)
"""Set when a handler stands at the gate of this name."""
cancelled: defaultdict[str, asyncio.Event] = defaultdict(asyncio.Event)
"""Set when a handler that stood at the gate of this name was cancelled."""
failures: Counter[str] = Counter()
"""Name -> how many attempts of the handler `flaky` fail."""


@handler("pass")
async def pass_on(value: Any = None, *, context: Context) -> Any:
    """Give back what came."""
    runs[context.idempotency_key] += 1
    return value


@handler("gate")
async def gate(name: str, value: Any = None, *, context: Context) -> Any:
    """Give back what came, once the gate of this name is open."""
    runs[context.idempotency_key] += 1
    entered[name].set()
    try:
        await gates[name].wait()
    except asyncio.CancelledError:
        cancelled[name].set()
        raise
    return value


@handler("flaky")
async def flaky(name: str, *, context: Context) -> int:
    """Fail in as many attempts as the test says, then give the attempt."""
    runs[context.idempotency_key] += 1
    if context.attempt <= failures[name]:
        raise StepFailure("not yet", code="flaky")
    return context.attempt


@durable("gated.flow")
async def flow(ctx: DurableContext, name: str) -> Any:
    """Stand at the gate of this name."""
    return await ctx.step(gate, {"name": name})
