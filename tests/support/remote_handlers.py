"""Handlers for remote workers: what travels back beside a plain result."""

from __future__ import annotations

from typing import Any

from daemon.handlers import Again, Context, Pause, Port, StepFailure, handler


@handler("far.thrice")
async def thrice(context: Context) -> Any:
    """Be called three times; tell how far it is; leave by a port."""
    calls = (context.state or 0) + 1
    context.progress({"calls": calls})
    return Port("enough", calls) if calls == 3 else Again("0s", calls)


@handler("far.pauses")
async def pauses(context: Context) -> Any:
    """Ask for a number, and give it back with what was kept."""
    if context.resumed is None:
        return Pause("which number?", expects={"type": "integer"}, state="asked")
    return [context.resumed, context.state]


@handler("far.thread")
def thread(word: str, context: Context) -> str:
    """Tell a secret that must not get around."""
    raise StepFailure(f"not {word}", "declined", retryable=False, details={"key": context.idempotency_key})


@handler("far.large")
async def large(size: int) -> str:
    """Give more than a broker takes."""
    return "x" * size


@handler("far.echo")
async def echo(n: int) -> int:
    """Give it back."""
    return n
