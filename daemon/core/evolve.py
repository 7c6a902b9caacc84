"""The fold: `evolve(state, event)` is what the state is after one more event.

Total over every event the log may hold, and dumb on purpose: no expression is evaluated, no plan is asked. What it
meets out of order is a damaged log or a bug, and raises `TypeError` or `KeyError`: the execution is then parked.

Comes from: `decide`, eventstore (at load). Goes to: `state`.
"""

from __future__ import annotations

from functools import reduce
from typing import TYPE_CHECKING, assert_never

from msgspec.structs import replace

from daemon.core import events as e
from daemon.core.state import (
    INITIAL,
    Awaiting,
    Failed,
    Finished,
    InFlight,
    NotStarted,
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
from daemon.core.values import NULL, Json

if TYPE_CHECKING:
    from collections.abc import Iterable
    from datetime import datetime

    from daemon.core.events import StepError


def fold(history: Iterable[e.Event], state: State = INITIAL) -> State:
    """Evolve by each event in turn: the fold of `a + b` is the fold of `b` from the fold of `a`."""
    return reduce(evolve, history, state)


def evolve(state: State, event: e.Event) -> State:
    """Return the next state. Its version is one more."""
    match state:
        case Running():
            return _running(state, event)
        case NotStarted():
            return _not_started(state, event)
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
                started_at=event.at,
                signals=state.signals,
                seen=state.seen,
            )
        case e.SignalReceived():
            return NotStarted(
                version=version,
                signals=state.signals.set(event.signal_id, Signal(event.name, event.data, version)),
                seen=state.seen.set(event.signal_id, True),  # noqa: FBT003  a set, spelt as a map
            )
        case _:
            raise TypeError(f"{event.NAME} before the execution has started")


def _running(state: Running, event: e.Event) -> State:
    version = state.version + 1
    match event:
        case e.StepStarted() | e.StepQueued() | e.StepProgressed() | e.SignalAwaited():
            return _begun(state, event, version)
        case e.StepSucceeded() | e.StepFailed() | e.StepSkipped():
            return _answered(state, event, version)
        case e.TimerSet() | e.TimerFired() | e.TimerCancelled():
            return _timed(state, event, version)
        case e.SignalReceived():
            signals = state.signals.set(event.signal_id, Signal(event.name, event.data, version))
            seen = state.seen.set(event.signal_id, True)  # noqa: FBT003  a set, spelt as a map
            return replace(state, version=version, signals=signals, seen=seen)
        case e.CancelRequested():
            return replace(state, version=version)
        case e.ExecutionCancelled():
            return _finished(state, version, "cancelled", event.at, reason=event.reason)
        case e.ExecutionCompleted():
            return _finished(state, version, "completed", event.at, output=event.output)
        case e.ExecutionFailed():
            return _finished(state, version, "failed", event.at, error=event.error, failed_step=event.address)
        case e.ExecutionStarted():
            raise TypeError("ExecutionStarted twice")
        case _:
            assert_never(event)


def _begun(
    state: Running, event: e.StepStarted | e.StepQueued | e.StepProgressed | e.SignalAwaited, version: int
) -> Running:
    address = event.address
    match event:
        case e.StepQueued():
            before = state.steps.get(address)
            step: Step = Queued(state.next_ticket, event.at)
            if isinstance(before, Retrying):
                step = replace(step, attempt=before.attempt, input=before.input, secrets=before.secrets)
            state = _left(state, address, before)
            return replace(
                state,
                version=version,
                steps=state.steps.set(address, step),
                queue=state.queue.set(state.next_ticket, address),
                next_ticket=state.next_ticket + 1,
            )
        case e.StepStarted():
            before = state.steps.get(address)
            if event.attempt == 1:
                step = InFlight(event.attempt, event.input, event.secrets, event.at)
            elif isinstance(before, Retrying | Queued):
                step = InFlight(event.attempt, before.input, before.secrets, event.at)
            else:
                raise TypeError(f"attempt {event.attempt} of {address} starts, but no attempt before it failed")
            state = _left(state, address, before)
            in_flight = state.in_flight.set(address, event.attempt)
            return replace(state, version=version, steps=state.steps.set(address, step), in_flight=in_flight)
        case e.StepProgressed():
            at_work = state.steps[address]
            if not isinstance(at_work, InFlight):
                raise TypeError(f"{address} progresses but is not in flight")
            step = replace(at_work, progress=event.progress, progress_number=event.number)
            return replace(state, version=version, steps=state.steps.set(address, step))
        case e.SignalAwaited():
            step = Awaiting(event.name, event.at)
            awaiting = state.awaiting.set(address, event.name)
            return replace(state, version=version, steps=state.steps.set(address, step), awaiting=awaiting)
        case _:
            assert_never(event)


def _answered(state: Running, event: e.StepSucceeded | e.StepFailed | e.StepSkipped, version: int) -> Running:
    before = state.steps.get(event.address)
    state = _left(state, event.address, before)
    step: Step
    match event:
        case e.StepSucceeded():
            step = Succeeded(event.output, event.port, event.attempt, version, event.at)
            if event.signal_id is not None:
                state = replace(state, signals=state.signals.delete(event.signal_id))
        case e.StepFailed():
            if event.retry_at is None:
                step = Failed(event.error, event.port, event.output, version, event.at)
            elif isinstance(before, InFlight):
                attempt = event.attempt + 1
                step = Retrying(attempt, before.input, before.secrets, event.error, event.retry_at, event.at)
                state = replace(state, sleeping=state.sleeping + 1)
            else:
                raise TypeError(f"{event.address} is to be retried but was not in flight")
        case e.StepSkipped():
            step = Skipped(event.at)
        case _:
            assert_never(event)
    return replace(state, version=version, steps=state.steps.set(event.address, step))


def _timed(state: Running, event: e.TimerSet | e.TimerFired | e.TimerCancelled, version: int) -> Running:
    match event:
        case e.TimerSet():
            timers = state.timers.set(event.timer_id, Timer(event.address, event.purpose, event.due))
            state = replace(state, version=version, timers=timers)
            step = state.steps.get(event.address)
            if event.purpose == "wait":
                sleeping = Sleeping(event.due, event.at)
                return replace(state, steps=state.steps.set(event.address, sleeping), sleeping=state.sleeping + 1)
            if isinstance(step, Awaiting):
                return replace(state, steps=state.steps.set(event.address, replace(step, due=event.due)))
            return state
        case e.TimerFired() | e.TimerCancelled():
            return replace(state, version=version, timers=state.timers.delete(event.timer_id))
        case _:
            assert_never(event)


def _left(state: Running, address: str, step: Step | None) -> Running:
    """Return the state without what it kept for a step in its old condition."""
    match step:
        case Queued():
            queue = state.queue.delete(step.ticket)
            first = step.ticket + 1 if step.ticket == state.first_ticket else state.first_ticket
            return replace(state, queue=queue, first_ticket=first)
        case InFlight():
            return replace(state, in_flight=state.in_flight.delete(address))
        case Retrying() | Sleeping():
            return replace(state, sleeping=state.sleeping - 1)
        case Awaiting():
            return replace(state, awaiting=state.awaiting.delete(address))
        case None:
            return state
        case Succeeded() | Failed() | Skipped():
            raise TypeError(f"{address} is settled and cannot change")
        case _:
            assert_never(step)


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
        started_at=state.started_at,
        steps=state.steps,
        seen=state.seen,
        status=status,
        finished_at=at,
        output=output,
        error=error,
        failed_step=failed_step,
        reason=reason,
    )
