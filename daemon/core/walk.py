"""The walk through the graph: what follows when a step settles.

A step begins as soon as its own inputs are settled (a ready set, not levels). When a step settles, each edge that
leaves it has either fired or is dead; a node whose edges are all settled begins when one has fired and is skipped when
all are dead, which settles its own edges in turn (dead-path elimination).

Comes from: `decide`. Goes to: `evolve`.
"""

from __future__ import annotations

from collections import deque
from typing import TYPE_CHECKING, assert_never

from msgspec import UNSET

from daemon.core import events as e
from daemon.core.address import node_of
from daemon.core.evolve import evolve
from daemon.core.expressions import EvaluationError
from daemon.core.node import AwaitSignal, Beginning, Done, Fail, Run, WaitUntil
from daemon.core.retry import delay_before, may_retry
from daemon.core.scope import Scope, output_of
from daemon.core.state import (
    Failed,
    Finished,
    InFlight,
    Queued,
    Retrying,
    Running,
    Settled,
    Skipped,
    State,
    Succeeded,
)
from daemon.core.values import to_json

if TYPE_CHECKING:
    from datetime import datetime

    from daemon.core.plan import Edge, Plan, PlannedNode


class Turn:
    """One decision in the making: each event is evolved as it is decided, so that the next one sees it."""

    def __init__(self, plan: Plan, state: State, at: datetime) -> None:
        self.plan = plan
        self.state = state
        self.at = at
        self.events: list[e.Event] = []
        self.scope = Scope(plan, state)

    def emit(self, event: e.Event) -> None:
        """Add an event and evolve the state by it."""
        self.events.append(event)
        self.state = self.scope.state = evolve(self.state, event)

    @property
    def running(self) -> Running:
        """The state, which has not ended."""
        if not isinstance(self.state, Running):
            raise TypeError("decided on after the end")
        return self.state

    def ended(self) -> bool:
        """Tell whether an event of this turn has ended the execution."""
        return isinstance(self.state, Finished)


def advance(turn: Turn, *settled: str) -> None:
    """Follow the edges of the settled steps, and of all that settle because of them; then end if nothing is open."""
    todo = deque(settled)
    nodes = turn.plan.nodes
    while not turn.ended():
        if todo:
            for edge in nodes[node_of(todo.popleft())].outgoing:
                if not turn.ended() and _reach(turn, edge):
                    todo.append(edge.target)
        elif turn.running.queue and (filled := _fill_slots(turn)):
            todo.extend(filled)
        else:
            break
    if not turn.ended() and not turn.running.open:
        _complete(turn)


def _reach(turn: Turn, edge: Edge) -> bool:
    """Begin or skip the edge's target if its time has come; tell whether that settled it.

    Looks at the other edges into it from the last, and only as far as one that is open: branches mostly settle in
    their order, so a join of many costs little for each of them.
    """
    running, address = turn.running, edge.target
    if address in running.steps:
        return False
    node = turn.plan.nodes[node_of(address)]
    fired = _edge_condition(running, edge) == "fired"
    if not (fired and node.join == "any"):
        for other in reversed(node.incoming):
            condition = _edge_condition(running, other)
            if condition == "open":
                return False
            fired = fired or condition == "fired"
    if fired:
        return begin(turn, address)
    turn.emit(e.StepSkipped(address=address, at=turn.at))
    return True


def _edge_condition(state: Running, edge: Edge) -> str:
    step = state.steps.get(edge.source)
    if isinstance(step, Succeeded | Failed):
        return "fired" if step.port == edge.port else "dead"
    return "dead" if isinstance(step, Skipped) else "open"


def begin(turn: Turn, address: str) -> bool:
    """Begin the step, or queue it for a slot; tell whether it is settled already."""
    node = turn.plan.nodes[node_of(address)]
    if node.type.execute is not None and not _slot_free(turn):
        turn.emit(e.StepQueued(address=address, at=turn.at))
        return False
    try:
        ask = node.type.begin(node.config, Beginning(turn.scope, _fired(turn, node), turn.at))
    except EvaluationError as error:
        ask = Fail(e.StepError(str(error), "expression"))
    match ask:
        case Run():
            sent = to_json(ask.input)
            turn.emit(e.StepStarted(address=address, input=sent, secrets=ask.secrets, at=turn.at))
        case Done():
            turn.emit(e.StepSucceeded(address=address, output=to_json(ask.output), port=ask.port, at=turn.at))
        case WaitUntil():
            wait(turn, address, "wait", ask.due)
        case AwaitSignal():
            _await_signal(turn, address, ask)
        case Fail():
            fail(turn, address, ask.error, retryable=False)
        case _:
            assert_never(ask)
    return not turn.ended() and isinstance(turn.running.steps[address], Settled)


