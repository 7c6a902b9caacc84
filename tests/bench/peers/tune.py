"""Looks for a peer's best tuning: its figure with each knob that the catalogue lists, beside the best known.

    python -m tests.bench.peers.tune dbos [--executions 300] [--rounds 3] [--latency | --recovery] [--postgres URL]

Rounds are interleaved, so that what disturbs the machine for a while hits all knobs alike.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import os
import statistics
import sys
import tempfile
from collections import defaultdict
from pathlib import Path
from typing import TYPE_CHECKING, Any

from tests.bench.figures import Bench, Sizes, WrongOutcomeError
from tests.bench.peers import driver
from tests.bench.peers.catalogue import PEERS
from tests.bench.peers.environments import default_folder, install

if TYPE_CHECKING:
    from collections.abc import Mapping

    from tests.bench.peers.catalogue import Peer

KNOWN = "the best known"


def main() -> None:
    """Try all knobs and print them, the best first."""
    arguments = _arguments()
    peer = next(peer for peer in PEERS if peer.name == arguments.peer)
    python = install(peer, arguments.peers_folder)
    work = "latency" if arguments.latency else "recovery" if arguments.recovery else "steps"
    best = {"latency": peer.latency_best, "recovery": peer.recovery_best}.get(work) or peer.best
    knobs = {KNOWN: best, "as shipped": peer.shipped}
    knobs |= {json.dumps(tried): {**best, **tried} for tried in peer.tried}
    found: defaultdict[str, list[float]] = defaultdict(list)
    with tempfile.TemporaryDirectory() as folder:
        bench = Bench(
            store="postgres",
            sizes=Sizes(at_once=arguments.executions),
            folder=Path(folder),
            postgres=arguments.postgres,
        )
        for _ in range(arguments.rounds):
            for name, tuning in knobs.items():
                value = asyncio.run(_measure(peer, python, tuning, bench, work))
                found[name].append(value)
                print(f"{value:12,.1f}  {name}", file=sys.stderr)
    unit = "steps/s" if work == "steps" else "ms at p50" if work == "latency" else "s"
    for name, values in sorted(found.items(), key=lambda item: statistics.median(item[1]), reverse=work == "steps"):
        print(f"{statistics.median(values):12,.1f} {unit} ({min(values):,.1f} .. {max(values):,.1f})  {name}")


async def _measure(peer: Peer, python: Path, tuning: Mapping[str, Any], bench: Bench, work: str) -> float:
    """Measure one thing once; a knob with which the engine fails gives not-a-number."""
    try:
        match work:
            case "latency":
                return (await driver.latency(peer, python, tuning, bench, driver.LOW_RATE))[0].value
            case "recovery":
                return (await driver.recovery(peer, python, tuning, bench))[-1].value
            case _:
                return (await driver.throughput(peer, python, tuning, bench, driver.STEPS))[0].value
    except WrongOutcomeError as error:
        print(error, file=sys.stderr)
        return float("nan")


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("peer", choices=[peer.name for peer in PEERS])
    parser.add_argument("--executions", type=int, default=300)
    parser.add_argument("--rounds", type=int, default=3)
    what = parser.add_mutually_exclusive_group()
    what.add_argument("--latency", action="store_true", help=f"of 3 steps at {driver.LOW_RATE}/s instead of steps/s")
    what.add_argument("--recovery", action="store_true", help="seconds to finish after a kill instead of steps/s")
    parser.add_argument("--postgres", metavar="URL", default=os.environ.get("SAGAD_TEST_POSTGRES_URL"))
    parser.add_argument("--peers-folder", type=Path, default=default_folder())
    return parser.parse_args()


if __name__ == "__main__":
    main()
