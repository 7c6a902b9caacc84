"""Handlers that run in processes of their own; loaded there by the path of this file."""

import os
import signal
import sys
from dataclasses import dataclass
from pathlib import Path

from daemon.handlers import Context, StepFailure, handler


@dataclass
class Report:
    process: int
    total: int
    key: str


@handler("cpu.total", cpu=True)
def total(numbers: list[int], context: Context) -> Report:
    context.heartbeat()
    context.progress({"numbers": len(numbers)})
    return Report(os.getpid(), sum(numbers), context.idempotency_key)


@handler("cpu.decline", cpu=True)
def decline() -> None:
    raise StepFailure("no funds", "declined", retryable=False, details={"needed": 3})


@handler("cpu.divide", cpu=True)
def divide(by: int) -> float:
    return 1 / by


@handler("cpu.die", cpu=True)
def die() -> None:
    os.kill(os.getpid(), signal.SIGKILL)


@handler("cpu.leave", cpu=True)
def leave() -> None:
    sys.exit(3)


@handler("cpu.hang", cpu=True)
def hang(sign: str) -> None:
    """Tell a pipe who hangs, and hang until killed."""
    Path(sign).write_text(str(os.getpid()))
    signal.pause()
