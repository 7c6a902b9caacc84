"""Latency of steps and executions, at an offered rate and under full load.

One at a time, each begins when the last has ended: nothing sleeps meanwhile, neither here nor in the database. At a low
rate everything does, and to wake up is most of the time: see the prototype's figure beside it.

A step's is from the commit of its StepStarted to the commit of its StepSucceeded; an execution's, from the call that
starts it to the commit of its ExecutionCompleted.
"""

from __future__ import annotations

import asyncio
import time
from typing import TYPE_CHECKING

from daemon.core.events import ExecutionCompleted, StepStarted, StepSucceeded
from tests.bench.figures import Bench, Benchmark, Figure, milliseconds
from tests.bench.peers.driver import IN_TURN, LATENCY_STEPS, LOW_RATE, latency_of
from tests.bench.rig import SHIPPED, WIDE, clocked, offer, settings_of
from tests.bench.workflows import chain

if TYPE_CHECKING:
    from collections.abc import Sequence
    from uuid import UUID

    from eventstore.log import Append

RATES = (LOW_RATE, 500)


class Commits:
    """What was committed when."""

    def __init__(self) -> None:
        self._commits: list[tuple[float, Sequence[Append]]] = []

    def note(self, at: float, batch: Sequence[Append]) -> None:
        """Keep one commit: as little work as there can be while the clock runs."""
        self._commits.append((at, batch))

    def times(self) -> tuple[dict[UUID, float], list[float]]:
        """Return when each execution's end was committed, and how long each step took."""
        ended: dict[UUID, float] = {}
        began: dict[tuple[UUID, str], float] = {}
        steps_s: list[float] = []
        for at, batch in self._commits:
            for append in batch:
                for event in append.events:
                    match event:
                        case StepStarted():
                            began[append.execution_id, event.address] = at
                        case StepSucceeded():
                            steps_s.append(at - began.pop((append.execution_id, event.address)))
                        case ExecutionCompleted():
                            ended[append.execution_id] = at
        return ended, steps_s

    def clear(self) -> None:
        """Forget all."""
        self._commits.clear()


async def run(bench: Bench) -> Sequence[Figure]:
    """Measure at each rate, then with all at once."""
    sizes = bench.sizes
    figures = milliseconds(latency_of(IN_TURN), await _in_turn(bench, sizes.low_rate_count), 50, 99)
    for rate, count in zip(RATES, (sizes.low_rate_count, sizes.rate_count), strict=True):
        executions_s, steps_s = await _at_rate(bench, rate, count)
        figures += milliseconds(latency_of(rate), executions_s, 50, 99)
        figures += milliseconds(f"step at {rate}/s", steps_s, 50, 99)
    commits = Commits()
    with bench.fresh_store() as url:
        async with clocked(settings_of(url, bench.folder, chain(10), WIDE), commits.note) as rig:
            await rig.run(sizes.at_once, "timed")
    _, steps_s = commits.times()
    return [*figures, *milliseconds(f"step, {sizes.at_once:,} executions at once", steps_s, 50, 99)]


async def _in_turn(bench: Bench, count: int) -> list[float]:
    """Return how long each execution took."""
    taken_s: list[float] = []
    ended = asyncio.Event()

    def note(_at: float, batch: Sequence[Append]) -> None:
        if any(isinstance(append.events[-1], ExecutionCompleted) for append in batch):
            ended.set()

    with bench.fresh_store() as url:
        async with clocked(settings_of(url, bench.folder, chain(LATENCY_STEPS), SHIPPED), note) as rig:
            await rig.run(bench.sizes.warm_up, "warm-up")
            for number in range(count):
                ended.clear()
                began = time.monotonic()
                await rig.start(f"timed-{number}")
                await ended.wait()
                taken_s.append(time.monotonic() - began)
            await rig.idle()
            await rig.check(completed=bench.sizes.warm_up + count)
    return taken_s


async def _at_rate(bench: Bench, rate: float, count: int) -> tuple[list[float], list[float]]:
    """Return how long each execution and each step took."""
    commits = Commits()
    accepted: dict[UUID, float] = {}
    with bench.fresh_store() as url:
        async with clocked(settings_of(url, bench.folder, chain(LATENCY_STEPS), SHIPPED), commits.note) as rig:
            await rig.run(bench.sizes.warm_up, "warm-up")
            commits.clear()

            async def start(number: int, due: float) -> None:
                accepted[await rig.start(f"timed-{number}")] = due

            await offer(rate, count, start)
            await rig.idle()
            await rig.check(completed=bench.sizes.warm_up + count)
    ended, steps_s = commits.times()
    return [ended[execution_id] - at for execution_id, at in accepted.items()], steps_s


BENCHMARK = Benchmark("latency", "Latency of steps and executions", run)
