"""A handler that says what it is given, in its chunks, its progress, its result, and its error."""

from __future__ import annotations

from typing import Any

from daemon.handlers import Context, StepFailure, handler
from tests.support.gated_handlers import gate, pass_on

__all__ = ("gate", "pass_on")


@handler("speak")
async def speak(words: str, *, fail: bool = False, context: Context) -> Any:
    """Say it in every way that there is."""
    context.progress({"words": words})
    await context.stream(words)
    if fail:
        raise StepFailure(f"cannot say {words}", code="dumb", retryable=False, details={"words": words})
    return {"words": words}
