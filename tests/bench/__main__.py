"""Measures sagad: throughput, latency, intake and recovery, beside its peers and the raw limits, in one run.

    python -m tests.bench [--store sqlite|postgres|both] [--short] [--runs N] [--all | --only NAME ...]
                          [--peers NAME ...] [--json FILE] [--markdown FILE]

Services are found as tests find them: `deploy/services start && source <(deploy/services env)`. Figures mean something
on a quiet machine only; the first lines say how busy it was. Runs are interleaved, so that what disturbs the machine
for a while hits all benchmarks alike. `--short` only shows that everything works. Peers are installed into environments
of their own, once (`tests.bench.peers`); one that cannot be had is named in the report, with the reason.
"""

from __future__ import annotations

import argparse
import os
import shlex
import sys
import tempfile
import time
from pathlib import Path
from typing import TYPE_CHECKING

from rich.console import Console

from eventstore.store import without_password
from tests.bench import (
    append,
    budget,
    daemons,
    first_step,
    intake,
    latency,
    machine,
    ordering,
    recovery,
    steps,
    validate,
)
from tests.bench.figures import SHORT, Bench, Sizes
from tests.bench.peers import preparation, prototype
from tests.bench.peers.catalogue import PEERS
from tests.bench.peers.comparison import SAGAD, Comparison
from tests.bench.peers.environments import default_folder
from tests.bench.processes import measure, run
from tests.bench.report import Report
from tests.bench.scale import cold, growth, idle, long, memory, past, recovered, sleepers, timers

if TYPE_CHECKING:
    from collections.abc import Sequence
    from typing import TypeVar

    from tests.bench.figures import Benchmark, StoreKind

    T = TypeVar("T")

RUNS = 5
BENCHMARKS: Sequence[Benchmark] = (
    append.BENCHMARK,
    ordering.BENCHMARK,
    budget.BENCHMARK,
    validate.BENCHMARK,
    steps.BENCHMARK,
    latency.BENCHMARK,
    first_step.IN_PROCESS,
    first_step.KAFKA,
    intake.KAFKA,
    intake.RABBITMQ,
    recovery.BENCHMARK,
    daemons.BENCHMARK,
    prototype.BENCHMARK,
    recovered.BENCHMARK,
    sleepers.BENCHMARK,
    timers.BENCHMARK,
    growth.STORE,
    growth.STEPS_IN_ONE,
    growth.WIDTH,
    long.BENCHMARK,
    cold.BENCHMARK,
    past.BENCHMARK,
    idle.BENCHMARK,
    memory.BENCHMARK,
)


def main() -> None:
    """Measure and print."""
    arguments = _arguments()
    console = Console(width=None if sys.stdout.isatty() else 140)
    sizes = SHORT if arguments.short else Sizes()
    report = Report(shlex.join(["python", "-m", "tests.bench", *map(without_password, sys.argv[1:])]), sizes)
    stores: list[StoreKind] = ["sqlite", "postgres"] if arguments.store == "both" else [arguments.store]
    others = preparation.prepare(arguments.peers, arguments.peers_folder)
    report.left_out |= others.left_out
    comparison = Comparison()
    began = time.monotonic()
    with tempfile.TemporaryDirectory(prefix="sagad-bench-", dir=arguments.folder) as folder:
        benches = [_bench(arguments, store, sizes, Path(folder)) for store in stores]
        report.facts |= machine.facts(Path(folder))
        for bench in benches:
            facts = machine.postgres_facts if bench.store == "postgres" else machine.sqlite_facts
            report.facts |= run(facts(bench))
        chosen = [benchmark for benchmark in BENCHMARKS if benchmark.name in arguments.only]
        try:
            _measure_all([*chosen, *others.benchmarks], arguments.runs, benches, report, comparison)
        finally:  # an hour's figures outlive the one that failed
            report.facts["took"] = f"{time.monotonic() - began:.0f} s, {arguments.runs} runs"
            report.show(console, stores)
            if table := comparison.table():
                console.print(table)
            if arguments.json:
                report.save(arguments.json)
            if arguments.markdown:
                arguments.markdown.write_text(comparison.markdown())


