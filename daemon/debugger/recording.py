"""The decisions of an execution as its log tells them; of a fork, those of its source before.

Comes from: daemon/cli. Goes to: daemon/core/redeciding, `session`.
"""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

from daemon.core.errors import ExecutionNotFound, Rejected
from daemon.core.events import Event, ExecutionForked, ExecutionMigrated, ExecutionStarted
from daemon.core.redeciding import redecide
from daemon.core.state import INITIAL
from daemon.debugger.moments import Taken

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence
    from uuid import UUID

    from daemon.core.plan import Plan
    from daemon.core.state import State
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
        raise await history.missing(execution_id)
    first = first_of(execution_id, own)
    before: Sequence[Taken] = ()
    base = INITIAL
    if isinstance(first, ExecutionForked):
        before = await recording(history, plans, first.source, up_to_version=first.at_version)
        base = await history.load(first.source, up_to_version=first.at_version)
    pinned = {each: await plans.pinned(each) for each in definitions_in(own)}
    return [*before, *await asyncio.to_thread(list, taken_of(own, pinned, base))]  # so a daemon goes on meanwhile


def first_of(execution_id: UUID, own: Sequence[Event]) -> ExecutionStarted | ExecutionForked:
    """Return the event by which an execution has started. Raises ExecutionNotFound, or Rejected when it has not."""
    if not own:
        raise ExecutionNotFound(execution_id)
    first = next((each for each in own if isinstance(each, ExecutionStarted | ExecutionForked)), None)
    if first is None:
        raise Rejected("the execution has not started")
    return first


def definitions_in(own: Sequence[Event]) -> list[str]:
    """Return the hashes of the definitions that an execution was pinned to, the first of them first."""
    return [each.definition for each in own if isinstance(each, _PINNING)]


def taken_of(own: Sequence[Event], plans: Mapping[str, Plan], base: State) -> Iterator[Taken]:
    """Give the decisions that the events record; `plans` has all of `definitions_in`, by hash."""
    plan = plans[definitions_in(own)[0]]
    for decision in redecide(plan, own, base, plans):
        if isinstance(migrated := decision.events[0], ExecutionMigrated):
            plan = plans[migrated.definition]
        yield Taken(plan, decision)


_PINNING = (ExecutionStarted, ExecutionForked, ExecutionMigrated)
