"""The decision: `decide(plan, state, command)` is the events that the command causes.

All that follows from one command, down to the next handler, timer or signal, is decided at once and appended at once:
there is no moment at which a step has finished and nothing is decided.

Comes from: daemon/runtime/engine. Goes to: `walk`, `evolve`, eventstore/writer.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple, assert_never

from daemon.core import commands as c
from daemon.core import events as e
from daemon.core.address import node_of
from daemon.core.errors import ExecutionFinished, Rejected
from daemon.core.evolve import evolve
from daemon.core.state import Awaiting, Finished, InFlight, NotStarted, Running, State
from daemon.core.values import to_json
from daemon.core.walk import Turn, advance, begin, fail, start_or_queue, timer_id_of

if TYPE_CHECKING:
    from daemon.core.plan import Plan

EXECUTION_TIMER = "execution"


class Decision(NamedTuple):
    """The events that a command causes, and the state that they lead to: `fold(events, state)`."""

    events: tuple[e.Event, ...]
    state: State


def decide(plan: Plan | None, state: State, command: c.Command) -> tuple[e.Event, ...]:
    """Return the events that the command causes; `()` when it has been decided before or nothing is left to do.

    `plan` may be None for what needs none: a signal before the start, anything after the end. Raises `Rejected` when
    the command is not allowed: nothing is to be recorded then.
    """
    return decision(plan, state, command).events


def decision(plan: Plan | None, state: State, command: c.Command) -> Decision:
    """Decide; see `decide`. Each event was evolved as it was decided, so the state need not be folded again."""
    match state:
        case Running():
            turn = Turn(_needed(plan), state, command.at)
            _while_running(turn, command)
            return Decision(tuple(turn.events), turn.state)
        case NotStarted():
            return _before_start(plan, state, command)
        case Finished():
            return _after_end(state, command)
        case _:
            assert_never(state)


def _before_start(plan: Plan | None, state: NotStarted, command: c.Command) -> Decision:
    match command:
        case c.StartExecution():
            turn = Turn(_needed(plan), state, command.at)
            _start(turn, command)
            return Decision(tuple(turn.events), turn.state)
        case c.ReceiveSignal() if command.signal_id in state.seen:
            return Decision((), state)
        case c.ReceiveSignal():
            received = _received(command)
            return Decision((received,), evolve(state, received))
        case _:
            raise Rejected("the execution has not started")


def _after_end(state: Finished, command: c.Command) -> Decision:
    if isinstance(command, c.ReceiveSignal) and command.signal_id not in state.seen:
        raise ExecutionFinished(f"the execution has {state.status}; it takes no signal {command.name!r}")
    return Decision((), state)


def _while_running(turn: Turn, command: c.Command) -> None:
    match command:
        case c.CompleteStep():
            if _at_work(turn, command.address, command.attempt):
                _complete_step(turn, command)
        case c.StartExecution():
            pass
        case c.FailStep():
            if _at_work(turn, command.address, command.attempt):
                fail(turn, command.address, command.error, jitter=command.jitter, retryable=command.retryable)
                advance(turn, command.address)
        case c.ReportProgress(address=address, attempt=attempt, number=number):
            step = _at_work(turn, address, attempt)
            if step and number > step.progress_number:
                turn.emit(
                    e.StepProgressed(
                        address=address, attempt=attempt, number=number, progress=command.progress, at=turn.at
                    )
                )
        case c.FireTimer():
            _fire(turn, command.timer_id)
        case c.ReceiveSignal():
            if command.signal_id not in turn.running.seen:
                _receive(turn, command)
        case c.CancelExecution():
            turn.emit(e.CancelRequested(reason=command.reason, actor=command.actor, at=turn.at))
            turn.emit(e.ExecutionCancelled(reason=command.reason, at=turn.at))
        case _:
            assert_never(command)


def _start(turn: Turn, command: c.StartExecution) -> None:
    definition = turn.plan.definition
    turn.emit(
        e.ExecutionStarted(
            execution_id=command.execution_id,
            workflow=definition.workflow,
            definition=definition.hash,
            input=command.input,
            trigger=command.trigger,
            trigger_name=command.trigger_name,
            dedupe_key=command.dedupe_key,
            traceparent=command.traceparent,
            actor=command.actor,
            at=turn.at,
        )
    )
    if definition.timeout is not None:
        due = turn.at + definition.timeout
        turn.emit(e.TimerSet(timer_id=EXECUTION_TIMER, address="", purpose="execution", due=due, at=turn.at))
    begun = [node_id for node_id in turn.plan.starts if not turn.ended() and begin(turn, node_id)]
    advance(turn, *begun)


def _complete_step(turn: Turn, command: c.CompleteStep) -> None:
    node = turn.plan.nodes[node_of(command.address)]
    if command.port in node.ports:
        turn.emit(
            e.StepSucceeded(
                address=command.address,
                attempt=command.attempt,
                output=command.output,
                port=command.port,
                at=turn.at,
            )
        )
    else:
        message = f"the handler left by port {command.port!r}; the node has: {', '.join(node.ports)}"
        fail(turn, command.address, e.StepError(message, "port", attempt=command.attempt), retryable=False)
    advance(turn, command.address)


def _fire(turn: Turn, timer_id: str) -> None:
    timer = turn.running.timers.get(timer_id)
    if timer is None or turn.at < timer.due:
        return
    turn.emit(e.TimerFired(timer_id=timer_id, at=turn.at))
    address = timer.address
    match timer.purpose:
        case "wait":
            turn.emit(e.StepSucceeded(address=address, output=to_json(timer.due), at=turn.at))
            advance(turn, address)
        case "retry":
            start_or_queue(turn, address)
        case "signal":
            waited = turn.running.steps[address]
            name = waited.name if isinstance(waited, Awaiting) else ""
            fail(turn, address, e.StepError(f"no signal {name!r} came in time", "timeout"))
            advance(turn, address)
        case _:
            limit = turn.plan.definition.timeout
            turn.emit(e.ExecutionFailed(error=e.StepError(f"not finished within {limit}", "timeout"), at=turn.at))


def _receive(turn: Turn, command: c.ReceiveSignal) -> None:
    turn.emit(_received(command))
    running = turn.running
    waiting = [
        (step.since, address)
        for address, name in running.awaiting.items()
        if name == command.name and isinstance(step := running.steps[address], Awaiting)
    ]
    if not waiting:
        return
    address = min(waiting)[1]
    if (timer_id := timer_id_of(address, "signal")) in running.timers:
        turn.emit(e.TimerCancelled(timer_id=timer_id, at=turn.at))
    turn.emit(e.StepSucceeded(address=address, output=command.data, signal_id=command.signal_id, at=turn.at))
    advance(turn, address)


def _received(command: c.ReceiveSignal) -> e.SignalReceived:
    return e.SignalReceived(
        signal_id=command.signal_id, name=command.name, data=command.data, actor=command.actor, at=command.at
    )


def _at_work(turn: Turn, address: str, attempt: int) -> InFlight | None:
    step = turn.running.steps.get(address)
    return step if isinstance(step, InFlight) and step.attempt == attempt else None


def _needed(plan: Plan | None) -> Plan:
    if plan is None:
        raise TypeError("this decision needs the plan")
    return plan
