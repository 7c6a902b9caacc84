"""The commands of whoever debugs an execution, as its log records them.

Comes from: `recorded_commands`. Goes to: `commands`.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from daemon.core import commands as c
from daemon.core import events as e

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping, Sequence


def _set(_: object, first: e.BreakpointsSet, __: object) -> Iterator[c.Command]:
    yield c.SetBreakpoints(breakpoints=first.breakpoints, next=first.next, actor=first.actor, at=first.at)


def _left(_: object, first: e.BreakpointLeft, __: object) -> Iterator[c.Command]:
    yield c.LeaveBreakpoint(
        stop=first.stop, how=first.how, output=first.output, port=first.port, actor=first.actor, at=first.at
    )


def _edited(_: object, first: e.BreakpointEdited, __: object) -> Iterator[c.Command]:
    yield c.EditAtBreakpoint(
        stop=first.stop,
        address="" if first.stop else first.address,
        variables=first.variables,
        input=first.input,
        actor=first.actor,
        at=first.at,
    )


def held_failure(first: e.StepQueued, events: Sequence[e.Event]) -> Iterator[c.Command]:
    """Read the failure of an attempt that is held: it was not to be tried again."""
    hit = events[1] if len(events) > 1 else None
    if isinstance(hit, e.BreakpointHit) and hit.error is not None and hit.address == first.address:
        yield c.FailStep(
            address=hit.address, attempt=hit.attempt, error=hit.error, retryable=False, jitter=0.0, at=first.at
        )


def failure_in(events: Sequence[e.Event]) -> e.StepFailed | e.BreakpointHit | None:
    """Return the event that says with what a step has failed, if the first of these do: at once, or held."""
    at = 1 if events and isinstance(events[0], e.StepQueued) else 0
    found = events[at] if at < len(events) else None
    return found if isinstance(found, e.StepFailed | e.BreakpointHit) else None


OF_BREAKS: Mapping[type[e.Event], Callable[[Any, Any, Sequence[e.Event]], Iterator[c.Command]]] = {
    e.BreakpointsSet: _set,
    e.BreakpointLeft: _left,
    e.BreakpointEdited: _edited,
}
