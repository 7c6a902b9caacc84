"""The decision: `decide(plan, state, command)` is the events that the command causes.

All that follows from one command, down to the next handler, timer or signal, is decided at once and appended at once:
there is no moment at which a step has finished and nothing is decided.

Comes from: daemon/runtime/engine. Goes to: `walk`, `evolve`, eventstore/writer.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple, TypeAlias, assert_never

from msgspec.structs import replace

from daemon.core import (
    admission,
    approving,
    branching,
    children,
    debugging,
    functions,
    migrating,
    saga,
    suspending,
    updates,
)
from daemon.core import commands as c
from daemon.core import events as e
from daemon.core.caching import use_cached
from daemon.core.draft import EXECUTION_TIMER, Draft, timer_id_of
from daemon.core.errors import ExecutionFinished, Rejected
from daemon.core.evolve import evolve
from daemon.core.evolve_people import resume_key
from daemon.core.pages import refused_page
from daemon.core.settling import fail, postpone, succeed, too_large
from daemon.core.state import Awaiting, Finished, InFlight, NotStarted, Running, State
from daemon.core.state_limits import COLLECTING
from daemon.core.subjects import check_there, subject_of
from daemon.core.values import from_json, to_json
from daemon.core.walk import advance, grant, start_or_queue

if TYPE_CHECKING:
    from collections.abc import Container

    from daemon.core.plan import Plan, PlannedNode

Crowded: TypeAlias = "Container[tuple[str, str]] | None"


class Decision(NamedTuple):
    """The events that a command causes, and the state that they lead to: `fold(events, state)`."""

    events: tuple[e.Event, ...]
    state: State
    branched: State | None = None
    """Where the first event leads to, when that goes on from a past: no fold of it alone gives that."""


def decide(plan: Plan | None, state: State, command: c.Command, crowded: Crowded = ()) -> tuple[e.Event, ...]:
    """Return the events that the command causes; `()` when it has been decided before or nothing is left to do.

    `plan` may be None for what needs none: a signal before the start, anything after the end. Raises `Rejected` when
    the command is not allowed: nothing is to be recorded then. `crowded` are limits and keys, of those that executions
    share, that others are known to wait for: nothing of these is taken without asking; None for all.
    """
    return decision(plan, state, command, crowded).events


def decision(plan: Plan | None, state: State, command: c.Command, crowded: Crowded = ()) -> Decision:
    """Decide; see `decide`. Each event was evolved as it was decided, so the state need not be folded again."""
    match state:
        case Running():
            draft = Draft(_needed(plan), state, command.at, crowded)
            _while_running(draft, command)
            advance(draft)
            return Decision(tuple(draft.events), draft.state, draft.branched)
        case NotStarted():
            return _before_start(plan, state, command, crowded)
        case Finished():
            return _after_end(plan, state, command)
        case _:
            assert_never(state)


def _before_start(plan: Plan | None, state: NotStarted, command: c.Command, crowded: Crowded) -> Decision:
    match command:
        case c.StartExecution():
            draft = Draft(_needed(plan), state, command.at, crowded)
            _start(draft, command)
            advance(draft)
            return Decision(tuple(draft.events), draft.state)
        case c.ForkExecution():
            draft = Draft(_needed(plan), state, command.at, crowded)
            branching.fork(draft, command, _while_running)
            advance(draft)
            return Decision(tuple(draft.events), draft.state, draft.branched)
        case c.ReceiveSignal() if command.signal_id in state.seen:
            return Decision((), state)
        case c.ReceiveSignal():
            received = _received(command)
            return Decision((received,), evolve(state, received))
        case _:
            raise Rejected("the execution has not started")


def _after_end(plan: Plan | None, state: Finished, command: c.Command) -> Decision:
    if isinstance(command, c.UndoExecution | c.RewindExecution):
        check_there(state)
    if isinstance(command, c.UndoExecution) and state.status == "completed" and state.newest_owed:
        draft = Draft(_needed(plan), state, command.at)
        saga.undo_completed(draft, command)
        advance(draft)
        return Decision(tuple(draft.events), draft.state)
    if isinstance(command, c.RewindExecution):
        draft = Draft(_needed(plan), state, command.at)
        branching.request(draft, command)
        advance(draft)
        return Decision(tuple(draft.events), draft.state)
    if isinstance(command, c.ReceiveSignal) and command.signal_id not in state.seen:
        raise ExecutionFinished(f"the execution has {state.status}; it takes no signal {command.name!r}")
    if isinstance(command, c.ResumeStep) and resume_key(command.address, command.resume_id) not in state.seen:
        raise ExecutionFinished(f"the execution has {state.status}; its steps take no input")
    if isinstance(command, c.MigrateExecution) and _needed(plan).hash != state.definition:
        raise ExecutionFinished(f"the execution has {state.status}; fork it to go on under another definition")
    if isinstance(command, c.HandleUpdate) and command.update_id not in state.seen:
        raise ExecutionFinished(f"the execution has {state.status}; it takes no update {command.name!r}")
    return Decision((), state)


def _while_running(draft: Draft, command: c.Command) -> None:
    match command:
        case c.CompleteStep() | c.FailStep() | c.PostponeStep() | c.ReportProgress():
            if step := _at_work(draft, command.address, command.attempt):
                _with_step(draft, command, step)
        case c.SuspendStep() | c.ResumeStep() | c.GiveApproval() | c.DelegateApproval():
            _with_people(draft, command)
        case c.StartExecution() | c.ForkExecution():
            pass
        case c.RewindExecution() | c.FinishRewind() | c.MigrateExecution():
            _with_past(draft, command)
        case c.AwaitChild():
            children.wait_for(draft, command)
        case c.FinishChild():
            children.finish(draft, command)
        case c.GrantSlots():
            _grant(draft, command)
        case c.CollectMessage():
            admission.collect(draft, command)
        case c.FireTimer():
            _fire(draft, command.timer_id)
        case c.ReceiveSignal():
            if command.signal_id not in draft.running.seen:
                _receive(draft, command)
        case c.HandleUpdate():
            if command.update_id not in draft.running.seen:
                _update(draft, command)
        case c.CancelExecution():
            _cancel(draft, command)
        case c.PauseExecution():
            if draft.running.paused is None:
                draft.emit(e.ExecutionPaused(reason=command.reason, actor=command.actor, at=draft.at))
        case c.ResumeExecution():
            if draft.running.paused is not None:
                draft.emit(e.ExecutionResumed(actor=command.actor, at=draft.at))
        case c.SetBreakpoints() | c.LeaveBreakpoint() | c.EditAtBreakpoint():
            debugging.debug(draft, command)
        case c.UndoExecution():
            saga.undo_again(draft, command)
        case c.AnswerUndo():
            saga.answer(draft, command)
        case c.AdvanceFunction() | c.StopFunction():
            _with_function(draft, command)
        case _:
            assert_never(command)


def _with_step(
    draft: Draft, command: c.CompleteStep | c.FailStep | c.PostponeStep | c.ReportProgress, step: InFlight
) -> None:
    address, attempt = command.address, command.attempt
    match command:
        case c.CompleteStep():
            _complete_step(draft, command, step)
        case c.FailStep():
            fail(draft, address, command.error, jitter=command.jitter, retryable=command.retryable)
        case c.PostponeStep():
            postpone(draft, address, command.after, command.state, attempt=attempt)
        case c.ReportProgress(number=number, progress=progress) if number > step.progress_number:
            draft.emit(
                e.StepProgressed(address=address, attempt=attempt, number=number, progress=progress, at=draft.at)
            )
        case _:
            pass  # a report that comes after a newer one


def _with_past(draft: Draft, command: c.RewindExecution | c.FinishRewind | c.MigrateExecution) -> None:
    match command:
        case c.RewindExecution():
            branching.request(draft, command)
        case c.FinishRewind():
            branching.finish(draft, command, _while_running)
        case _:
            migrating.migrate(draft, command)


def _with_people(draft: Draft, command: c.SuspendStep | c.ResumeStep | c.GiveApproval | c.DelegateApproval) -> None:
    match command:
        case c.SuspendStep(address=address, attempt=attempt):
            if _at_work(draft, address, attempt):
                suspending.suspend(draft, command)
        case c.ResumeStep():
            suspending.resume(draft, command)
        case c.GiveApproval():
            approving.give(draft, command)
        case _:
            approving.delegate(draft, command)


def _with_function(draft: Draft, command: c.AdvanceFunction | c.StopFunction) -> None:
    if isinstance(command, c.AdvanceFunction):
        functions.advance(draft, command)
    else:
        functions.stop(draft, command)


def _start(draft: Draft, command: c.StartExecution) -> None:
    definition = draft.plan.definition
    started = e.ExecutionStarted(
        execution_id=command.execution_id,
        workflow=definition.workflow,
        definition=definition.hash,
        input=command.input,
        trigger=command.trigger,
        trigger_name=command.trigger_name,
        dedupe_key=command.dedupe_key,
        traceparent=command.traceparent,
        parent=command.parent,
        subject=command.subject,
        actor=command.actor,
        at=draft.at,
    )
    if (whose := draft.plan.start.subject) is not None:
        started = replace(started, subject=subject_of(whose, draft.plan, evolve(draft.state, started)))
    draft.emit(started)
    if command.breakpoints:
        debugging.begin(draft, command)
    if definition.timeout is not None:
        due = draft.at + definition.timeout
        draft.emit(e.TimerSet(timer_id=EXECUTION_TIMER, address="", purpose="execution", due=due, at=draft.at))
    if command.collect is not None:
        admission.open_collection(draft, command.collect_key)
        admission.collect(draft, command.collect)
    elif not admission.begin_later(draft):
        admission.enter(draft)


def _grant(draft: Draft, command: c.GrantSlots) -> None:
    if command.address in draft.running.limited:
        if draft.crowded is None:
            raise admission.NoSlot("no slot is free any more")
        grant(draft, command.address)


def _complete_step(draft: Draft, command: c.CompleteStep, step: InFlight) -> None:
    address, node = command.address, draft.node(command.address)
    if (refused := refusal(node, command)) is not None:
        fail(draft, address, refused, retryable=False)
    elif command.origin is None:
        succeed(
            draft,
            address,
            command.output,
            attempt=command.attempt,
            port=command.port,
            to=command.to,
            streamed=command.streamed,
        )
    elif (problem := too_large(draft, address, command.output)) is not None:
        fail(draft, address, replace(problem, attempt=command.attempt), retryable=False)
    else:
        cache = node.cache.name if node.cache is not None else ""
        use_cached(draft, command, command.origin, cache=cache, key=step.cache_key)


def refusal(node: PlannedNode, command: c.CompleteStep) -> e.StepError | None:
    """Return why the step cannot be left like this; None when it can."""
    if command.to is not None:
        known = [edge.target for edge in node.outgoing if edge.port == "out"]
        unknown = [node_id for node_id in command.to if node_id not in known]
        if unknown:
            there = f"they lead to: {', '.join(known)}" if known else "there is none"
            message = f"the handler routed to {', '.join(map(repr, unknown))}, where no `out` edge leads; {there}"
            return e.StepError(message, "route", attempt=command.attempt)
    ports = [port for port in node.ports if port != "error"]
    if command.port and command.port not in ports:
        hint = "; a failure is raised: StepFailure" if command.port == "error" else ""
        message = f"the handler left by port {command.port!r}; the node has: {', '.join(ports)}{hint}"
        return e.StepError(message, "port", attempt=command.attempt)
    return refused_page(node.id, command.output, command.attempt)


def _fire(draft: Draft, timer_id: str) -> None:
    timer = draft.running.timers.get(timer_id)
    if timer is None or draft.at < timer.due:
        return
    draft.emit(e.TimerFired(timer_id=timer_id, at=draft.at))
    address = timer.address
    match timer.purpose:
        case "wait":
            draft.emit(e.StepSucceeded(address=address, output=to_json(timer.due), at=draft.at))
        case "retry":
            start_or_queue(draft, address)
        case "turn":
            draft.repeating[address] = None
        case "start":
            if COLLECTING in draft.running.holding:
                admission.end_collection(draft)
            else:
                admission.enter(draft)
        case "child":
            children.too_late(draft, address)
        case "signal":
            waited = draft.running.steps[address]
            name = waited.name if isinstance(waited, Awaiting) else ""
            fail(draft, address, e.StepError(f"no signal {name!r} came in time", "timeout"))
        case "approval" | "reminder":
            approving.fire(draft, address, timer.purpose)
        case "input":
            suspending.fire(draft, address)
        case _:
            limit = draft.plan.definition.timeout
            late = e.StepError(f"not finished within {limit}", "timeout")
            saga.end(draft, e.UndoPlanned(status="failed", mode="", error=late, at=draft.at))


def _cancel(draft: Draft, command: c.CancelExecution) -> None:
    undoing = draft.running.undoing
    if undoing is None:
        draft.emit(e.CancelRequested(reason=command.reason, undo=command.undo, actor=command.actor, at=draft.at))
        mode = "" if command.undo else "none"
        saga.end(draft, e.UndoPlanned(status="cancelled", mode=mode, reason=command.reason, at=draft.at))
    elif undoing.status == "rewound":
        raise Rejected("the execution is being rewound: that cannot be cancelled; cancel it when it goes on")
    elif undoing.status != "cancelled":
        raise Rejected("the execution has failed, and what it has done is being undone: that cannot be cancelled")


def _update(draft: Draft, command: c.HandleUpdate) -> None:
    updates.handle(draft, command)
    signal = draft.plan.updates[command.name].signal
    if signal is not None:
        received = c.ReceiveSignal(
            signal_id=f"{command.update_id}#{signal}", name=signal, data=command.data, actor=command.actor, at=draft.at
        )
        _receive(draft, received)


def _receive(draft: Draft, command: c.ReceiveSignal) -> None:
    if draft.plan.definition.signals:
        updates.check_signal(draft.plan, command.name, from_json(command.data))
    draft.emit(_received(command))
    running = draft.running
    waiting = [
        (step.since, address)
        for address, name in running.awaiting.items()
        if name == command.name and isinstance(step := running.steps[address], Awaiting)
    ]
    if not waiting:
        return
    address = min(waiting)[1]
    if (timer_id := timer_id_of(address, "signal")) in running.timers:
        draft.emit(e.TimerCancelled(timer_id=timer_id, at=draft.at))
    draft.emit(e.StepSucceeded(address=address, output=command.data, signal_id=command.signal_id, at=draft.at))


def _received(command: c.ReceiveSignal) -> e.SignalReceived:
    return e.SignalReceived(
        signal_id=command.signal_id, name=command.name, data=command.data, actor=command.actor, at=command.at
    )


def _at_work(draft: Draft, address: str, attempt: int) -> InFlight | None:
    """Return the step if a handler is owed for this attempt; for one that waits for its child, none is."""
    step = draft.running.steps.get(address)
    if not isinstance(step, InFlight) or step.attempt != attempt or step.child is not None:
        return None
    return step


def _needed(plan: Plan | None) -> Plan:
    if plan is None:
        raise TypeError("this decision needs the plan")
    return plan
