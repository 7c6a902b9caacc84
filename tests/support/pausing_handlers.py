"""Handlers that pause for input."""

from __future__ import annotations

import asyncio
from collections import defaultdict
from typing import Any

from daemon.handlers import Context, Pause, handler

ACCOUNT = {"type": "object", "properties": {"account": {"type": "integer"}}, "required": ["account"]}
gates: defaultdict[str, asyncio.Event] = defaultdict(asyncio.Event)


def _pick(context: Context) -> Any:
    if context.resumed is None:
        return Pause("which account?", expects=ACCOUNT, state="asked")
    return {"account": context.resumed["account"], "calls": context.attempt, "left": context.state}


@handler("pick")
async def pick(context: Context) -> Any:
    return _pick(context)


@handler("pick.gated")
async def pick_when_let(context: Context) -> Any:
    """Wait until the test opens the gate of the execution."""
    await gates[context.execution_id].wait()
    return _pick(context)


@handler("pick.thread")
def pick_in_thread(context: Context) -> Any:
    return _pick(context)


@handler("pick.process", cpu=True)
def pick_in_process(context: Context) -> Any:
    return _pick(context)


@handler("pick.briefly")
async def pick_briefly() -> Pause:
    return Pause("quick!", timeout="1m")
