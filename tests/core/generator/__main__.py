"""Draws definitions and executions, holds them to the laws, and names the numbers of those that break one.

    python -m tests.core.generator [--cases N] [--start N] [--processes N]     many cases, from a number on
    python -m tests.core.generator --case N                                    the smallest that breaks what N breaks

A number gives the same case in every process and on every machine with the same code. tests/core/test_generated.py
holds the first 1,000 to the laws. Exit code 1 when anything is wrong.
"""

from __future__ import annotations

import argparse
import sys
import time
from concurrent.futures import ProcessPoolExecutor
from multiprocessing import get_context

from tests.core.generator.trial import fault_of, outcome, smallest_like, story

TOLD_EVERY = 5_000


def main() -> int:
    """Run what the arguments ask for; return the exit code."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--cases", type=int, default=1_000, help="how many")
    parser.add_argument("--start", type=int, default=0, help="the first")
    parser.add_argument("--processes", type=int, default=1)
    parser.add_argument("--case", type=int, help="only this one, made smaller when it breaks a law")
    given = parser.parse_args()
    if given.case is not None:
        return _show(given.case)
    began, wrong, events = time.monotonic(), 0, 0
    numbers = range(given.start, given.start + given.cases)
    with ProcessPoolExecutor(given.processes, mp_context=get_context("spawn")) as pool:
        for done, (number, fault, count) in enumerate(pool.map(outcome, numbers, chunksize=50), start=1):
            events += count
            if fault is not None:
                wrong += 1
                _say(f"case {number}: {fault.law}: {fault.message[:200]}")
            if done % TOLD_EVERY == 0:
                _say(f"{done:,} cases, {wrong} wrong, {time.monotonic() - began:.0f} s")
    _say(f"{given.cases:,} cases, {events:,} events, {wrong} wrong, {time.monotonic() - began:.0f} s")
    return 1 if wrong else 0


def _show(number: int) -> int:
    found = smallest_like(number)
    for each in story(found):
        _say(each)
    fault = fault_of(found)
    _say("nothing is wrong" if fault is None else f"{fault.law}: {fault.message}")
    return 0 if fault is None else 1


def _say(text: str) -> None:
    sys.stdout.write(f"{text}\n")
    sys.stdout.flush()


if __name__ == "__main__":
    sys.exit(main())
