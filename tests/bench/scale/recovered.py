"""Recovery by numbers: ten times as many in flight at the kill should take ten times as long, and no more.

As `recovery`, with other numbers. The time is from opening the store to all finished.
"""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

from tests.bench import recovery
from tests.bench.figures import Bench, Benchmark, Figure

if TYPE_CHECKING:
    from collections.abc import Sequence


async def run(bench: Bench) -> Sequence[Figure]:
    """Measure with few, then with many."""
    figures, each_s = [], []
    for count in bench.sizes.recovered:
        for figure in await recovery.run(replace(bench, sizes=replace(bench.sizes, at_once=count))):
            figures.append(figure._replace(name=f"{count:,}: {figure.name}"))
            if figure.name == recovery.OPEN_TO_FINISHED:
                each_s.append(figure.value / count)
    return [*figures, Figure("time for an execution: with many by with few", each_s[-1] / each_s[0], "times")]


TITLE = "Recovery after kill -9 by numbers: executions of 10 steps, half done"
BENCHMARK = Benchmark("recovery10k", TITLE, run, named_only=True)
