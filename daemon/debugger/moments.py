"""Where a debugger can stop in an execution: at the beginnings and failures of its steps, its start and its end. Pure.

One decision may begin many steps and settle those that need no handler, so a moment is a place inside a decision. Its
state is what the fold of the events gives there: nothing is evaluated again.

Comes from: `recording`, `local`. Goes to: `session`.
"""

from __future__ import annotations

from datetime import datetime  # noqa: TC003  msgspec reads it
from typing import TYPE_CHECKING

from msgspec import Struct

from daemon.core import events as e
from daemon.core.address import turn_around
from daemon.core.evolve import evolve
from daemon.core.plan import Plan
from daemon.core.redeciding import Redecided
from daemon.core.state import NotStarted, Queued, Running, State

if TYPE_CHECKING:
    from collections.abc import Iterator

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
    """One decision that was taken, and the plan that it followed."""

    plan: Plan
    decision: Redecided


class Moment(Struct, frozen=True):
    """A place where a debugger can stop: just after `event`."""

    number: int
    """Of its decision, from 0."""
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


def moments(number: int, taken: Taken) -> Iterator[Moment]:
    """Give the moments of one decision, in order; `number` is its place among all."""
    decision, state = taken.decision, taken.decision.before
    for index, event in enumerate(decision.events):
        before = state
        state = decision.after if index == len(decision.events) - 1 else evolve(state, event)
        address, what = _said(event, before, state)
        context = state if isinstance(state, Running) else before
        if what and isinstance(context, Running):
            yield Moment(number, state.version, address, what, event, state, context, taken.plan)


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
