"""Several daemons, each a process, on one Postgres: what two do together against what one does alone, of the same work.

Each starts its part of the executions itself and runs them: nothing but the store is between them. From the first start
of any to the last end of any. With the daemons' own processor time, and how busy the whole machine was meanwhile, the
database server included: what is left over is waiting.
"""

from __future__ import annotations

import asyncio
import json
import sys
from pathlib import Path
from typing import TYPE_CHECKING

import psutil

from daemon.runtime.codec import codec_of
from daemon.settings import Settings, Store
from eventstore.store import open_store
from tests.bench.figures import Bench, Benchmark, Figure, WrongOutcomeError
from tests.bench.peers.driver import STEPS

if TYPE_CHECKING:
    from collections.abc import Sequence

ROOT = Path(__file__).parents[2]
TOGETHER = (1, 2)


async def run(bench: Bench) -> Sequence[Figure]:
    """Measure one daemon, then two, on fresh databases."""
    figures: list[Figure] = []
    rates: list[float] = []
    for daemons in TOGETHER:
        elapsed_s, cpu_s, busy = await _measure(bench, daemons)
        count = bench.sizes.at_once * STEPS
        rates.append(count / elapsed_s)
        named = f"{daemons} daemon{'s' * (daemons > 1)}"
        figures += [
            Figure(f"durable steps, {named}", rates[-1], "/s"),
            Figure(f"processor time, {named}", cpu_s / count * 1e6, "µs/step"),
            Figure(f"machine busy, {named}", 100 * busy, "%"),
        ]
    return [*figures, Figure("two against one", rates[-1] / rates[0], "times")]


async def _measure(bench: Bench, daemons: int) -> tuple[float, float, float]:
    """Return elapsed seconds, the daemons' seconds of processor time, and the share of all cores that was busy."""
    each, warm_up = bench.sizes.at_once // daemons, max(1, bench.sizes.warm_up // daemons)
    with bench.fresh_store() as url:
        workers = []
        for number in range(daemons):  # one after the other: the first one migrates
            folder = bench.folder / f"daemon-{number}"
            folder.mkdir(exist_ok=True)
            workers.append(await _worker(url, folder, number, each, warm_up))
        before = psutil.cpu_times()
        outcomes = [json.loads(outcome) for outcome in await asyncio.gather(*map(_go, workers))]
        after = psutil.cpu_times()
        await _check(url, daemons * (each + warm_up))
    used = sum(after) - sum(before)
    idle = after.idle - before.idle + after.iowait - before.iowait
    elapsed_s = max(outcome["ended"] for outcome in outcomes) - min(outcome["began"] for outcome in outcomes)
    return elapsed_s, sum(outcome["cpu_s"] for outcome in outcomes), 1 - idle / used if used else 0.0


async def _check(url: str, count: int) -> None:
    """Raise unless the store has so many completed executions and no others."""
    store = await open_store(url, codec_of(Settings(store=Store(url=url))))
    try:
        counts = await store.index.counts()
    finally:
        await store.close()
    if {status: number for (_, status), number in counts.items()} != {"completed": count}:
        raise WrongOutcomeError(f"the store has {counts}, expected {count} completed")


async def _worker(url: str, folder: Path, *arguments: int) -> asyncio.subprocess.Process:
    """Start one; return when it is ready."""
    process = await asyncio.create_subprocess_exec(
        sys.executable,
        "-m",
        "tests.bench.daemon_worker",
        url,
        str(folder),
        *map(str, arguments),
        cwd=ROOT,
        stdin=asyncio.subprocess.PIPE,
        stdout=asyncio.subprocess.PIPE,
    )
    assert process.stdout is not None
    if await process.stdout.readline() != b"ready\n":
        raise WrongOutcomeError(f"a daemon ended with {await process.wait()} before its work")
    return process


async def _go(process: asyncio.subprocess.Process) -> bytes:
    told, _ = await process.communicate(b"go\n")
    if process.returncode:
        raise WrongOutcomeError(f"a daemon ended with {process.returncode}")
    return told


BENCHMARK = Benchmark(
    "daemons", "Two daemons on one Postgres: {at_once:,} executions of 10 steps", run, stores=("postgres",)
)
