"""The events of an execution with the states around them; of a fork, those of its source before.

Comes from: daemon/cli. Goes to: daemon/core/evolve, `session`.
"""

from __future__ import annotations

from itertools import chain
from typing import TYPE_CHECKING

from daemon.core.errors import ExecutionNotFound, Rejected
from daemon.core.events import Event, ExecutionForked, ExecutionMigrated, ExecutionRewound, ExecutionStarted
from daemon.core.evolve import evolve, fold
from daemon.core.state import INITIAL
from daemon.debugger.moments import Taken

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping, Sequence
    from uuid import UUID

    from daemon.core.plan import Plan
    from daemon.core.state import State
    from daemon.runtime.history import History
    from daemon.runtime.plans import Plans

PINNING = (ExecutionStarted, ExecutionForked, ExecutionMigrated)
"""Events that say which definition an execution follows from then on."""


async def recording(
    history: History, plans: Plans, execution_id: UUID, *, up_to_version: int | None = None
) -> Iterator[Taken]:
    """Give all that was recorded, also what a rewind has left behind. Many events take a while to fold: in a thread.

    Raises ExecutionNotFound, Undecodable, or Rejected for one that has not started or whose definition is missing.
    """
    own = [each.event for each in await history.events(execution_id, up_to_version=up_to_version)]
    if not own:
        raise await history.missing(execution_id)
    first = first_of(execution_id, own)
    before: Iterable[Taken] = ()
    base = INITIAL
    if isinstance(first, ExecutionForked):
        before = await recording(history, plans, first.source, up_to_version=first.at_version)
        base = await history.load(first.source, up_to_version=first.at_version)
    pinned = {each: await plans.pinned(each) for each in definitions_in(own)}
    return chain(before, taken_of(own, pinned, base))


async def recorded_events(
    history: History, execution_id: UUID, *, up_to_version: int | None = None
) -> Sequence[tuple[int, Event]]:
    """Return the events with their versions, of a fork those of its source before. Raises as `recording`."""
    own = await history.events(execution_id, up_to_version=up_to_version)
    if not own:
        raise await history.missing(execution_id)
    first = first_of(execution_id, [each.event for each in own])
    before: Sequence[tuple[int, Event]] = ()
    if isinstance(first, ExecutionForked):
        before = await recorded_events(history, first.source, up_to_version=first.at_version)
    return [*before, *((each.version, each.event) for each in own)]


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
    return [each.definition for each in own if isinstance(each, PINNING)]


def taken_of(own: Sequence[Event], plans: Mapping[str, Plan], base: State) -> Iterator[Taken]:
    """Give the events with the states around them; `plans` has all of `definitions_in`, by hash."""
    plan, state = plans[definitions_in(own)[0]], base
    for at, event in enumerate(own):
        if isinstance(event, ExecutionMigrated):
            plan = plans[event.definition]
        before = state
        state = fold(own[: at + 1], base) if isinstance(event, ExecutionRewound) else evolve(state, event)
        yield Taken(plan, event, before, state)


def following(last: Taken, events: Iterable[Event]) -> Iterator[Taken]:
    """Give the events that follow one, under the same plan and without a rewind."""
    state = last.after
    for event in events:
        before, state = state, evolve(state, event)
        yield Taken(last.plan, event, before, state)
