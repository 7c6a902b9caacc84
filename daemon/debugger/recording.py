"""The decisions of an execution as its log tells them; of a fork, those of its source before.

Comes from: daemon/cli. Goes to: daemon/core/redeciding, `session`.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from daemon.core.errors import ExecutionNotFound, Rejected
from daemon.core.events import ExecutionForked, ExecutionMigrated, ExecutionStarted
from daemon.core.redeciding import redecide
from daemon.core.state import INITIAL
from daemon.debugger.moments import Taken

if TYPE_CHECKING:
    from collections.abc import Sequence
    from uuid import UUID

    from daemon.runtime.history import History
    from daemon.runtime.plans import Plans


async def recording(
    history: History, plans: Plans, execution_id: UUID, *, up_to_version: int | None = None
) -> Sequence[Taken]:
    """Return all that was decided, also what a rewind has left behind.

    Raises ExecutionNotFound, Undecodable, or Rejected for one that has not started or whose definition is missing.
    """
    own = [each.event for each in await history.events(execution_id, up_to_version=up_to_version)]
    if not own:
        raise ExecutionNotFound(execution_id)
    first = next((each for each in own if isinstance(each, ExecutionStarted | ExecutionForked)), None)
    if first is None:
        raise Rejected("the execution has not started")
    before: Sequence[Taken] = ()
    base = INITIAL
    if isinstance(first, ExecutionForked):
        before = await recording(history, plans, first.source, up_to_version=first.at_version)
        base = await history.load(first.source, up_to_version=first.at_version)
    plan = await plans.pinned(first.definition)
    later = {
        each.definition: await plans.pinned(each.definition) for each in own if isinstance(each, ExecutionMigrated)
    }
    taken: list[Taken] = []
    for decision in redecide(plan, own, base, later):
        if isinstance(migrated := decision.events[0], ExecutionMigrated):
            plan = later[migrated.definition]
        taken.append(Taken(plan, decision))
    return [*before, *taken]
