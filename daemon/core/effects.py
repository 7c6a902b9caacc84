"""What the shell owes: from new events (`effects`), or from a state that was loaded (`owed`).

The two agree: `owed` after any prefix of a history is what `effects` asked for in that prefix and was not yet answered.
So going on after a crash is nothing special.

Comes from: daemon/runtime/engine. Goes to: daemon/runtime/steps, daemon/runtime/timers.
"""

from __future__ import annotations

from datetime import datetime
from typing import TYPE_CHECKING
from uuid import UUID

from msgspec import Struct

from daemon.core import events as e
from daemon.core.address import turn_around, turn_of
from daemon.core.child_events import Parent
from daemon.core.people import Resumption
from daemon.core.state import Finished, InFlight, Leaving, Running, State
from daemon.core.step_error import StepError
from daemon.core.templates import SecretSlot
from daemon.core.values import NULL, Json

if TYPE_CHECKING:
    from collections.abc import Sequence


class RunStep(Struct, frozen=True, gc=False):
    """Run the node's handler with this input.

    Answer with `CompleteStep`, `PostponeStep`, `SuspendStep` or `FailStep`.
    """

    address: str
    attempt: int
    input: Json
    secrets: tuple[SecretSlot, ...]
    since: datetime
    state: Json = NULL
    """What the last attempt that was postponed has left for this one."""
    cache_key: str = ""
    """Where its result may be in the node's cache; empty for nowhere."""
    resumed: Resumption | None = None
    """The input that it goes on with, which must match what it expects."""


class ArmTimer(Struct, frozen=True, gc=False):
    """See that `FireTimer` comes at `due`."""

    timer_id: str
    due: datetime


class Advance(Struct, frozen=True, gc=False):
    """A durable function can go on: answer with `AdvanceFunction`, or `StopFunction`."""

    address: str
    """Of its journal."""
    number: int


class CancelSteps(Struct, frozen=True, gc=False):
    """A turn was given up: cancel what still runs in it."""

    turn: str


class RetainSteps(Struct, frozen=True, gc=False):
    """The execution is being undone: cancel what runs for it and is not in flight any more."""


class CancelChild(Struct, frozen=True, gc=False):
    """Have an execution end that a step has started; answer with `FinishChild` for one that never began."""

    address: str
    attempt: int
    child: UUID
    undo: bool
    reason: str


class TellParent(Struct, frozen=True, gc=False):
    """The execution has ended: bring `FinishChild` to the step that waits for it."""

    parent: Parent
    workflow: str
    definition: str
    status: str
    output: Json
    error: StepError | None
    owes: bool
    ended_at: datetime


class GoBack(Struct, frozen=True, gc=False):
    """All is undone that was done since the version: the shell is to send `FinishRewind`."""

    to_version: int
    again: bool
    """Whether the decision that followed is to be made again."""


class StopSteps(Struct, frozen=True, gc=False):
    """The execution has ended: cancel what still runs for it, tell who waits for it, forget it."""


Effect = RunStep | ArmTimer | Advance | CancelSteps | RetainSteps | CancelChild | TellParent | GoBack | StopSteps


def effects(state: State, events: Sequence[e.Event]) -> tuple[Effect, ...]:
    """Return what the events ask for; `state` is the one after them."""
    if isinstance(state, Finished):
        return (StopSteps(), *owed(state))
    if any(isinstance(event, _BRANCHES) for event in events):
        return (RetainSteps(), *owed(state))
    owed_now: list[Effect] = []
    for event in events:
        match event:
            case e.StepStarted() if (step := _in_flight(state, event.address)) is not None:
                owed_now.append(_run(event.address, step))
            case e.TimerSet() if isinstance(state, Running) and event.timer_id in state.timers:
                owed_now.append(ArmTimer(event.timer_id, event.due))
            case e.TurnFailed() | e.TurnAbandoned():
                owed_now.append(CancelSteps(event.address))
            case e.UndoPlanned():
                owed_now.append(RetainSteps())
            case e.ChildCancelRequested() if isinstance(state, Running) and event.child in state.leaving:
                owed_now.append(_cancel(event.child, state.leaving[event.child]))
            case e.FunctionAdvanced() if event.cancelled:
                owed_now.append(RetainSteps())
            case e.UndoCompleted() if isinstance(state, Running):
                owed_now += _go_back(state)
            case _:
                pass
    if isinstance(state, Running) and state.advancing:
        told = {_journal(event) for event in events}
        owed_now += (each for each in _advances(state) if each.address in told or _ALL in told)
    return tuple(owed_now)


_ALL = "*"
_BRANCHES = (e.ExecutionForked, e.ExecutionRewound)


def _journal(event: e.Event) -> str:
    """Return the journal of the function that the event may let go on; `_ALL` for any of them."""
    match event:
        case e.FunctionStarted():
            return turn_of(event.address, 0)
        case e.FunctionAdvanced():
            return event.address
        case e.StepSucceeded() | e.StepFailed():
            return turn_around(event.address)
        case e.ExecutionResumed():
            return _ALL
        case _:
            return ""


def owed(state: State) -> tuple[Effect, ...]:
    """Return all that the shell owes to an execution in this state, in a fixed order."""
    if isinstance(state, Finished) and state.parent is not None:
        return (tell(state, state.parent),)
    if not isinstance(state, Running):
        return ()
    steps = ((address, _in_flight(state, address)) for address in sorted(state.in_flight))
    runs = tuple(_run(address, step) for address, step in steps if step is not None)
    timers = tuple(ArmTimer(timer_id, timer.due) for timer_id, timer in sorted(state.timers.items()))
    cancels = tuple(_cancel(child, leaving) for child, leaving in sorted(state.leaving.items()))
    return (*runs, *timers, *cancels, *_advances(state), *_go_back(state))


def _go_back(state: Running) -> tuple[Effect, ...]:
    rewinding = state.rewinding
    return (GoBack(rewinding.to_version, rewinding.again),) if rewinding is not None and rewinding.ready else ()


def _advances(state: Running) -> list[Advance]:
    return [Advance(address, number) for address, number in sorted(state.advancing.items())]


def _in_flight(state: State, address: str) -> InFlight | None:
    step = state.steps.get(address) if isinstance(state, Running) else None
    return step if isinstance(step, InFlight) else None


def _cancel(child: UUID, leaving: Leaving) -> CancelChild:
    return CancelChild(leaving.address, leaving.attempt, child, leaving.undo, leaving.reason)


def tell(state: Finished, parent: Parent) -> TellParent:
    """Return how the execution has ended, for this step."""
    error = state.error
    if state.status == "cancelled":
        error = StepError(state.reason, "cancelled")
    return TellParent(
        parent,
        state.workflow,
        state.definition,
        state.status,
        state.output,
        error,
        owes=bool(state.newest_owed),
        ended_at=state.finished_at,
    )


def _run(address: str, step: InFlight) -> RunStep:
    return RunStep(
        address, step.attempt, step.input, step.secrets, step.since, step.state, step.cache_key, step.resumed
    )
