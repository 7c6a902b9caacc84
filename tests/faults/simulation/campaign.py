"""Many schedules, in several processes, and what they came to."""

from __future__ import annotations

import time
from collections import Counter
from concurrent.futures import ProcessPoolExecutor
from multiprocessing import get_context
from typing import TYPE_CHECKING

from tests.faults.simulation.run import Outcome, simulate

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator

BLOCK = 25
"""Seeds that a process takes at a time."""
MOST_SHOWN = 12
"""Problems of one seed that are shown."""


class Total:
    """What many schedules came to."""

    def __init__(self, say: Callable[[str], object]) -> None:
        """`say` is given lines for people."""
        self._say = say
        self._begun = time.perf_counter()
        self.failed: list[int] = []
        self.struck: Counter[str] = Counter()
        self.schedules = self.steps = self.events = 0
        self.cpu_s = self.virtual_s = 0.0

    def add(self, outcome: Outcome, cpu_s: float) -> None:
        """Count one, and tell what is wrong with it."""
        self.schedules += 1
        self.steps += outcome.steps
        self.events += outcome.events
        self.virtual_s += outcome.virtual_s
        self.cpu_s += cpu_s
        self.struck.update(outcome.struck)
        if outcome.problems:
            self.failed.append(outcome.seed)
            tell(outcome, self._say)

    def tell(self) -> None:
        """Tell the figures."""
        seconds = time.perf_counter() - self._begun
        rate, cpu_rate = (60 * self.schedules / max(each, 0.001) for each in (seconds, self.cpu_s))
        self._say(
            f"{self.schedules:,} schedules in {seconds:.0f} s: {rate:,.0f} a minute, {cpu_rate:,.0f} a minute of one "
            f"core's time; {self.steps:,} steps, {self.events:,} events, {self.virtual_s / 3600:,.1f} virtual hours"
        )
        self._say("what befell them: " + ", ".join(f"{kind} {count:,}" for kind, count in sorted(self.struck.items())))
        self._say(f"failing seeds: {self.failed or 'none'}")


def outcomes(seeds: range, processes: int) -> Iterator[tuple[Outcome, float]]:
    """Give the outcome of each seed in order, and the seconds of CPU that it took."""
    blocks = [seeds[start : start + BLOCK] for start in range(0, len(seeds), BLOCK)]
    if processes == 1:
        yield from (each for block in blocks for each in _all_of(block))
        return
    with ProcessPoolExecutor(processes, mp_context=get_context("spawn")) as pool:
        for done in pool.map(_all_of, blocks):
            yield from done


def tell(outcome: Outcome, say: Callable[[str], object]) -> None:
    """Tell what is wrong with one schedule, and how to see it again."""
    say(f"seed {outcome.seed}: python -m tests.faults.simulation --seed {outcome.seed} --trace")
    for problem in outcome.problems[:MOST_SHOWN]:
        say(f"  - {problem}")
    if len(outcome.problems) > MOST_SHOWN:
        say(f"  … and {len(outcome.problems) - MOST_SHOWN} more")


def _all_of(seeds: Iterable[int]) -> list[tuple[Outcome, float]]:
    done = []
    for seed in seeds:
        begun = time.process_time()
        outcome = simulate(seed)
        done.append((outcome, time.process_time() - begun))
    return done
