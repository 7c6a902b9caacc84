"""Runs benchmarks as daemons run: in new processes, in the event loop of `sagad run`.

Comes from: `__main__`. Goes to: each benchmark.
"""

from __future__ import annotations

import asyncio
from concurrent.futures import ProcessPoolExecutor
from multiprocessing import get_context
from typing import TYPE_CHECKING

from daemon.cli.serving import _loop_factory
from daemon.runtime import logs
from daemon.settings import Logging

if TYPE_CHECKING:
    from collections.abc import Coroutine, Sequence
    from typing import Any, TypeVar

    from tests.bench.figures import Bench, Benchmark, Figure

    T = TypeVar("T")


def measure(benchmark: Benchmark, bench: Bench) -> Sequence[Figure]:
    """Measure once, in a new process, as a daemon is: whatever a forked one touches first has to be copied."""
    with ProcessPoolExecutor(1, mp_context=get_context("spawn")) as process:
        return process.submit(_measured, benchmark, bench).result()


def _measured(benchmark: Benchmark, bench: Bench) -> Sequence[Figure]:
    logs.configure(Logging(level="warning", format="console"))
    return run(benchmark.run(bench))


def run(work: Coroutine[Any, Any, T]) -> T:
    """Run in an event loop of its own, of the kind that `sagad run` uses."""
    with asyncio.Runner(loop_factory=_loop_factory()) as runner:
        return runner.run(work)
