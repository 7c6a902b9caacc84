"""Memory after very many executions have gone through one daemon: it should not depend on how many."""

from __future__ import annotations

import gc
from typing import TYPE_CHECKING

from tests.bench.figures import Bench, Benchmark, Figure
from tests.bench.rig import WIDE, settings_of, started
from tests.bench.scale.usage import resident_bytes
from tests.bench.workflows import chain

if TYPE_CHECKING:
    from collections.abc import Sequence

STEPS = 2
ROUNDS = 10
SETTLED = 2
"""Rounds after which caches, pools and the allocator have what they want."""


async def run(bench: Bench) -> Sequence[Figure]:
    """Measure."""
    at_once = bench.sizes.at_once
    repeats = max(1, bench.sizes.through // ROUNDS // at_once)
    resident = []
    with bench.fresh_store() as url:
        async with started(settings_of(url, bench.folder, chain(STEPS), WIDE)) as rig:
            for number in range(ROUNDS):
                for repeat in range(repeats):
                    await rig.run(at_once, f"{number}-{repeat}")
                gc.collect()
                resident.append(resident_bytes())
            await rig.check(completed=ROUNDS * repeats * at_once)
    settled, last = resident[SETTLED - 1], resident[-1]
    return [
        Figure(f"after {SETTLED * repeats * at_once:,} executions", settled / 2**20, "MiB"),
        Figure(f"after {ROUNDS * repeats * at_once:,} executions", last / 2**20, "MiB"),
        Figure("kept for an execution", max(0, last - settled) / ((ROUNDS - SETTLED) * repeats * at_once), "bytes"),
    ]


BENCHMARK = Benchmark("memory", "Memory after {through:,} executions of 2 steps", run, named_only=True)
