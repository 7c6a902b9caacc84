"""Chaos: real daemons on real servers, which are killed, paused, cut off and starved while orders flow.

    python -m tests.faults.chaos --minutes 60 --daemons 3 --seed 7
    python -m tests.faults.chaos --minutes 10 --store sqlite

Orders come by Kafka, RabbitMQ, webhook and API, a fifth twice, some signals before their order, some poison. Each goes
through retries, branches, a timer, a signal, a loop, a fan-out of subflows, a limit, a group that undoes itself, a
durable function, slow and failing handlers, HTTP and publishing; a fifth is found broken at the end, and is undone.
Servers are private (started by deploy/services), each behind a proxy. Daemons are killed, stopped, paused, given wrong
clocks; servers are killed, and cut off; sessions of Postgres are ended, its connections used up, its disk is slow, or
full, as far as it says so (files that cannot grow, and SQLite's disk: tests/faults/test_disk.py). The same seed makes
the same messages and the same schedule of faults; which daemon is asked or harmed depends on which are there. At the
end: peace, rest, and tests/faults/checker over everything. The last lines are the summary; the folder keeps the
timeline, the ledger, the witness and the daemons' logs. Exit code 0 when nothing was lost, else 1.
"""

from __future__ import annotations

import argparse
import asyncio
import random
import signal
import sys
import tempfile
from pathlib import Path

from tests.faults.chaos.faults import KINDS
from tests.faults.chaos.run import SHOWN, Options, Outcome, run


def main() -> int:
    """Run and print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--minutes", type=float, default=5.0, help="of load and faults; the rest comes on top")
    parser.add_argument("--daemons", type=int, default=1)
    parser.add_argument("--seed", type=int, help="by default a new one; it is printed")
    parser.add_argument("--store", choices=["postgres", "sqlite"], default="postgres")
    parser.add_argument("--rate", type=float, default=8.0, help="orders a second")
    parser.add_argument("--every", type=float, default=4.0, metavar="S", help="between two faults, on average")
    parser.add_argument("--harm", type=float, default=4.0, metavar="S", help="about how long a fault lasts")
    parser.add_argument("--settle", type=float, default=180.0, metavar="S", help="longest way to rest")
    parser.add_argument("--skew", type=float, default=20.0, metavar="S", help="how wrong a clock may be")
    parser.add_argument("--ttl", type=float, default=10.0, metavar="S", help="of the daemons' leases")
    parser.add_argument("--without", nargs="+", choices=["kafka", "rabbitmq"], default=[], help="brokers to leave out")
    parser.add_argument("--only", nargs="+", choices=list(KINDS), metavar="FAULT", help=", ".join(KINDS))
    parser.add_argument("--folder", type=Path, help="new; by default a temporary one, which is kept")
    parser.add_argument("--quiet", action="store_true", help="print the summary only")
    options, folder = _options(parser)
    signal.signal(signal.SIGINT, signal.default_int_handler)  # a shell lets its background jobs ignore it
    outcome = asyncio.run(run(options))
    show(outcome, folder)
    return 0 if outcome.sound else 1


def _options(parser: argparse.ArgumentParser) -> tuple[Options, Path]:
    arguments = parser.parse_args()
    if arguments.store == "sqlite" and arguments.daemons != 1:
        parser.error("several daemons need Postgres")
    folder = arguments.folder or Path(tempfile.mkdtemp(prefix="sagad-chaos-"))
    folder.mkdir(parents=True, exist_ok=True)
    options = Options(
        folder=folder.absolute(),
        seed=random.SystemRandom().randrange(10_000) if arguments.seed is None else arguments.seed,
        load_s=arguments.minutes * 60,
        daemons=arguments.daemons,
        store=arguments.store,
        rate=arguments.rate,
        every_s=arguments.every,
        harm_s=arguments.harm,
        skew_s=arguments.skew,
        settle_s=arguments.settle,
        ttl_s=arguments.ttl,
        kafka="kafka" not in arguments.without,
        rabbitmq="rabbitmq" not in arguments.without,
        kinds=tuple(arguments.only) if arguments.only else None,
        quiet=arguments.quiet,
    )
    return options, folder


def show(outcome: Outcome, folder: Path) -> None:
    """Print what came of it."""
    lines = [*map(str, outcome.report.shown), *outcome.problems[:SHOWN], str(outcome), f"kept in {folder}"]
    (folder / "summary.txt").write_text("\n".join([*lines, ""]))
    sys.stdout.writelines(f"{line}\n" for line in lines)


if __name__ == "__main__":
    sys.exit(main())
