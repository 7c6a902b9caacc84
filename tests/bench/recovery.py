"""Recovery: a daemon is killed (SIGKILL) half-way through its executions; another process takes them up.

Both are processes of their own (`victim`), so the time from the start of the second includes Python's imports.
"""

from __future__ import annotations

import asyncio
import json
import signal
import sys
import time
from pathlib import Path
from typing import TYPE_CHECKING

from tests.bench.figures import Bench, Benchmark, Figure, WrongOutcomeError

if TYPE_CHECKING:
    from collections.abc import Sequence

ROOT = Path(__file__).parents[2]
OPEN_TO_FINISHED = "from opening the store to all finished"


async def run(bench: Bench) -> Sequence[Figure]:
    """Measure once."""
    with bench.fresh_store() as url:
        killed, _ = await _process("begin", url, bench.folder, bench.sizes.at_once)
        if killed != -signal.SIGKILL:
            raise WrongOutcomeError(f"the process that was to be killed ended with {killed}")
        began = time.monotonic()
        ended, told = await _process("recover", url, bench.folder, bench.sizes.at_once)
        if ended:
            raise WrongOutcomeError(f"the process that was to recover ended with {ended}")
    outcome = json.loads(told)
    return [
        Figure("in flight at the kill", outcome["in_flight"], ""),
        Figure(OPEN_TO_FINISHED, outcome["open_to_finished_s"], "s"),
        Figure("from the start of the process to all finished", outcome["finished_at"] - began, "s"),
    ]


async def _process(*arguments: object) -> tuple[int | None, bytes]:
    """Run the victim's program; return how it ended and what it printed."""
    process = await asyncio.create_subprocess_exec(
        sys.executable, "-m", "tests.bench.victim", *map(str, arguments), cwd=ROOT, stdout=asyncio.subprocess.PIPE
    )
    told, _ = await process.communicate()
    return process.returncode, told


BENCHMARK = Benchmark("recovery", "Recovery after kill -9: {at_once:,} executions of 10 steps, half done", run)
