"""When a snapshot of an execution's state is worth its place.

Comes from: `engine`.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from daemon.core.state import Finished, Running

if TYPE_CHECKING:
    from daemon.core.plan import Plan
    from daemon.core.state import State

BYTES_AN_EVENT = 1_000
"""A large state is stored less often: so many bytes of snapshots are worth an event that need not be read again."""


def snapshot_due(plan: Plan | None, before: State, after: State) -> bool:
    """Tell whether the state after these events is to be stored."""
    every = plan.definition.snapshot_every if plan is not None else 0
    if isinstance(after, Running):
        every *= 1 + after.size // (every * BYTES_AN_EVENT) if every else 1
    return bool(every) and after.version // every > before.version // every and not isinstance(after, Finished)
