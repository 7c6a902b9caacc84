"""Children that are asked to end, because the step that has started them is given up.

Comes from: `children`, `saga`. Goes to: `draft`.
"""

from __future__ import annotations

from typing import TYPE_CHECKING
from uuid import UUID, uuid5

from daemon.core import events as e
from daemon.core.state import InFlight

if TYPE_CHECKING:
    from daemon.core.draft import Draft
    from daemon.core.node import Subflow

TOO_LATE = "it has taken too long"
"""Reason of a child's end when its step has a timeout."""


def child_id_of(execution_id: UUID, address: str, attempt: int, key: str = "") -> UUID:
    """Return the id of the execution that an attempt of a step starts; `key` is that of `Running.keys`, if any."""
    return uuid5(execution_id, f"{address}/{attempt}/{key}" if key else f"{address}/{attempt}")


def leave(draft: Draft, address: str, reason: str) -> None:
    """Ask the child of a step at work to end, unless that was done, or it is to go on by itself."""
    how, step = subflow_at(draft, address), draft.running.steps[address]
    if not isinstance(step, InFlight):
        raise TypeError(f"{address} waits for no child")
    running = draft.running
    child = step.child or child_id_of(running.execution_id, address, step.attempt, running.keys.get(address, ""))
    if how.on_close == "abandon" or child in draft.running.leaving:
        return
    draft.emit(
        e.ChildCancelRequested(
            address=address,
            attempt=step.attempt,
            child=child,
            undo=how.on_close == "cancel",
            reason=reason,
            at=draft.at,
        )
    )


def subflow_at(draft: Draft, address: str) -> Subflow:
    """Return how the step's node stands to the execution that it starts. TypeError for one that starts none."""
    how = draft.node(address).subflow
    if how is None:
        raise TypeError(f"{address} starts no execution")
    return how
