"""Python's garbage collector, set for a process that holds much and makes few cycles.

At its defaults it looked at everything again and again: on two cores, more than half of the cost of a step. What is
there after the start stays, so it is frozen; and the next looks come later.
"""

from __future__ import annotations

import gc

BETWEEN_LOOKS = 50_000
"""New objects before the youngest are looked at; Python's own is 700 to 2,000."""


def calm_garbage_collector() -> None:
    """Call once, when the daemon runs. It is a setting of the whole process, so whoever owns the process calls it."""
    gc.collect()
    gc.freeze()
    gc.set_threshold(BETWEEN_LOOKS, 10, 10)
