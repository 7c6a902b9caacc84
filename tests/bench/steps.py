"""Durable steps and executions a second: trivial steps, all executions started at once.

From the first call to start one until the log has the end of every one. The processor time is of this process alone,
all its threads, without the database server: on a busy machine it is the figure to compare.
"""

from __future__ import annotations

import time
from typing import TYPE_CHECKING

from tests.bench.figures import Bench, Benchmark, Figure
from tests.bench.peers.driver import AS_SHIPPED, CPU_A_STEP, SHORTER, STEPS, STEPS_A_SECOND
from tests.bench.rig import SHIPPED, WIDE, settings_of, started
from tests.bench.workflows import chain, function

if TYPE_CHECKING:
    from collections.abc import Sequence

    from daemon.settings import Limits


async def run(bench: Bench) -> Sequence[Figure]:
    """Measure 10 steps, then executions of 1, 3 and 5; without limits, and with those as shipped."""
    count = bench.sizes.at_once
    elapsed_s, cpu_s = await _measure(bench, chain(STEPS), WIDE)
    figures = [
        Figure(STEPS_A_SECOND, count * STEPS / elapsed_s, "/s"),
        Figure("events written meanwhile", count * events_of(STEPS) / elapsed_s, "/s"),
        Figure(CPU_A_STEP, cpu_s / (count * STEPS) * 1e6, "µs/step"),
    ]
    elapsed_s, cpu_s = await _measure(bench, function(STEPS), WIDE)
    figures.append(Figure(f"{STEPS_A_SECOND}, of a durable function", count * STEPS / elapsed_s, "/s"))
    figures.append(Figure(f"{CPU_A_STEP}, of a durable function", cpu_s / (count * STEPS) * 1e6, "µs/step"))
    elapsed_s, _ = await _measure(bench, chain(STEPS), SHIPPED)
    figures.append(Figure(STEPS_A_SECOND + AS_SHIPPED, count * STEPS / elapsed_s, "/s"))
    for named, limits in (("", WIDE), (AS_SHIPPED, SHIPPED)):
        for steps in SHORTER:
            elapsed_s, _ = await _measure(bench, chain(steps), limits)
            figures.append(Figure(f"executions of {steps} step{'s' * (steps > 1)}{named}", count / elapsed_s, "/s"))
    return figures


def events_of(steps: int) -> int:
    """Return how many events a finished execution of so many steps has."""
    return 1 + 2 * steps + 1


async def _measure(bench: Bench, workflow: str, limits: Limits) -> tuple[float, float]:
    """Return elapsed seconds and seconds of processor time."""
    sizes = bench.sizes
    with bench.fresh_store() as url:
        async with started(settings_of(url, bench.folder, workflow, limits)) as rig:
            await rig.run(sizes.warm_up, "warm-up")
            cpu_s = time.process_time()
            elapsed_s = await rig.run(sizes.at_once, "timed")
            cpu_s = time.process_time() - cpu_s
            await rig.check(completed=sizes.warm_up + sizes.at_once)
    return elapsed_s, cpu_s


BENCHMARK = Benchmark("steps", "Throughput: {at_once:,} executions at once", run)
