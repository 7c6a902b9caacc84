"""Latency of steps and executions, at an offered rate and under full load.

A step's is from the commit of its StepStarted to the commit of its StepSucceeded; an execution's, from the call that
starts it to the commit of its ExecutionCompleted.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from daemon.core.events import ExecutionCompleted, StepStarted, StepSucceeded
from tests.bench.figures import Bench, Benchmark, Figure, milliseconds
from tests.bench.rig import SHIPPED, WIDE, ClockedLog, Rig, offer, started
from tests.bench.workflows import chain

if TYPE_CHECKING:
    from collections.abc import Sequence
    from uuid import UUID

STEPS = 3
RATES = (20, 500)


async def run(bench: Bench) -> Sequence[Figure]:
    """Measure at each rate, then with all at once."""
    figures: list[Figure] = []
    for rate, count in zip(RATES, (bench.sizes.low_rate_count, bench.sizes.rate_count), strict=True):
        with bench.fresh_store() as url:
            async with started(url, bench.folder, chain(STEPS), SHIPPED) as rig:
                await rig.run(bench.sizes.warm_up, "warm-up")
                executions_s, steps_s = await _at_rate(rig, rate, count)
                await rig.check(completed=bench.sizes.warm_up + count)
        figures += milliseconds(f"{STEPS}-step execution at {rate}/s", executions_s, 50, 99)
        figures += milliseconds(f"step at {rate}/s", steps_s, 50, 99)
    with bench.fresh_store() as url:
        async with started(url, bench.folder, chain(10), WIDE) as rig:
            await rig.run(bench.sizes.at_once, "timed")
            _, steps_s = _times(rig.log)
    return [*figures, *milliseconds(f"step, {bench.sizes.at_once:,} executions at once", steps_s, 50, 99)]


async def _at_rate(rig: Rig, rate: float, count: int) -> tuple[list[float], list[float]]:
    rig.log.commits.clear()
    accepted: dict[UUID, float] = {}

    async def start(number: int, due: float) -> None:
        accepted[await rig.start(f"timed-{number}")] = due

    await offer(rate, count, start)
    await rig.idle()
    ended, steps_s = _times(rig.log)
    return [ended[execution_id] - at for execution_id, at in accepted.items()], steps_s


def _times(log: ClockedLog) -> tuple[dict[UUID, float], list[float]]:
    """Return when each execution's end was committed, and how long each step took."""
    ended: dict[UUID, float] = {}
    began: dict[tuple[UUID, str], float] = {}
    steps_s: list[float] = []
    for at, batch in log.commits:
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


BENCHMARK = Benchmark("latency", "Latency of steps and executions", run)
