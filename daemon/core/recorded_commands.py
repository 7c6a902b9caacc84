"""The commands that a log records: what was asked of an execution, as its events tell it.

Events are what is stored; commands are not. But the first events of each decision say what was decided on, with all
that it carried but the dice, which follow from the result. So a log can be decided again: to find where decisions began
and ended, and under another definition to see what would have been different.

Comes from: `redeciding`. Goes to: `commands`.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from msgspec.structs import replace

from daemon.core import commands as c
from daemon.core import events as e
from daemon.core.address import split_turn
from daemon.core.recorded_approvals import OF_APPROVALS
from daemon.core.recorded_breaks import OF_BREAKS, failure_in, held_failure
from daemon.core.retry import delay_before
from daemon.core.state import InFlight, Limited
from daemon.core.state_limits import COLLECTING
from daemon.core.values import NULL, Json, from_json, to_json

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping, Sequence

    from daemon.core.plan import PlannedNode
    from daemon.core.state import Running

_GIVEN_UP = (e.TimerCancelled, e.ChildCancelRequested, e.StepFailed, e.CompensationOwed)
"""What may come of calls that a function gives up, before it advances."""


def recorded_commands(
    state: Running, events: Sequence[e.Event], node: Callable[[str], PlannedNode | None]
) -> Iterator[c.Command]:
    """Give the commands that may have caused the events, which begin with a decision on `state`; the likeliest first.

    `events` are those that follow, as many as there are: where the decision ends is not known. `node` gives the node of
    a step, None for one that the definition does not have. None at all comes for an event that begins no decision.
    """
    first = events[0]
    if isinstance(first, e.StepFailed):
        yield from _failed(state, first, node)
        yield from _advanced(state, first, events)
    elif (read := _READ.get(type(first))) is not None:
        yield from read(state, first, events)


def _started(_: object, first: e.ExecutionStarted, events: Sequence[e.Event]) -> Iterator[c.Command]:
    collect, key = None, ""
    taken, second = events[1:5], events[1] if len(events) > 1 else None
    if opened := [each for each in taken if isinstance(each, e.SlotsTaken) and each.address == COLLECTING]:
        key = opened[0].slots[0].key
        collect = next((_collecting(each) for each in taken if isinstance(each, e.MessageCollected)), None)
    yield c.StartExecution(
        execution_id=first.execution_id,
        input=first.input,
        trigger=first.trigger,
        trigger_name=first.trigger_name,
        dedupe_key=first.dedupe_key,
        traceparent=first.traceparent,
        parent=first.parent,
        subject=first.subject,
        collect=collect,
        collect_key=key,
        breakpoints=second.breakpoints if isinstance(second, e.BreakpointsSet) else (),
        actor=first.actor,
        at=first.at,
    )


def _collecting(event: e.MessageCollected) -> c.CollectMessage:
    return c.CollectMessage(message=event.message, scope=event.scope, input=event.input, at=event.at)


def _collected(_: object, first: e.MessageCollected, __: object) -> Iterator[c.Command]:
    yield _collecting(first)


def _succeeded(_: object, first: e.StepSucceeded, __: object) -> Iterator[c.Command]:
    yield c.CompleteStep(
        address=first.address,
        attempt=first.attempt,
        output=first.output,
        port=first.port,
        to=first.to,
        streamed=first.streamed,
        at=first.at,
    )


def _cached(_: object, first: e.StepCached, __: object) -> Iterator[c.Command]:
    yield c.CompleteStep(
        address=first.address,
        attempt=first.attempt,
        output=first.output,
        port=first.port,
        to=first.to,
        origin=first.origin,
        at=first.at,
    )


def _failed(state: Running, first: e.StepFailed, node: Callable[[str], PlannedNode | None]) -> Iterator[c.Command]:
    step = state.steps.get(first.address)
    if isinstance(step, Limited):
        yield c.GrantSlots(address=first.address, at=first.at)
    jitter = _jitter(first, step, node(first.address)) if isinstance(step, InFlight) else 0.0
    for retryable in (True, False) if isinstance(step, InFlight) else ():
        yield c.FailStep(
            address=first.address,
            attempt=first.attempt,
            error=first.error,
            retryable=retryable,
            jitter=jitter,
            at=first.at,
        )


def _jitter(failed: e.StepFailed, step: InFlight, node: PlannedNode | None) -> float:
    """Return the dice that give the retry's time; 0 where nothing is left to chance."""
    if node is None or failed.retry_at is None or not node.retry.jitter:
        return 0.0
    longest = delay_before(node.retry, step.tries + 1, 0.0).total_seconds()
    waited = (failed.retry_at - failed.at).total_seconds()
    return (1 - waited / longest) / node.retry.jitter if longest else 0.0


