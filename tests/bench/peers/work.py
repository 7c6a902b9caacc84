"""What every engine is given to do, and how it is timed: the frame of the programs that run under a peer's own Python.

    echo '{"work": "throughput", "url": "postgresql://…", "steps": 10, …}' | PEER_PYTHON -m tests.bench.peers.on_dbos

Only the standard library and psycopg are imported, for no peer's environment has sagad in it. A program gives `main` a
way to open its engine; `main` does one order and prints one line of JSON, the `Result`.
"""

from __future__ import annotations

import asyncio
import json
import os
import signal
import sys
import time
from dataclasses import asdict, dataclass, field
from typing import TYPE_CHECKING, Any, Literal, Protocol, TypeAlias

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Sequence
    from contextlib import AbstractAsyncContextManager

Work: TypeAlias = Literal["throughput", "latency", "begin", "recover"]

POLL_S = 0.01
PATIENCE_S = 120
TIMER_GRAIN_S = 0.001
"""What the loop's timers may be late by themselves."""


@dataclass(frozen=True, kw_only=True)
class Order:
    """One piece of work; `recover` takes up what `begin` left."""

    work: Work
    steps: int
    count: int
    """Executions."""
    url: str = ""
    """Of the database, which is empty unless the work is `recover`."""
    warm_up: int = 0
    """Executions that are run first, and not timed."""
    rate: float = 0.0
    """Executions offered a second, for `latency`; 0 is one at a time."""
    tuning: dict[str, Any] = field(default_factory=dict)
    """The engine's knobs, as its program names them; `uvloop` is known to all."""


@dataclass(frozen=True, kw_only=True)
class Result:
    """What one order gave."""

    elapsed_s: float = 0.0
    cpu_s: float = 0.0
    """Processor time of the program, all its threads."""
    latencies_s: Sequence[float] = ()
    finished: int = 0
    """Executions that the database holds as ended well, those of the warm-up included."""
    in_flight: int = 0
    """Executions that `recover` found unfinished."""
    finished_at: float = 0.0
    """By the monotonic clock, which all processes of a machine share."""


class Engine(Protocol):
    """An engine that is ready to work."""

    async def run(self, keys: Sequence[str], steps: int) -> None:
        """Start an execution for each key, all at once; return when the end of every one is recorded."""

    async def execute(self, key: str, steps: int) -> None:
        """Start one execution; return when its end is recorded."""

    async def finished(self) -> int:
        """Count the executions that ended well, by asking the database."""


Opening: TypeAlias = "Callable[[Order], AbstractAsyncContextManager[Engine]]"


class _Fuse:
    """Kills this process, as a crash would, when so many steps have begun; None never does."""

    left: int | None = None


async def add(n: int) -> int:
    """Do the work of a step: as little as there can be."""
    return plain_add(n)


def plain_add(n: int) -> int:
    """Do the same in a thread, for engines that are quicker there."""
    if _Fuse.left is not None:
        _Fuse.left -= 1
        if _Fuse.left <= 0:
            os.kill(os.getpid(), signal.SIGKILL)
    return n + 1


def main(opening: Opening) -> None:
    """Do the order that stdin holds and print the result."""
    order = Order(**json.load(sys.stdin))
    factory: Callable[[], asyncio.AbstractEventLoop] | None = None
    if order.tuning.get("uvloop"):
        import uvloop  # noqa: PLC0415  a knob: not every run wants it

        factory = uvloop.new_event_loop
    with asyncio.Runner(loop_factory=factory) as runner:
        result = runner.run(perform(order, opening))
    print(json.dumps(asdict(result)), flush=True)


async def perform(order: Order, opening: Opening) -> Result:
    """Do one order."""
    if order.work == "begin":
        _Fuse.left = order.count * order.steps // 2
    async with opening(order) as engine:
        await engine.run([f"warm-up-{number}" for number in range(order.warm_up)], order.steps)
        keys = [f"timed-{number}" for number in range(order.count)]
        in_flight = order.count - await engine.finished() if order.work == "recover" else 0
        cpu_s, began, latencies_s = time.process_time(), time.perf_counter(), list[float]()
        match order.work:
            case "throughput" | "begin":
                await engine.run(keys, order.steps)
            case "latency":
                latencies_s = await (_latencies if order.rate else _in_turn)(engine, order, keys)
            case "recover":
                await until(engine.finished, order.count)
        return Result(
            elapsed_s=time.perf_counter() - began,
            cpu_s=time.process_time() - cpu_s,
            latencies_s=latencies_s,
            in_flight=in_flight,
            finished_at=time.monotonic(),
            finished=await engine.finished(),
        )


async def _latencies(engine: Engine, order: Order, keys: Sequence[str]) -> list[float]:
    """Begin executions at an even rate, whether those before have ended or not; return how long each took.

    When the loop is late, an execution's time still runs from when it should have begun, so that a slow engine does not
    make its own load lighter; only a timer's grain is forgiven.
    """
    taken_s: list[float] = []

    async def execute(key: str, due: float) -> None:
        await engine.execute(key, order.steps)
        taken_s.append(time.monotonic() - due)

    first = time.monotonic() + 0.01
    async with asyncio.TaskGroup() as tasks:
        for number, key in enumerate(keys):
            due = first + number / order.rate
            await asyncio.sleep(max(0.0, due - time.monotonic()))
            tasks.create_task(execute(key, max(due, min(time.monotonic(), due + TIMER_GRAIN_S))))
    return taken_s


async def _in_turn(engine: Engine, order: Order, keys: Sequence[str]) -> list[float]:
    """Execute one after the other; return how long each took."""
    taken_s: list[float] = []
    for key in keys:
        began = time.monotonic()
        await engine.execute(key, order.steps)
        taken_s.append(time.monotonic() - began)
    return taken_s


async def until(finished: Callable[[], Awaitable[int]], count: int) -> None:
    """Return when so many have ended, noticed within `POLL_S`; TimeoutError after `PATIENCE_S`."""
    async with asyncio.timeout(PATIENCE_S):
        while await finished() < count:  # noqa: ASYNC110  only the database knows
            await asyncio.sleep(POLL_S)


async def together(execute: Callable[[str], Awaitable[object]], keys: Sequence[str], at_once: int | None) -> None:
    """Execute for all keys, no more than so many at once; None is no bound."""
    gate = asyncio.Semaphore(at_once or max(1, len(keys)))

    async def bounded(key: str) -> None:
        async with gate:
            await execute(key)

    await asyncio.gather(*map(bounded, keys))