def _measure_all(
    chosen: Sequence[Benchmark], runs: int, benches: Sequence[Bench], report: Report, comparison: Comparison
) -> None:
    for benchmark in chosen:
        if missing := benches[0].missing(benchmark.needs):
            report.leave_out(benchmark, f"there is no {', '.join(missing)}; see --help")
    failed: set[str] = set()
    for number in range(runs):
        for benchmark in chosen:
            for bench in benches:
                if bench.store not in benchmark.stores or bench.missing(benchmark.needs) or benchmark.name in failed:
                    continue
                began = time.monotonic()
                try:
                    figures = measure(benchmark, bench)
                except Exception as error:
                    if benchmark.contender == SAGAD:
                        raise
                    failed.add(benchmark.name)
                    report.leave_out(benchmark, f"run {number + 1} failed: {type(error).__name__}: {error}")
                    continue
                report.add(benchmark, bench.store, figures)
                comparison.add(benchmark, bench.store, figures)
                took = f"{benchmark.name} on {bench.store}, {time.monotonic() - began:.1f} s"
                print(f"run {number + 1} of {runs}: {took}", file=sys.stderr)


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
    usual = [benchmark.name for benchmark in BENCHMARKS if not benchmark.named_only]
    parser.add_argument("--store", choices=["sqlite", "postgres", "both"], default="both")
    parser.add_argument("--short", action="store_true", help="one run of little work")
    parser.add_argument("--runs", type=int, help=f"{RUNS}, or 1 with --short")
    what = parser.add_mutually_exclusive_group()
    what.add_argument("--only", nargs="+", choices=names, default=usual, metavar="NAME", help=", ".join(names))
    text = "those too that take minutes a run: " + ", ".join(name for name in names if name not in usual)
    what.add_argument("--all", dest="only", action="store_const", const=names, help=text)
    parser.add_argument("--json", type=Path, metavar="FILE", help="write every value too")
    parser.add_argument("--markdown", type=Path, metavar="FILE", help="write the comparison as a table of Markdown")
    parser.add_argument("--folder", type=Path, help="where SQLite files go: on the disk that is to be measured")
    peers = [peer.name for peer in PEERS]
    usually = ", ".join(preparation.USUAL)
    text = f"{', '.join(peers)}; none after a bare --peers; by default {usually}, or none with --only"
    parser.add_argument("--peers", nargs="*", choices=peers, metavar="NAME", help=text)
    text = f"where the peers' environments are kept, by default {default_folder()}"
    parser.add_argument("--peers-folder", type=Path, default=default_folder(), metavar="FOLDER", help=text)
    services = parser.add_argument_group("services, by default those that the tests use")
    services.add_argument("--postgres", metavar="URL", default=os.environ.get("SAGAD_TEST_POSTGRES_URL"))
    kafka = None if os.environ.get("SAGAD_TEST_KAFKA_KIND") == "mock" else os.environ.get("SAGAD_TEST_KAFKA_BOOTSTRAP")
    services.add_argument("--kafka", metavar="HOST:PORT", default=kafka)
    services.add_argument("--rabbitmq", metavar="URL", default=os.environ.get("SAGAD_TEST_RABBITMQ_URL"))
    arguments = parser.parse_args()
    if arguments.peers is None:
        arguments.peers = preparation.USUAL if arguments.only in (usual, names) and arguments.store != "sqlite" else ()
    arguments.runs = arguments.runs or (1 if arguments.short else RUNS)
    if arguments.store != "sqlite" and not arguments.postgres:
        parser.error("there is no Postgres: give --postgres or SAGAD_TEST_POSTGRES_URL, or --store sqlite")
    return arguments


if __name__ == "__main__":
    main()