def _postponed(_: object, first: e.StepPostponed, __: object) -> Iterator[c.Command]:
    after = first.due - first.at
    yield c.PostponeStep(address=first.address, attempt=first.attempt, after=after, state=first.state, at=first.at)


def _suspended(_: object, first: e.StepSuspended, __: object) -> Iterator[c.Command]:
    yield c.SuspendStep(
        address=first.address,
        attempt=first.attempt,
        reason=first.reason,
        expects=first.expects,
        state=first.state,
        until=first.due,
        problem=first.problem,
        at=first.at,
    )


def _input_received(_: object, first: e.ResumeReceived, __: object) -> Iterator[c.Command]:
    yield c.ResumeStep(
        address=first.address, resume_id=first.resume_id, input=first.input, actor=first.actor, at=first.at
    )


def _progressed(_: object, first: e.StepProgressed, __: object) -> Iterator[c.Command]:
    yield c.ReportProgress(
        address=first.address, attempt=first.attempt, number=first.number, progress=first.progress, at=first.at
    )


def _slots_taken(_: object, first: e.SlotsTaken, __: object) -> Iterator[c.Command]:
    yield c.GrantSlots(address=first.address, at=first.at)


def _queued(state: Running, first: e.StepQueued, events: Sequence[e.Event]) -> Iterator[c.Command]:
    if isinstance(state.steps.get(first.address), Limited):  # of an execution that is paused, or stands
        yield c.GrantSlots(address=first.address, at=first.at)
    else:
        yield from held_failure(first, events)


def _migrated(_: object, first: e.ExecutionMigrated, __: object) -> Iterator[c.Command]:
    yield c.MigrateExecution(names=first.names, reason=first.reason, actor=first.actor, at=first.at)


def _fired(_: object, first: e.TimerFired, __: object) -> Iterator[c.Command]:
    yield c.FireTimer(timer_id=first.timer_id, at=first.at)


def _signalled(_: object, first: e.SignalReceived, __: object) -> Iterator[c.Command]:
    yield c.ReceiveSignal(signal_id=first.signal_id, name=first.name, data=first.data, actor=first.actor, at=first.at)


def _updated(_: object, __: object, events: Sequence[e.Event]) -> Iterator[c.Command]:
    """Read an update: the variables that it sets come before its own event."""
    handled = next((event for event in events if not isinstance(event, e.VariableSet)), None)
    if isinstance(handled, e.UpdateHandled):
        yield c.HandleUpdate(
            update_id=handled.update_id, name=handled.name, data=handled.data, actor=handled.actor, at=handled.at
        )


def _cancel_requested(_: object, first: e.CancelRequested, __: object) -> Iterator[c.Command]:
    yield c.CancelExecution(reason=first.reason, undo=first.undo, actor=first.actor, at=first.at)


def _paused(_: object, first: e.ExecutionPaused, __: object) -> Iterator[c.Command]:
    yield c.PauseExecution(reason=first.reason, actor=first.actor, at=first.at)


def _resumed(_: object, first: e.ExecutionResumed, __: object) -> Iterator[c.Command]:
    yield c.ResumeExecution(actor=first.actor, at=first.at)


def _undo_requested(_: object, first: e.UndoRequested, __: object) -> Iterator[c.Command]:
    yield c.UndoExecution(reason=first.reason, parent=first.parent, actor=first.actor, at=first.at)


def _answered(state: Running, first: e.ManualActionDone, __: object) -> Iterator[c.Command]:
    yield c.AnswerUndo(
        address=first.address,
        question=state.asking[first.address].version,
        choice=first.choice,
        note=first.note,
        actor=first.actor,
        at=first.at,
    )


def _child_started(state: Running, first: e.ChildStarted, events: Sequence[e.Event]) -> Iterator[c.Command]:
    yield c.AwaitChild(
        address=first.address,
        attempt=first.attempt,
        child=first.child,
        workflow=first.workflow,
        definition=first.definition,
        at=first.at,
    )
    if len(events) > 1 and isinstance(events[1], e.ChildFinished):
        yield from _finish(state, (first.workflow, first.definition), events[1], events[2:])


def _cancelled(state: Running, first: e.TimerCancelled, events: Sequence[e.Event]) -> Iterator[c.Command]:
    """Read what cancels timers before its own event: a child's end, an advance that gives up a call, an answer."""
    yield from _child_finished(state, first, events)
    yield from _advanced(state, first, events)
    after = next((event for event in events if not isinstance(event, e.TimerCancelled)), None)
    if isinstance(after, e.ManualActionDone):
        yield from _answered(state, after, events)


def _child_finished(state: Running, __: object, events: Sequence[e.Event]) -> Iterator[c.Command]:
    """Read the end of a child; the timer of the wait for it may be cancelled before."""
    at = 1 if isinstance(events[0], e.TimerCancelled) else 0
    if at < len(events) and isinstance(finished := events[at], e.ChildFinished):
        yield from _finish(state, ("", ""), finished, events[at + 1 :])


