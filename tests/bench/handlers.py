"""The handlers of the benchmarks: as little work as there can be."""

from __future__ import annotations

import os
import signal
import time

from daemon.durable import DurableContext, durable
from daemon.handlers import handler


class Fuse:
    """Kills this process, as a crash would, when so many steps have begun; None never does."""

    def __init__(self) -> None:
        self.left: int | None = None

    def burn(self) -> None:
        """Count a step."""
        if self.left is not None:
            self.left -= 1
            if self.left <= 0:
                os.kill(os.getpid(), signal.SIGKILL)


FUSE = Fuse()
DELAYS_S: list[float] = []
"""From when each message was sent until its first step began."""


@handler("bench.add")
async def add(n: int) -> int:
    """Add one."""
    FUSE.burn()
    return n + 1


@durable("bench.chain")
async def chain(ctx: DurableContext, n: int, steps: int) -> int:
    """Add one so many times, one after the other: what `workflows.chain` does, as code."""
    for _ in range(steps):
        n = await ctx.step(add, {"n": n})
    return n


@handler("bench.arrive")
async def arrive(sent: float) -> None:
    """Note how long ago the message was sent, by the machine's monotonic clock, which all its processes share."""
    DELAYS_S.append(time.monotonic() - sent)
