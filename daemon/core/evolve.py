"""The fold: `evolve(state, event)` is what the state is after one more event.

Total over every event the log may hold, and dumb on purpose: no expression is evaluated, no plan is asked. What it
meets out of order is a damaged log or a bug, and raises `TypeError` or `KeyError`: the execution is then parked.

Comes from: `decide`, eventstore (at load). Goes to: `state`.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, assert_never

from msgspec.structs import replace

from daemon.core import events as e
from daemon.core.address import LOOKUP, UNDO
from daemon.core.evolve_branches import BRANCHES, forked, rewound, to_be_rewound
from daemon.core.evolve_breaks import BREAKS
from daemon.core.evolve_children import CHILDREN, reopened
from daemon.core.evolve_functions import FUNCTIONS, noted, resumed
from daemon.core.evolve_limits import LIMITS
from daemon.core.evolve_pages import PAGES
from daemon.core.evolve_people import PEOPLE
from daemon.core.evolve_saga import SAGA, compensated
from daemon.core.evolve_turns import TURNS, carried, left, put
from daemon.core.state import (
    INITIAL,
    Awaiting,
    Failed,
    Finished,
    InFlight,
    Limited,
    NotStarted,
    Paused,
    Queued,
    Retrying,
    Running,
    Signal,
    Skipped,
    Sleeping,
    State,
    Step,
    Succeeded,
    Timer,
)
from daemon.core.values import NULL, Json, size_of

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Mapping
    from datetime import datetime

    from daemon.core.events import StepError


def fold(history: Iterable[e.Event], state: State = INITIAL) -> State:
    """Evolve by each event in turn: the fold of `a + b` is the fold of `b` from the fold of `a`.

    The history of a fork follows the state of its source; one with a rewind begins before where that leads.
    """
    first, done = state, list[e.Event]()
    for event in history:
        state = _rewound(first, done, event) if isinstance(event, e.ExecutionRewound) else evolve(state, event)
        done.append(event)
    return state


def _rewound(first: State, done: list[e.Event], event: e.ExecutionRewound) -> State:
    """Return the state after a rewind; `done` are the events before it that follow the state `first`."""
    begins = 0 if done and isinstance(done[0], e.ExecutionForked) else first.version
    count = event.to_version - begins
    if count < 0:
        raise TypeError(f"rewound to version {event.to_version}, which is before all that is there")
    return rewound(fold(done[:count], first), done[count:], event, begins + len(done) + 1, evolve)


def evolve(state: State, event: e.Event) -> State:
    """Return the next state. Its version is one more."""
    match state:
        case Running() if isinstance(event, e.ExecutionForked):
            return forked(state, event)
        case Running():
            return _RUNNING[type(event)](state, event, state.version + 1)
        case NotStarted():
            return _not_started(state, event)
        case Finished() if isinstance(event, e.UndoRequested):
            return reopened(state, event.parent)
        case Finished() if isinstance(event, e.RewindRequested):
            return to_be_rewound(state, event)
        case Finished():
            raise TypeError(f"{event.NAME} after the execution has {state.status}")
        case _:
            assert_never(state)


def _not_started(state: NotStarted, event: e.Event) -> State:
    version = state.version + 1
    match event:
        case e.ExecutionStarted():
            return Running(
                version=version,
                execution_id=event.execution_id,
                workflow=event.workflow,
                definition=event.definition,
                input=event.input,
                trigger=event.trigger,
                trigger_name=event.trigger_name,
                dedupe_key=event.dedupe_key,
                traceparent=event.traceparent,
                parent=event.parent,
                subject=event.subject,
                started_at=event.at,
                signals=state.signals,
                seen=state.seen,
                size=size_of(event.input),
            )
        case e.SignalReceived():
            return NotStarted(
                version=version,
                signals=state.signals.set(event.signal_id, Signal(event.name, event.data, version)),
                seen=state.seen.set(event.signal_id, True),  # noqa: FBT003  a set, spelt as a map
            )
        case _:
            raise TypeError(f"{event.NAME} before the execution has started")


# What each event makes of a running execution; `version` is the event's.


def _step_started(state: Running, event: e.StepStarted, version: int) -> Running:
    address, before = event.address, state.steps.get(event.address)
    if event.attempt == 1:
        step = InFlight(event.attempt, event.input, event.secrets, event.at, began=version, cache_key=event.cache_key)
    elif isinstance(before, Retrying | Queued | Limited):
        step = InFlight(attempt=event.attempt, since=event.at, **carried(before))
    elif before is None and address.endswith(UNDO):
        step = InFlight(event.attempt, event.input, event.secrets, event.at, began=version)
    else:
        raise TypeError(
            f"attempt {event.attempt} of {address} starts, but no attempt before it failed or was postponed"
        )
    if before is not None:
        state = left(state, address, before)
    in_flight = state.in_flight.set(address, event.attempt)
    return replace(state, version=version, steps=put(state, address, before, step), in_flight=in_flight)


def _step_queued(state: Running, event: e.StepQueued, version: int) -> Running:
    address, before = event.address, state.steps.get(event.address)
    step = Queued(state.next_ticket, event.at, input=event.input, secrets=event.secrets)
    if isinstance(before, Retrying | Limited | InFlight):
        step = Queued(step.ticket, event.at, before.attempt, **carried(before))
    state = left(state, address, before)
    return replace(
        state,
        version=version,
        steps=put(state, address, before, step),
        queue=state.queue.set(state.next_ticket, address),
        next_ticket=state.next_ticket + 1,
    )


def _step_progressed(state: Running, event: e.StepProgressed, version: int) -> Running:
    at_work = state.steps[event.address]
    if not isinstance(at_work, InFlight):
        raise TypeError(f"{event.address} progresses but is not in flight")
    step = replace(at_work, progress=event.progress, progress_number=event.number)
    return replace(state, version=version, steps=state.steps.set(event.address, step))


def _step_succeeded(state: Running, event: e.StepSucceeded, version: int) -> Running:
    before = state.steps.get(event.address)
    state = left(state, event.address, before)
    step = Succeeded(event.output, event.port, event.attempt, version, event.at, to=event.to)
    steps = put(state, event.address, before, step)
    size = state.size + size_of(event.output)
    if event.address.endswith(UNDO) and not event.address.endswith(LOOKUP):
        state = compensated(state, event.address)
        return replace(state, version=version, steps=steps, size=state.size + size_of(event.output))
    if event.signal_id is None:
        return replace(state, version=version, steps=steps, size=size)
    return replace(state, version=version, steps=steps, size=size, signals=state.signals.delete(event.signal_id))


def _step_cached(state: Running, event: e.StepCached, version: int) -> Running:
    before = state.steps.get(event.address)
    state = left(state, event.address, before)
    step = Succeeded(event.output, event.port, event.attempt, version, event.at, to=event.to, cached=True)
    steps = put(state, event.address, before, step)
    return replace(state, version=version, steps=steps, size=state.size + size_of(event.output))


def _step_failed(state: Running, event: e.StepFailed, version: int) -> Running:
    before = state.steps.get(event.address)
    state = left(state, event.address, before)
    if event.retry_at is None:
        step: Step = Failed(event.error, event.port, event.output, version, event.at)
        steps = put(state, event.address, before, step)
        return replace(state, version=version, steps=steps, size=state.size + size_of(event.output))
    if not isinstance(before, InFlight | Queued):  # queued: held at a breakpoint
        raise TypeError(f"{event.address} is to be retried but was not in flight")
    doubted = replace(before, doubt=before.doubt or event.unknown)
    return _retrying(state, event, doubted, event.retry_at, version)


def _step_postponed(state: Running, event: e.StepPostponed, version: int) -> Running:
    before = state.steps.get(event.address)
    if not isinstance(before, InFlight):
        raise TypeError(f"{event.address} is postponed but was not in flight")
    asked = replace(before, state=event.state, postponed=before.postponed + 1)
    return _retrying(left(state, event.address, before), event, asked, event.due, version)


def _retrying(
    state: Running, event: e.StepFailed | e.StepPostponed, ended: InFlight | Queued, due: datetime, version: int
) -> Running:
    """Return the state in which the step waits for another attempt after the one that has ended."""
    step = Retrying(
        attempt=event.attempt + 1,
        error=event.error if isinstance(event, e.StepFailed) else None,
        due=due,
        since=event.at,
        **carried(ended),
    )
    steps = state.steps.set(event.address, step)
    return replace(state, version=version, steps=steps, sleeping=state.sleeping + 1)


def _step_skipped(state: Running, event: e.StepSkipped, version: int) -> Running:
    before = state.steps.get(event.address)
    state = left(state, event.address, before)
    return replace(state, version=version, steps=put(state, event.address, before, Skipped(event.at)))


def _outputs_released(state: Running, event: e.OutputsReleased, version: int) -> Running:
    steps, size = state.steps.mutate(), state.size
    for address in event.addresses:
        step = steps[address]
        if not isinstance(step, Succeeded):
            raise TypeError(f"{address} has no output to release")
        size -= size_of(step.output) - size_of(NULL)
        steps[address] = replace(step, output=NULL, released=True)
    return replace(state, version=version, steps=steps.finish(), size=size)


def _variable_set(state: Running, event: e.VariableSet, version: int) -> Running:
    before = state.variables.get(event.name)
    size = state.size + size_of(event.value) - (size_of(before) if before is not None else 0)
    return replace(state, version=version, size=size, variables=state.variables.set(event.name, event.value))


def _timer_set(state: Running, event: e.TimerSet, version: int) -> Running:
    timers = state.timers.set(event.timer_id, Timer(event.address, event.purpose, event.due))
    if event.purpose == "wait":
        before = state.steps.get(event.address)
        state = left(state, event.address, before)
        steps = put(state, event.address, before, Sleeping(event.due, event.at))
        return replace(state, version=version, timers=timers, steps=steps, sleeping=state.sleeping + 1)
    if event.purpose == "turn" or (event.purpose == "start" and event.timer_id not in state.timers):
        return replace(state, version=version, timers=timers, sleeping=state.sleeping + 1)
    step = state.steps.get(event.address)
    if isinstance(step, Awaiting):
        steps = state.steps.set(event.address, replace(step, due=event.due))
        return replace(state, version=version, timers=timers, steps=steps)
    return replace(state, version=version, timers=timers)


def _timer_gone(state: Running, event: e.TimerFired | e.TimerCancelled, version: int) -> Running:
    counted = state.timers[event.timer_id].purpose in {"turn", "start"}
    sleeping = state.sleeping - 1 if counted else state.sleeping
    return replace(state, version=version, timers=state.timers.delete(event.timer_id), sleeping=sleeping)


def _signal_awaited(state: Running, event: e.SignalAwaited, version: int) -> Running:
    before = state.steps.get(event.address)
    state = left(state, event.address, before)
    steps = put(state, event.address, before, Awaiting(event.name, event.at))
    return replace(state, version=version, steps=steps, awaiting=state.awaiting.set(event.address, event.name))


def _signal_received(state: Running, event: e.SignalReceived, version: int) -> Running:
    signals = state.signals.set(event.signal_id, Signal(event.name, event.data, version))
    seen = state.seen.set(event.signal_id, True)  # noqa: FBT003  a set, spelt as a map
    return replace(state, version=version, signals=signals, seen=seen)


def _update_handled(state: Running, event: e.UpdateHandled, version: int) -> Running:
    return replace(state, version=version, seen=state.seen.set(event.update_id, True))  # noqa: FBT003  as above


def _paused(state: Running, event: e.ExecutionPaused, version: int) -> Running:
    return replace(state, version=version, paused=Paused(event.reason, event.actor, event.at))


def _resumed(state: Running, _: e.ExecutionResumed, version: int) -> Running:
    return replace(resumed(state), version=version, paused=None)


def _cancel_requested(state: Running, _: e.CancelRequested, version: int) -> Running:
    return replace(state, version=version)


def _started_twice(*_: object) -> Running:
    raise TypeError("ExecutionStarted twice")


def _cancelled(state: Running, event: e.ExecutionCancelled, version: int) -> Finished:
    return _finished(state, version, "cancelled", event.at, reason=event.reason)


def _completed(state: Running, event: e.ExecutionCompleted, version: int) -> Finished:
    return _finished(state, version, "completed", event.at, output=event.output)


def _failed(state: Running, event: e.ExecutionFailed, version: int) -> Finished:
    return _finished(state, version, "failed", event.at, error=event.error, failed_step=event.address)


def _finished(
    state: Running,
    version: int,
    status: str,
    at: datetime,
    *,
    output: Json = NULL,
    error: StepError | None = None,
    failed_step: str = "",
    reason: str = "",
) -> Finished:
    return Finished(
        version=version,
        execution_id=state.execution_id,
        workflow=state.workflow,
        definition=state.definition,
        input=state.input,
        trigger=state.trigger,
        trigger_name=state.trigger_name,
        dedupe_key=state.dedupe_key,
        traceparent=state.traceparent,
        parent=state.parent,
        subject=state.subject,
        started_at=state.started_at,
        steps=state.steps,
        seen=state.seen,
        resumes=state.resumes,
        variables=state.variables,
        status=status,
        finished_at=at,
        output=output,
        error=error,
        failed_step=failed_step,
        reason=reason,
        owed=state.owed,
        newest_owed=state.newest_owed,
        calls=state.calls,
        keys=state.keys,
        size=state.size,
    )


_RUNNING: Mapping[type[e.Event], Callable[[Running, Any, int], State]] = {
    e.ExecutionStarted: _started_twice,
    e.StepQueued: _step_queued,
    e.StepStarted: _step_started,
    e.StepProgressed: _step_progressed,
    e.StepSucceeded: noted(_step_succeeded),
    e.StepCached: _step_cached,
    e.StepFailed: noted(_step_failed),
    e.StepPostponed: _step_postponed,
    e.StepSkipped: _step_skipped,
    e.OutputsReleased: _outputs_released,
    e.VariableSet: _variable_set,
    e.TimerSet: _timer_set,
    e.TimerCancelled: _timer_gone,
    e.TimerFired: _timer_gone,
    e.SignalAwaited: _signal_awaited,
    e.SignalReceived: _signal_received,
    e.UpdateHandled: _update_handled,
    e.ExecutionPaused: _paused,
    e.ExecutionResumed: _resumed,
    e.CancelRequested: _cancel_requested,
    e.ExecutionCancelled: _cancelled,
    e.ExecutionCompleted: _completed,
    e.ExecutionFailed: _failed,
    **BRANCHES,
    **BREAKS,
    **LIMITS,
    **CHILDREN,
    **TURNS,
    **PAGES,
    **FUNCTIONS,
    **SAGA,
    **PEOPLE,
}
"""A table and not a `match`: this is asked for every event, and a ladder of classes costs as much as the fold."""