def _finish(
    state: Running, what: tuple[str, str], finished: e.ChildFinished, events: Sequence[e.Event]
) -> Iterator[c.Command]:
    output, error = finished.output, None
    following = events[0] if events else None
    if isinstance(following, e.StepSucceeded) and following.address == finished.address and output == NULL:
        output = following.output
    failed = failure_in(events)
    if failed is not None and failed.error is not None and failed.address == finished.address:
        error = _error_of_child(failed.error)
        output = _as_large(failed.error, state.size) or output
    owes = any(isinstance(event, e.CompensationOwed) and event.child == finished.child for event in events[:3])
    for owed in (owes, not owes):
        yield c.FinishChild(
            address=finished.address,
            attempt=finished.attempt,
            child=finished.child,
            workflow=what[0],
            definition=what[1],
            status=finished.status,
            output=output,
            error=error,
            owes=owed,
            at=finished.at,
        )


def _as_large(failed: e.StepError, held: int) -> Json | None:
    """Return an output of the size that was not allowed: that is all that the log knows of it; None for any other."""
    if failed.code not in {"output_too_large", "context_too_large"}:
        return None
    told = int(next(word for word in failed.message.split() if word.isdecimal()))
    size = told if failed.code == "output_too_large" else told - held
    return to_json("x" * (size - 2)) if size > 1 else to_json(0)


def _error_of_child(failed: e.StepError) -> e.StepError | None:
    """Return the child's own error from what its parent was told of it."""
    details: Mapping[str, Any] = from_json(failed.details) or {}
    code = details.get("code")
    return None if code is None else e.StepError(failed.message.partition(": ")[2], code, failed.type)


def _advanced(state: Running, _: object, events: Sequence[e.Event]) -> Iterator[c.Command]:
    """Read an advance: the timers and the doubts of calls that it gives up come before its own event."""
    at = next((at for at, event in enumerate(events) if not isinstance(event, _GIVEN_UP)), len(events))
    if at == len(events) or not isinstance(advanced := events[at], e.FunctionAdvanced):
        return
    named = [_address_of(state, event) for event in events[:at] if not isinstance(event, e.CompensationOwed)]
    waiting = c.AdvanceFunction(
        address=advanced.address,
        number=state.functions[advanced.address].number,
        seen=advanced.seen,
        cancelled=tuple(dict.fromkeys((*named, *advanced.cancelled))),
        drawn=advanced.drawn,
        at=advanced.at,
    )
    yield replace(waiting, calls=advanced.calls)
    node = split_turn(advanced.address)[0]
    for event in events[at + 1 :]:
        if isinstance(event, e.TurnFailed) and event.address == advanced.address:
            yield replace(waiting, outcome=event.error)
            return
        if isinstance(event, e.StepSucceeded) and event.address == node:
            yield replace(waiting, outcome=event.output)
            return


def _address_of(state: Running, event: e.Event) -> str:
    match event:
        case e.TimerCancelled():
            return state.timers[event.timer_id].address
        case _:
            address: str = getattr(event, "address", "")
            return address


def _diverged(state: Running, first: e.FunctionDiverged, __: object) -> Iterator[c.Command]:
    yield c.StopFunction(
        address=first.address,
        number=state.functions[first.address].number,
        version=first.version,
        recorded=first.recorded,
        found=first.found,
        place=first.place,
        at=first.at,
    )


_READ: Mapping[type[e.Event], Callable[[Any, Any, Sequence[e.Event]], Iterator[c.Command]]] = {
    e.ExecutionStarted: _started,
    e.MessageCollected: _collected,
    e.StepSucceeded: _succeeded,
    e.StepCached: _cached,
    e.StepPostponed: _postponed,
    e.StepSuspended: _suspended,
    e.StepProgressed: _progressed,
    e.StepQueued: _queued,
    e.ResumeReceived: _input_received,
    e.SlotsTaken: _slots_taken,
    e.TimerFired: _fired,
    e.TimerCancelled: _cancelled,
    e.ChildCancelRequested: _advanced,
    e.SignalReceived: _signalled,
    e.VariableSet: _updated,
    e.UpdateHandled: _updated,
    e.CancelRequested: _cancel_requested,
    e.ExecutionPaused: _paused,
    e.ExecutionResumed: _resumed,
    e.UndoRequested: _undo_requested,
    e.ManualActionDone: _answered,
    **OF_APPROVALS,
    e.ExecutionMigrated: _migrated,
    **OF_BREAKS,
    e.ChildStarted: _child_started,
    e.ChildFinished: _child_finished,
    e.FunctionAdvanced: _advanced,
    e.FunctionDiverged: _diverged,
}
"""By the type of a decision's first event, how to read the command."""
