"""Python's garbage collector, set for a process that holds much and makes few cycles.

At its defaults it looked at everything again and again: on two cores, more than half of the cost of a step. What is
there after the start stays, so it is frozen; and the next looks come later.
"""

from __future__ import annotations

import gc
from contextlib import contextmanager
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterator

BETWEEN_LOOKS = 50_000
"""New objects before the youngest are looked at; Python's own is 700 to 2,000."""


def calm_garbage_collector() -> None:
    """Call once, when the daemon runs. It is a setting of the whole process, so whoever owns the process calls it."""
    gc.collect()
    gc.freeze()
    gc.set_threshold(BETWEEN_LOOKS, 10, 10)


def _take_for_old() -> None:
    """Have the collector count all there is among the oldest, at no cost: the next look at the young ones is short."""
    gc.freeze()
    gc.unfreeze()


@contextmanager
def collector_paused() -> Iterator[None]:
    """Have nothing collected during the block: for work that makes very much, all of which stays.

    A definition of 10,000 nodes is half a million objects; looking at them again and again took more than half of the
    time that it took to read it. Blocks may be in each other, and in several threads at once.
    """
    paused = gc.isenabled()
    aside = gc.get_freeze_count()
    gc.disable()
    try:
        yield
    finally:
        if paused:
            if aside == 0:
                _take_for_old()
            gc.enable()
