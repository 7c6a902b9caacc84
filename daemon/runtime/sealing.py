"""Whose data the events of an append hold, as their states tell: by that they are sealed.

Comes from: `engine`. Goes to: eventstore/sealed_log.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from daemon.core.errors import Misconfigured
from daemon.core.events import ExecutionForked
from daemon.core.problems import Problem
from daemon.core.state import NotStarted
from daemon.core.subjects import check_there
from eventstore.log import Sealing

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence
    from uuid import UUID

    from daemon.core.events import Event
    from daemon.core.plan import Plan
    from daemon.core.state import State


def sealing_of(execution_id: UUID, before: State, events: Sequence[Event], after: State) -> Sealing | None:
    """Return whose data the events hold that lead from one state to the other; None for nobody's in particular.

    What comes before the start has a key of its own: whose it is will be known then. Raises SubjectForgotten when the
    values were readable once: nothing can be added to them.
    """
    if isinstance(after, NotStarted):
        return Sealing("", execution_id if before.version else None)
    if not after.subject:
        return None
    check_there(after)
    if not isinstance(before, NotStarted):
        return Sealing(after.subject, execution_id)
    forked = events[0]
    return Sealing(after.subject, forked.source if isinstance(forked, ExecutionForked) else None)


def check_keys(plans: Iterable[Plan], *, there: bool) -> None:
    """Raise Misconfigured when workflows say whose data they hold, and there are no keys to seal that with."""
    if there:
        return
    hint = "set `keys` in [encryption]: `openssl rand -base64 32` makes one; keep it outside of the database"
    found = [plan.definition.workflow for plan in plans if plan.start.subject is not None]
    if found:
        raise Misconfigured(
            [
                Problem(message=f"{name} has a `subject`, and nothing to seal its values with", hint=hint)
                for name in found
            ]
        )