def _await_signal(turn: Turn, address: str, ask: AwaitSignal) -> None:
    here = [(s.version, signal_id) for signal_id, s in turn.running.signals.items() if s.name == ask.name]
    if here:
        signal_id = min(here)[1]
        output = turn.running.signals[signal_id].data
        turn.emit(e.StepSucceeded(address=address, output=output, signal_id=signal_id, at=turn.at))
        return
    turn.emit(e.SignalAwaited(address=address, name=ask.name, at=turn.at))
    if ask.timeout is not None:
        wait(turn, address, "signal", turn.at + ask.timeout)


def start_or_queue(turn: Turn, address: str) -> None:
    """Start the next attempt of a step that waited for it."""
    step = turn.running.steps[address]
    if not isinstance(step, Retrying):
        raise TypeError(f"the retry timer of {address} fired, but it does not wait for a retry")
    if _slot_free(turn):
        turn.emit(e.StepStarted(address=address, attempt=step.attempt, at=turn.at))
    else:
        turn.emit(e.StepQueued(address=address, at=turn.at))


def _fill_slots(turn: Turn) -> list[str]:
    """Start queued steps while there are slots; return those that were settled at once."""
    settled = []
    while not turn.ended() and turn.running.queue and _slot_free(turn):
        address = turn.running.queue[turn.running.first_ticket]
        step = turn.running.steps[address]
        if isinstance(step, Queued) and step.attempt > 1:
            turn.emit(e.StepStarted(address=address, attempt=step.attempt, at=turn.at))
        elif begin(turn, address):
            settled.append(address)
    return settled


def _slot_free(turn: Turn) -> bool:
    return len(turn.running.in_flight) < turn.plan.concurrency


def fail(turn: Turn, address: str, error: e.StepError, *, jitter: float = 0.0, retryable: bool = True) -> None:
    """Record the failure and what follows: another attempt, an `error` edge, going on without, or the end."""
    node = turn.plan.nodes[node_of(address)]
    step = turn.running.steps.get(address)
    at_work = isinstance(step, InFlight)
    attempt = step.attempt if isinstance(step, InFlight) else 1
    if retryable and at_work and may_retry(node.retry, attempt=attempt, code=error.code, type_name=error.type):
        due = turn.at + delay_before(node.retry, attempt + 1, jitter)
        turn.emit(e.StepFailed(address=address, attempt=attempt, error=error, retry_at=due, at=turn.at))
        wait(turn, address, "retry", due)
    elif node.catches:
        turn.emit(e.StepFailed(address=address, attempt=attempt, error=error, port="error", at=turn.at))
    elif node.on_error == "continue" and node.default is not UNSET:
        default = to_json(node.default)
        failed = e.StepFailed(address=address, attempt=attempt, error=error, port="out", output=default, at=turn.at)
        turn.emit(failed)
    else:
        turn.emit(e.StepFailed(address=address, attempt=attempt, error=error, at=turn.at))
        if node.on_error != "continue":
            turn.emit(e.ExecutionFailed(error=error, address=address, at=turn.at))


def _complete(turn: Turn) -> None:
    plan, running = turn.plan, turn.running
    try:
        output = plan.output.render(turn.scope).value if plan.output is not None else _last_outputs(plan, running)
    except EvaluationError as error:
        turn.emit(e.ExecutionFailed(error=e.StepError(f"output: {error}", "expression"), at=turn.at))
    else:
        turn.emit(e.ExecutionCompleted(output=to_json(output), at=turn.at))


def _last_outputs(plan: Plan, running: Running) -> dict[str, object]:
    """Return the outputs of the nodes that nothing follows, by id."""
    last = (node.id for node in plan.nodes.values() if not node.outgoing)
    return {node_id: output_of(running.steps[node_id]) for node_id in last if _has_output(running, node_id)}


def _has_output(running: Running, address: str) -> bool:
    return isinstance(running.steps[address], Succeeded | Failed)


def _fired(turn: Turn, node: PlannedNode) -> tuple[str, ...]:
    return tuple(edge.source for edge in node.incoming if _edge_condition(turn.running, edge) == "fired")


def wait(turn: Turn, address: str, purpose: str, due: datetime) -> None:
    """Set the step's timer of this purpose."""
    timer_id = timer_id_of(address, purpose)
    turn.emit(e.TimerSet(timer_id=timer_id, address=address, purpose=purpose, due=due, at=turn.at))


def timer_id_of(address: str, purpose: str) -> str:
    """Return the timer's id; a step has one timer of a purpose at a time."""
    return f"{address}#{purpose}"
