"""Very many executions that wait: what they cost the daemon in memory, and those who start, signal and restart.

Half of them wait for a signal, half for a timer in 30 days. The daemon is a process of its own (`sleepers_process`),
run once on a store without sleepers and once with; the difference is what they cost.
"""

from __future__ import annotations

import asyncio
import json
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

from tests.bench.figures import Bench, Benchmark, Figure, WrongOutcomeError
from tests.bench.rig import SHIPPED, settings_of, started
from tests.bench.scale.clones import multiply
from tests.bench.scale.templates import SLEEPERS
from tests.bench.scale.usage import rows_scanned
from tests.bench.workflows import NAME

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from uuid import UUID

ROOT = Path(__file__).parents[3]


async def run(bench: Bench) -> Sequence[Figure]:
    """Measure without sleepers, then with."""
    count = bench.sizes.sleepers
    with bench.fresh_store() as url:
        models = await sleep(bench, url)
        alone = await _process(bench, url, [])
        ids = multiply(url, models, count)
        scanned = rows_scanned(url)
        beside = await _process(bench, url, ids[-bench.sizes.at_once :])
        scanned = rows_scanned(url) - scanned
    figures = [
        Figure("start of the daemon, without sleepers", alone["start_s"], "s"),
        Figure("start of the daemon, with", beside["start_s"], "s"),
        Figure("memory for a sleeper after the start", _each(alone, beside, "started", count), "bytes"),
        Figure("memory for a sleeper after work", _each(alone, beside, "worked", count), "bytes"),
        Figure("executions started, without", alone["started_rate"], "/s"),
        Figure("executions started, with", beside["started_rate"], "/s"),
        Figure("sleepers woken by a signal and finished", beside["woken_rate"], "/s"),
    ]
    if bench.store == "postgres":
        figures.append(Figure("rows read by whole-table scans meanwhile, for a sleeper", scanned / count, ""))
    return figures


async def sleep(bench: Bench, url: str) -> Sequence[UUID]:
    """Make the definition known, run one that waits for a timer and one that waits for a signal; return both."""
    settings = settings_of(url, bench.folder, SLEEPERS, SHIPPED)
    async with started(settings) as rig:
        ids = [(await rig.daemon.intake.start(NAME, {"n": n}, actor="bench"))[0] for n in (1, 2)]
        await rig.idle()
        await rig.check(running=2)
    return ids


def _each(alone: Mapping[str, Any], beside: Mapping[str, Any], when: str, count: int) -> float:
    more: int = beside[f"{when}_bytes"] - alone[f"{when}_bytes"]
    return max(0.0, more / count)


async def _process(bench: Bench, url: str, wake: Sequence[UUID]) -> Mapping[str, Any]:
    ids = bench.folder / "wake.json"
    ids.write_text(json.dumps([str(each) for each in wake]))
    process = await asyncio.create_subprocess_exec(
        sys.executable, "-m", "tests.bench.scale.sleepers_process",
        url, str(bench.folder), str(ids), str(bench.sizes.at_once),
        cwd=ROOT, stdout=asyncio.subprocess.PIPE,
    )  # fmt: skip
    told, _ = await process.communicate()
    if process.returncode:
        raise WrongOutcomeError(f"the daemon with sleepers ended with {process.returncode}")
    outcome: Mapping[str, Any] = json.loads(told)
    return outcome


TITLE = "{sleepers:,} executions that wait for signals and timers"
BENCHMARK = Benchmark("sleepers", TITLE, run, named_only=True)
