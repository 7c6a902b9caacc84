"""A daemon with nothing to do: its share of a core, how often it wakes, what it asks of the database.

It has executions that wait. Transactions are counted by the server, and told when connections close; so there is a run
without an idle time before, whose start and stop are taken off.
"""

from __future__ import annotations

import asyncio
import time
from typing import TYPE_CHECKING, NamedTuple

from tests.bench.figures import Bench, Benchmark, Figure
from tests.bench.rig import SHIPPED, settings_of, started
from tests.bench.scale.clones import multiply
from tests.bench.scale.sleepers import sleep
from tests.bench.scale.templates import SLEEPERS
from tests.bench.scale.usage import Spent, spending, transactions, wakeups

if TYPE_CHECKING:
    from collections.abc import Sequence

SETTLE_S = 1.0
"""From the start until it counts as idle."""


async def run(bench: Bench) -> Sequence[Figure]:
    """Measure."""
    with bench.fresh_store() as url:
        multiply(url, await sleep(bench, url), bench.sizes.at_once)
        at_start = await _idle(bench, url, 0.0)
        found = await _idle(bench, url, bench.sizes.idle_s)
    figures = [
        Figure("share of a core, the daemon", found.spent.daemon_s / found.elapsed_s * 100, "%"),
        Figure("wake-ups of the daemon", found.wakeups / found.elapsed_s, "/s"),
    ]
    if bench.store == "postgres":
        asked = max(0, found.transactions - at_start.transactions)
        figures += [
            Figure("share of a core, the database's backends", found.spent.server_s / found.elapsed_s * 100, "%"),
            Figure("transactions", asked / found.elapsed_s, "/s"),
        ]
    return figures


class _Idle(NamedTuple):
    """What a daemon has done, of its own accord; transactions from its start to its end."""

    elapsed_s: float
    spent: Spent
    wakeups: int
    transactions: int


async def _idle(bench: Bench, url: str, duration_s: float) -> _Idle:
    before = transactions(url)
    async with started(settings_of(url, bench.folder, SLEEPERS, SHIPPED)):
        await asyncio.sleep(min(SETTLE_S, bench.sizes.idle_s))
        slept, began = wakeups(), time.perf_counter()
        with spending(url) as spent:
            await asyncio.sleep(duration_s)
        slept, elapsed_s = wakeups() - slept, time.perf_counter() - began
    return _Idle(elapsed_s, spent, slept, transactions(url) - before)


BENCHMARK = Benchmark("idle", "A daemon with nothing to do, for {idle_s:g} s", run, named_only=True)
