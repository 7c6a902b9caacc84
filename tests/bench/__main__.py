"""Measures sagad: throughput, latency, intake and recovery, beside the raw limit of the log, in one run.

    python -m tests.bench [--store sqlite|postgres|both] [--short] [--runs N] [--only NAME ...] [--json FILE]

Services are found as tests find them: `deploy/services start && source <(deploy/services env)`. Figures mean something
on a quiet machine only; the first lines say how busy it was. Runs are interleaved, so that what disturbs the machine
for a while hits all benchmarks alike. `--short` only shows that everything works.
"""

from __future__ import annotations

import argparse
import asyncio
import os
import shlex
import sys
import tempfile
import time
from concurrent.futures import ProcessPoolExecutor
from multiprocessing import get_context
from pathlib import Path
from typing import TYPE_CHECKING

from rich.console import Console

from daemon.cli.serving import _loop_factory
from daemon.runtime import logs
from daemon.settings import Logging
from eventstore.store import without_password
from tests.bench import append, first_step, intake, latency, machine, recovery, steps
from tests.bench.figures import SHORT, Bench, Sizes
from tests.bench.report import Report

if TYPE_CHECKING:
    from collections.abc import Coroutine, Sequence
    from typing import Any, TypeVar

    from tests.bench.figures import Benchmark, Figure, StoreKind

    T = TypeVar("T")

RUNS = 5
BENCHMARKS: Sequence[Benchmark] = (
    append.BENCHMARK,
    steps.BENCHMARK,
    latency.BENCHMARK,
    first_step.IN_PROCESS,
    first_step.KAFKA,
    intake.KAFKA,
    intake.RABBITMQ,
    recovery.BENCHMARK,
)


def measure(benchmark: Benchmark, bench: Bench) -> Sequence[Figure]:
    """Measure once, in a process of its own: what the runs before have left in memory slows this one down."""
    with ProcessPoolExecutor(1, mp_context=get_context("fork")) as process:
        return process.submit(_measured, benchmark, bench).result()


def _measured(benchmark: Benchmark, bench: Bench) -> Sequence[Figure]:
    return run(benchmark.run(bench))


def run(work: Coroutine[Any, Any, T]) -> T:
    """Run in an event loop of its own, of the kind that `sagad run` uses."""
    with asyncio.Runner(loop_factory=_loop_factory()) as runner:
        return runner.run(work)


def main() -> None:
    """Measure and print."""
    arguments = _arguments()
    console = Console(width=None if sys.stdout.isatty() else 140)
    logs.configure(Logging(level="warning", format="console"))
    sizes = SHORT if arguments.short else Sizes()
    report = Report(shlex.join(["python", "-m", "tests.bench", *map(without_password, sys.argv[1:])]), sizes)
    stores: list[StoreKind] = ["sqlite", "postgres"] if arguments.store == "both" else [arguments.store]
    began = time.monotonic()
    with tempfile.TemporaryDirectory(prefix="sagad-bench-", dir=arguments.folder) as folder:
        benches = [_bench(arguments, store, sizes, Path(folder)) for store in stores]
        report.facts |= machine.facts(Path(folder))
        for bench in benches:
            facts = machine.postgres_facts if bench.store == "postgres" else machine.sqlite_facts
            report.facts |= run(facts(bench))
        _measure_all(arguments, benches, report)
    report.facts["took"] = f"{time.monotonic() - began:.0f} s, {arguments.runs} runs"
    report.show(console, stores)
    if arguments.json:
        report.save(arguments.json)


def _measure_all(arguments: argparse.Namespace, benches: Sequence[Bench], report: Report) -> None:
    chosen = [benchmark for benchmark in BENCHMARKS if benchmark.name in arguments.only]
    for benchmark in chosen:
        if missing := benches[0].missing(benchmark.needs):
            report.leave_out(benchmark, f"there is no {', '.join(missing)}; see --help")
    for number in range(arguments.runs):
        for benchmark in chosen:
            for bench in benches:
                if not bench.missing(benchmark.needs):
                    began = time.monotonic()
                    report.add(benchmark, bench.store, measure(benchmark, bench))
                    took = f"{benchmark.name} on {bench.store}, {time.monotonic() - began:.1f} s"
                    print(f"run {number + 1} of {arguments.runs}: {took}", file=sys.stderr)


def _bench(arguments: argparse.Namespace, store: StoreKind, sizes: Sizes, folder: Path) -> Bench:
    return Bench(
        store=store,
        sizes=sizes,
        folder=folder,
        postgres=arguments.postgres,
        kafka=arguments.kafka,
        rabbitmq=arguments.rabbitmq,
    )


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    names = [benchmark.name for benchmark in BENCHMARKS]
    parser.add_argument("--store", choices=["sqlite", "postgres", "both"], default="both")
    parser.add_argument("--short", action="store_true", help="one run of little work")
    parser.add_argument("--runs", type=int, help=f"{RUNS}, or 1 with --short")
    parser.add_argument("--only", nargs="+", choices=names, default=names, metavar="NAME", help=", ".join(names))
    parser.add_argument("--json", type=Path, metavar="FILE", help="write every value too")
    parser.add_argument("--folder", type=Path, help="where SQLite files go: on the disk that is to be measured")
    services = parser.add_argument_group("services, by default those that the tests use")
    services.add_argument("--postgres", metavar="URL", default=os.environ.get("SAGAD_TEST_POSTGRES_URL"))
    kafka = None if os.environ.get("SAGAD_TEST_KAFKA_KIND") == "mock" else os.environ.get("SAGAD_TEST_KAFKA_BOOTSTRAP")
    services.add_argument("--kafka", metavar="HOST:PORT", default=kafka)
    services.add_argument("--rabbitmq", metavar="URL", default=os.environ.get("SAGAD_TEST_RABBITMQ_URL"))
    arguments = parser.parse_args()
    arguments.runs = arguments.runs or (1 if arguments.short else RUNS)
    if arguments.store != "sqlite" and not arguments.postgres:
        parser.error("there is no Postgres: give --postgres or SAGAD_TEST_POSTGRES_URL, or --store sqlite")
    return arguments


if __name__ == "__main__":
    main()
