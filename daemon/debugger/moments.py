"""Where a debugger can stop in an execution: at the beginnings and failures of its steps, its start and its end. Pure.

One decision may begin many steps and settle those that need no handler, so a moment is a place inside a decision: after
one of its events. Its state is what the fold of the events gives there: nothing is decided or evaluated again.

Comes from: `recording`, `local`. Goes to: `session`.
"""

from __future__ import annotations

from datetime import datetime  # noqa: TC003  msgspec reads it

from msgspec import Struct

from daemon.core import events as e
from daemon.core.address import turn_around
from daemon.core.plan import Plan
from daemon.core.state import NotStarted, Queued, Running, State
from daemon.core.values import Json  # noqa: TC001

_STARTS = {
    e.ExecutionStarted: "starts",
    e.ExecutionForked: "is forked",
    e.ExecutionRewound: "is rewound",
    e.ExecutionMigrated: "is migrated",
}
_ENDS = {e.ExecutionCompleted: "completes", e.ExecutionFailed: "fails", e.ExecutionCancelled: "is cancelled"}
_NO_BEGIN = (e.StepQueued, e.SlotsAsked, e.SlotsTaken, e.StepSkipped, e.BreakpointLeft)
"""By these a step is first heard of, but does nothing yet, or never will."""
_AT_ONCE = (e.StepSucceeded, e.StepCached)


class Taken(Struct, frozen=True):
    """One event that was recorded, the plan that it followed, and the states around it."""

    plan: Plan
    event: e.Event
    before: State
    after: State


class Moment(Struct, frozen=True):
    """A place where a debugger can stop: just after `event`."""

    number: int
    """Of its event among all, from 0."""
    version: int
    """The execution's: of a fork's source, before the fork."""
    address: str
    """Of the step; empty for the execution."""
    what: str
    """`begins` | `settles` | `fails` | `is held` | `is edited` for a step; for the execution what becomes of it."""
    event: e.Event
    state: State
    context: Running
    """The state that templates see: before the end, where the execution has ended."""
    plan: Plan

    @property
    def at(self) -> datetime:
        """When it was recorded."""
        return self.event.at

    @property
    def depth(self) -> int:
        """How many turns of loops and fan-outs stand around it."""
        return turn_around(self.address).count("[")

    @property
    def error(self) -> e.StepError | None:
        """What has failed here."""
        return self.event.error if isinstance(self.event, e.StepFailed | e.ExecutionFailed | e.BreakpointHit) else None

    @property
    def final(self) -> bool:
        """Whether no other attempt follows a failure."""
        return not isinstance(self.event, e.StepFailed) or self.event.retry_at is None


def moment(number: int, taken: Taken) -> Moment | None:
    """Return the moment just after an event, which is the one with the number among all; None where nobody stops."""
    address, what = _said(taken.event, taken.before, taken.after)
    context = taken.after if isinstance(taken.after, Running) else taken.before
    if not what or not isinstance(context, Running):
        return None
    return Moment(number, taken.after.version, address, what, taken.event, taken.after, context, taken.plan)


def output_in(event: e.Event, address: str) -> Json | None:
    """Return what an event tells that the step has given; None when it does not."""
    given: Json | None = getattr(event, "output", None) if getattr(event, "address", None) == address else None
    return given


def is_moment(taken: Taken) -> bool:
    """Tell whether there is a moment just after the event."""
    return moment(0, taken) is not None


def _said(event: e.Event, before: State, after: State) -> tuple[str, str]:
    """Return the step and what becomes of it; nothing where nobody would stop."""
    if (what := _STARTS.get(type(event)) or _ENDS.get(type(event))) is not None:
        return "", what
    address: str = getattr(event, "address", "")
    if not address or address.endswith("]"):
        return "", ""
    if isinstance(event, e.StepFailed):
        return address, "fails"
    if isinstance(event, e.BreakpointHit):
        return address, "is held"
    if isinstance(event, e.BreakpointEdited):
        return address, "is edited"
    if isinstance(event, e.StepStarted) or (not isinstance(event, _NO_BEGIN) and _new(address, before, after)):
        return address, "settles" if isinstance(event, _AT_ONCE) else "begins"
    return "", ""


def _new(address: str, before: State, after: State) -> bool:
    there = not isinstance(before, NotStarted) and not isinstance(before.steps.get(address), (Queued, type(None)))
    return not there and not isinstance(after, NotStarted) and address in after.steps
