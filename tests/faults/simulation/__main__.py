"""Runs simulated schedules, and names the seeds that fail.

    python -m tests.faults.simulation [--seeds N] [--start N] [--processes N]     many schedules, from a seed on
    python -m tests.faults.simulation --seed N [--trace]                          one schedule again, step for step
    python -m tests.faults.simulation --mutants [--seeds N]                       broken parts: each must be found

Needs no service. A seed gives the same schedule in every process and on every machine with the same Python and the same
code. The short form is `tests/faults/test_simulation.py`; an hour on two cores is some 50,000 seeds:
`--seeds 50000 --processes 2`. Exit code 1 when anything is wrong.
"""

from __future__ import annotations

import argparse
import os
import sys

from tests.faults.simulation.campaign import Total, outcomes, tell
from tests.faults.simulation.mutants import MUTANTS
from tests.faults.simulation.run import simulate


def main() -> int:
    """Run what the arguments ask for; return the exit code."""
    parser = argparse.ArgumentParser(prog="python -m tests.faults.simulation")
    parser.add_argument("--seeds", type=int, default=1000, help="how many")
    parser.add_argument("--start", type=int, default=0, help="the first")
    parser.add_argument("--processes", type=int, default=os.cpu_count() or 1)
    parser.add_argument("--seed", type=int, help="only this one")
    parser.add_argument("--trace", action="store_true", help="print what happens in it")
    parser.add_argument("--mutants", action="store_true", help="look for the broken parts in `mutants.py`")
    given = parser.parse_args()
    seeds = range(given.start, given.start + given.seeds)
    if given.mutants:
        return _find_mutants(seeds)
    if given.seed is not None:
        return _replay(given.seed, trace=given.trace)
    total = Total(_say)
    for outcome, cpu_s in outcomes(seeds, given.processes):
        total.add(outcome, cpu_s)
    total.tell()
    return 1 if total.failed else 0


def _replay(seed: int, *, trace: bool) -> int:
    outcome = simulate(seed, on_line=_say if trace else None)
    _say(str(outcome.profile))
    _say(f"{outcome.steps:,} steps, {outcome.events} events, {outcome.virtual_s:.1f} virtual s, {outcome.digest:016x}")
    if outcome.problems:
        tell(outcome, _say)
        return 1
    _say("nothing is wrong")
    return 0


def _find_mutants(seeds: range) -> int:
    missed = 0
    for name, mutation in MUTANTS.items():
        tried = (simulate(seed, mutate=mutation) for seed in seeds)
        found = next((outcome for outcome in tried if outcome.problems), None)
        missed += found is None
        told = "NOT FOUND" if found is None else f"seed {found.seed}: {found.problems[0][:100]}"
        _say(f"{name:45} {told}")
    return 1 if missed else 0


def _say(line: str) -> None:
    sys.stdout.write(f"{line}\n")
    sys.stdout.flush()


if __name__ == "__main__":
    sys.exit(main())
