"""Crash-point enumeration: each story again and again, dying each time at another point, must end as if nothing was.

    python -m tests.faults.crash_points [--pairs N|all] [--store memory|sqlite|postgres]... [--story NAME]... [--seed N]

An uninterrupted run counts the points: before and after each append, before, in and after each handler call, publish
and HTTP request, before and after each acknowledgement. Then each point in turn is where the process dies, and at each
append also where the store's answer is lost, whether or not it wrote. With `--pairs` the next process dies as well, at
N of its points or at all. Afterwards state, log and side effects are compared. The short form is `test_crash_points`;
the long one takes minutes with all pairs on memory, and hours on Postgres, which needs SAGAD_TEST_POSTGRES_URL.
"""

from __future__ import annotations

import argparse
import asyncio
import logging
import random
import sys
import tempfile
import time
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING

import structlog

from tests.faults.crash_bench import Bench, stores, witness_service
from tests.faults.crash_outcomes import Outcome, differences
from tests.faults.crash_stories_waiting import ALL
from tests.support.crash_world import Fault

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence


def faults_of(points: Sequence[str]) -> Iterator[Fault]:
    """Give all faults that the points of one life allow."""
    for at, name in enumerate(points, 1):
        yield Fault(at)
        if name.startswith("append"):
            yield Fault(at, "lost")


@dataclass
class Tally:
    """What an enumeration has done and found."""

    runs: int = 0
    missed: int = 0
    """Runs that ended before their fault: what runs in threads is not batched alike each time."""
    violations: list[str] = field(default_factory=list)


async def enumerate_points(bench: Bench, tally: Tally, *, share: float, pairs: int | None, dice: random.Random) -> None:
    """Try a share of all single faults, each of them followed by so many second ones (None: by all)."""
    story = bench.story
    expected = await bench.run()
    assert expected.refused == story.refused
    every = list(faults_of(expected.lives[0]))
    for first in [fault for fault in every if dice.random() < share] or [dice.choice(every)]:
        after = await _try(bench, tally, expected, first)
        if first.kind == "lost" or after is None or len(after.lives) < 2:
            continue
        seconds = list(faults_of(after.lives[1]))
        for second in seconds if pairs is None else dice.sample(seconds, min(pairs, len(seconds))):
            await _try(bench, tally, expected, first, second)


async def _try(bench: Bench, tally: Tally, expected: Outcome, *faults: Fault) -> Outcome | None:
    tally.runs += 1
    crashes = sum(fault.kind == "crash" for fault in faults)
    named = f"{bench.story} with {', '.join(f'{fault.kind} at {fault.at}' for fault in faults)}"
    try:
        got = await bench.run(*faults)
    except AssertionError as error:
        tally.violations.append(f"{named}: {error}")
        return None
    tally.missed += not got.reached
    where = [passed[fault.at - 1] for passed, fault in zip(got.lives, faults, strict=False) if len(passed) >= fault.at]
    tally.violations += [f"{named} {where}: {wrong}" for wrong in differences(bench.story, expected, got, crashes)]
    return got


async def _run(arguments: argparse.Namespace) -> int:
    violations = 0
    with tempfile.TemporaryDirectory() as name, witness_service() as url:
        folder = Path(name)
        for kind in arguments.store or ["memory", "sqlite", "postgres"]:
            with stores(kind, folder) as new_url:
                for story in ALL:
                    if arguments.story and story.name not in arguments.story:
                        continue
                    dice, tally, began = random.Random(arguments.seed), Tally(), time.monotonic()  # noqa: S311  a plan of faults
                    pairs = None if arguments.pairs == "all" else int(arguments.pairs)
                    bench = Bench(story, folder, url, new_url)
                    await enumerate_points(bench, tally, share=arguments.share, pairs=pairs, dice=dice)
                    took = time.monotonic() - began
                    line = f"{kind:<9} {story.name:<14} {tally.runs:>6} runs, {tally.missed} missed, {took:6.1f} s"
                    sys.stdout.write(f"{line}, violations: {len(tally.violations)}\n")
                    sys.stdout.writelines(f"  {violation}\n" for violation in tally.violations)
                    sys.stdout.flush()
                    violations += len(tally.violations)
    return 1 if violations else 0


def main() -> int:
    """Read the arguments, run, return the exit code: 1 when anything was violated."""
    parser = argparse.ArgumentParser(description="Crash at every point of every story.")
    parser.add_argument("--pairs", default="0", help="second crashes after each first one: a number, or all")
    parser.add_argument("--store", action="append", choices=["memory", "sqlite", "postgres"])
    parser.add_argument("--story", action="append", choices=[story.name for story in ALL])
    parser.add_argument("--share", type=float, default=1.0, help="share of the first faults that is tried")
    parser.add_argument("--seed", type=int, default=1)
    structlog.configure(wrapper_class=structlog.make_filtering_bound_logger(logging.CRITICAL))
    return asyncio.run(_run(parser.parse_args()))


if __name__ == "__main__":
    sys.exit(main())
