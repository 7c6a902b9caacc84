"""What a step costs as things grow: executions in the store, steps in one execution, branches side by side.

Processor time of the daemon and of its connections' backends in Postgres, not elapsed time: it hardly depends on what
else the machine does. The figures to look at are the ratios.
"""

from __future__ import annotations

import statistics
import time
from contextlib import AsyncExitStack
from typing import TYPE_CHECKING

from tests.bench.figures import Bench, Benchmark, Figure
from tests.bench.rig import WIDE, settings_of, started
from tests.bench.scale.clones import multiply
from tests.bench.scale.templates import wide
from tests.bench.scale.usage import spending
from tests.bench.workflows import chain

if TYPE_CHECKING:
    from collections.abc import Sequence

    from tests.bench.rig import Rig

STEPS = 10


async def run_store(bench: Bench) -> Sequence[Figure]:
    """Measure on a store with a few executions and on one with very many, in turn."""
    few, many = bench.sizes.stored
    costs: dict[int, list[float]] = {few: [], many: []}
    async with AsyncExitStack() as stack:
        rigs: dict[int, tuple[str, Rig]] = {}
        for stored in (few, many):
            url = stack.enter_context(bench.fresh_store())
            settings = settings_of(url, bench.folder, chain(STEPS), WIDE)
            async with started(settings) as rig:
                model = await rig.start("model")
                await rig.idle()
            multiply(url, [model], stored)
            rigs[stored] = url, await stack.enter_async_context(started(settings))
            await rigs[stored][1].run(bench.sizes.at_once, "warm-up")
        for number in range(bench.sizes.rounds):
            for stored, (url, rig) in rigs.items():
                with spending(url) as spent:
                    await rig.run(bench.sizes.at_once, f"timed-{number}")
                costs[stored].append((spent.daemon_s + spent.server_s) / bench.sizes.at_once / STEPS)
        for stored, (_, rig) in rigs.items():
            await rig.check(completed=1 + stored + (1 + bench.sizes.rounds) * bench.sizes.at_once)
    return _growth({f"with {stored:,} executions in the store": statistics.median(costs[stored]) for stored in costs})


async def run_steps(bench: Bench) -> Sequence[Figure]:
    """Measure executions of more and more steps, one at a time, so many that all have equally many together."""
    costs, compiled = {}, []
    for steps in bench.sizes.steps_in_one:
        name, times = f"in an execution of {steps:,} steps", bench.sizes.steps_in_one[-1] // steps
        costs[name], compile_s = await _measure(bench, chain(steps), steps, [1] * times)
        compiled.append(Figure(f"start of the daemon with a definition of {steps:,} steps", compile_s, "s"))
    return [*_growth(costs), *compiled]


async def run_width(bench: Bench) -> Sequence[Figure]:
    """Measure executions with more and more branches, joined; as many at once as make equally many steps."""
    costs = {}
    for width in bench.sizes.widths:
        name, times = f"with {width:,} branches joined", bench.sizes.widths[-1] // width
        costs[name], _ = await _measure(bench, wide(width), width, [times])
    return _growth(costs)


async def _measure(bench: Bench, workflow: str, steps: int, rounds: Sequence[int]) -> tuple[float, float]:
    """Return seconds of processor time a step, and seconds that it took to start with the definition.

    Each round runs so many executions at once.
    """
    with bench.fresh_store() as url:
        began = time.perf_counter()
        async with started(settings_of(url, bench.folder, workflow, WIDE)) as rig:
            compile_s = time.perf_counter() - began
            with spending(url) as spent:
                for number, count in enumerate(rounds):
                    await rig.run(count, f"timed-{number}")
            await rig.check(completed=sum(rounds))
    return (spent.daemon_s + spent.server_s) / steps / sum(rounds), compile_s


def _growth(costs: dict[str, float]) -> list[Figure]:
    """Return the costs, and how much more the last is than the first."""
    figures = [Figure(f"a step {name}", cost * 1e6, "µs") for name, cost in costs.items()]
    first, *_, last = costs.values()
    return [*figures, Figure("the last by the first", last / first, "times")]


STORE = Benchmark("growth", "Growth: cost of a step by executions in the store", run_store, named_only=True)
STEPS_IN_ONE = Benchmark("growth-steps", "Growth: cost of a step by steps in the execution", run_steps, named_only=True)
WIDTH = Benchmark("growth-width", "Growth: cost of a step by branches side by side", run_width, named_only=True)
