"""The walk through the graph: what follows when a step settles.

A step begins as soon as its own inputs are settled (a ready set, not levels). When a step settles, each edge that
leaves it has either fired or is dead; a node whose edges are all settled begins when one has fired and is skipped when
all are dead, which settles its own edges in turn (dead-path elimination).

Comes from: `decide`. Goes to: `turns`, `settling`, `draft`.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, assert_never

from daemon.core import approving, functions, paging, saga, turns
from daemon.core import events as e
from daemon.core.address import NOTIFY, PAGE, is_call, node_of, turn_around, within
from daemon.core.admission import admitted, enter
from daemon.core.breakpoints import given, holds
from daemon.core.caching import key_of
from daemon.core.expressions import EvaluationError
from daemon.core.node import (
    AskApproval,
    Assign,
    AwaitSignal,
    Beginning,
    Done,
    Fail,
    Repeat,
    Run,
    RunFunction,
    WaitUntil,
)
from daemon.core.settling import fail, fail_turn, succeed, too_large
from daemon.core.state import Failed, Limited, Queued, Retrying, Running, Settled, Skipped, Succeeded, Turn, depth_of
from daemon.core.values import size_of, to_json

if TYPE_CHECKING:
    from daemon.core.draft import Draft
    from daemon.core.plan import Edge, PlannedNode


LARGE = 1024
"""Bytes of an output from which on it is let go of as soon as nothing can read it."""


def advance(draft: Draft) -> None:
    """Follow what has settled, and all that settles because of it; then end if nothing is waited for."""
    while not draft.ended():
        if draft.ready:
            _begin_unless_over(draft, draft.ready.popleft())
        elif draft.settled:
            _follow(draft, draft.settled.popleft())
        elif draft.running.queue and _slot_free(draft):
            _fill_slots(draft)
        elif draft.touched:
            turns.end(draft, draft.touched.popitem()[0])
        elif draft.repeating:
            turns.proceed(draft, draft.repeating.popitem()[0])
        elif draft.groups:
            _proceed_with_group(draft, draft.groups.popitem()[0])
        elif draft.undone:
            _fail_undone(draft, *draft.undone.popitem())
        elif not draft.running.waits and not draft.running.groups:
            _complete(draft)
        else:
            break
    if isinstance(draft.state, Running) and draft.state.undoing is not None:
        _fill_slots(draft)
        saga.proceed(draft, "")


def _proceed_with_group(draft: Draft, scope: str) -> None:
    """Undo more of a group, unless what is around it was given up meanwhile, or is undone as a whole."""
    if scope in draft.running.groups:
        saga.proceed(draft, scope)


def _fail_undone(draft: Draft, turn: str, error: e.StepError) -> None:
    if isinstance(draft.running.steps.get(turn), Turn):
        fail_turn(draft, turn, error)


def _begin_unless_over(draft: Draft, address: str) -> None:
    if not draft.over(turn_around(address)):
        begin(draft, address)


def _follow(draft: Draft, address: str) -> None:
    """Follow the edges of a settled step, unless the turn that it stands in was given up meanwhile."""
    if is_call(address):
        return  # what follows is the function's to say
    if address.endswith(PAGE):
        paging.take(draft, address)
        return
    turn = turn_around(address)
    if turn:
        draft.touched[turn] = None
    for edge in draft.plan.nodes[node_of(address)].outgoing:
        if draft.over(turn):
            return
        reach(draft, turn, edge)
    if not draft.over(turn):
        _release(draft, turn, address)


def _release(draft: Draft, turn: str, address: str) -> None:
    """Let go of large outputs that were read for the last time, now that this step has settled."""
    node, steps = draft.plan.nodes[node_of(address)], draft.running.steps
    idle: list[str] = []
    for node_id in (node.id, *node.reads):
        step, readers = steps.get(within(turn, node_id)), draft.plan.nodes[node_id].readers
        if (
            readers is not None
            and isinstance(step, Succeeded)
            and size_of(step.output) >= LARGE
            and all(isinstance(steps.get(within(turn, reader)), Settled) for reader in readers)
        ):
            idle.append(within(turn, node_id))
    if idle:
        draft.emit(e.OutputsReleased(addresses=tuple(idle), at=draft.at))


def reach(draft: Draft, turn: str, edge: Edge) -> None:
    """Begin or skip the edge's target if its time has come.

    Looks at the other edges into it from the last, and only as far as one that is open: branches mostly settle in
    their order, so a join of many costs little for each of them.
    """
    running, address = draft.running, within(turn, edge.target)
    if address in running.steps:
        return
    node = draft.plan.nodes[edge.target]
    fired = _edge_condition(running, turn, edge) == "fired"
    if not (fired and node.join == "any"):
        for other in reversed(node.incoming):
            condition = _edge_condition(running, turn, other)
            if condition == "open":
                return
            fired = fired or condition == "fired"
    if fired:
        begin(draft, address)
    else:
        draft.emit(e.StepSkipped(address=address, at=draft.at))


def _edge_condition(state: Running, turn: str, edge: Edge) -> str:
    step = state.steps.get(within(turn, edge.source))
    if isinstance(step, Succeeded | Failed):
        chosen = isinstance(step, Failed) or step.to is None or edge.target in step.to
        return "fired" if chosen and step.port == edge.port else "dead"
    return "dead" if isinstance(step, Skipped) else "open"


def begin(draft: Draft, address: str, *, granted: bool = False) -> None:
    """Begin the step, or queue it for a slot. With `granted` it has waited for limits, and has a slot of each."""
    breaking = draft.running.breaking
    if breaking is not None and not granted and holds(draft, breaking, address):
        return
    node = draft.node(address)
    if node.type.execute is not None and not granted and not _slot_free(draft):
        draft.emit(e.StepQueued(address=address, at=draft.at))
        return
    turn, key = turn_around(address), ""
    scope = paging.scope_of(draft, address) if address.endswith(PAGE) else draft.scope.at(turn)
    by_hand = given(draft, address)
    try:
        ask = by_hand or node.type.begin(node.config, Beginning(scope, _fired(draft, turn, node), draft.at))
        key = key_of(node, scope, draft.running.subject) if isinstance(ask, Run) and by_hand is None else ""
    except EvaluationError as error:
        ask = Fail(e.StepError(str(error), "expression"))
    match ask:
        case Run() if node.subflow is not None and depth_of(draft.running) >= draft.plan.definition.limits.depth:
            limit = draft.plan.definition.limits.depth
            message = f"{limit} executions stand above one another; `limits.depth` allows no more"
            fail(draft, address, e.StepError(message, "recursion"), retryable=False)
        case Run():
            _run(draft, address, ask, key, granted=granted)
        case Done():
            succeed(draft, address, to_json(ask.output), port=ask.port)
        case WaitUntil():
            draft.wait(address, "wait", ask.due)
        case AwaitSignal():
            _await_signal(draft, address, ask)
        case AskApproval():
            approving.request(draft, address, ask)
        case Assign():
            _assign(draft, address, ask)
        case Repeat():
            turns.start(draft, address, ask)
        case RunFunction():
            functions.start(draft, address, ask)
        case Fail():
            fail(draft, address, ask.error, retryable=False)
        case _:
            assert_never(ask)


def _run(draft: Draft, address: str, ask: Run, key: str, *, granted: bool) -> None:
    """Start the first attempt, or let the step wait for its limits."""
    try:
        if not admitted(draft, address, draft.node(address), granted=granted):
            return
    except EvaluationError as error:
        fail(draft, address, e.StepError(str(error), "expression"), retryable=False)
    else:
        sent = to_json(ask.input)
        draft.emit(e.StepStarted(address=address, input=sent, secrets=ask.secrets, cache_key=key, at=draft.at))


def _assign(draft: Draft, address: str, ask: Assign) -> None:
    output = to_json(ask.variables)
    if (problem := too_large(draft, address, output, more=size_of(output))) is not None:  # then none of them is set
        fail(draft, address, problem, retryable=False)
        return
    for name, value in ask.variables.items():
        draft.emit(e.VariableSet(address=address, name=name, value=to_json(value), at=draft.at))
    succeed(draft, address, output)


def _await_signal(draft: Draft, address: str, ask: AwaitSignal) -> None:
    here = [(s.version, signal_id) for signal_id, s in draft.running.signals.items() if s.name == ask.name]
    if here:
        signal_id = min(here)[1]
        output = draft.running.signals[signal_id].data
        draft.emit(e.StepSucceeded(address=address, output=output, signal_id=signal_id, at=draft.at))
        return
    draft.emit(e.SignalAwaited(address=address, name=ask.name, at=draft.at))
    if ask.timeout is not None:
        draft.wait(address, "signal", draft.at + ask.timeout)


def start_or_queue(draft: Draft, address: str) -> None:
    """Start the next attempt of a step that waited for it."""
    step = draft.running.steps[address]
    if not isinstance(step, Retrying):
        raise TypeError(f"the retry timer of {address} fired, but it does not wait for a retry")
    if _slot_free(draft):
        _start_again(draft, address, step.attempt)
    else:
        draft.emit(e.StepQueued(address=address, at=draft.at))


def grant(draft: Draft, address: str) -> None:
    """Begin what has waited for limits; a step of a paused execution waits for the end of the pause instead."""
    step = draft.running.steps.get(address)
    if not address:
        enter(draft, granted=True)
    elif draft.running.paused is not None or draft.running.stop is not None:
        draft.emit(e.StepQueued(address=address, at=draft.at))
    elif isinstance(step, Limited) and step.attempt > 1:
        _start_again(draft, address, step.attempt, granted=True)
    else:
        begin(draft, address, granted=True)


def _start_again(draft: Draft, address: str, attempt: int, *, granted: bool = False) -> None:
    """Begin another attempt, which sends what the first has sent, or wait for its limits."""
    try:
        if not admitted(draft, address, draft.node(address), granted=granted):
            return
    except EvaluationError as error:
        fail(draft, address, e.StepError(str(error), "expression"), retryable=False)
    else:
        draft.emit(e.StepStarted(address=address, attempt=attempt, at=draft.at))


def _fill_slots(draft: Draft) -> None:
    """Start queued steps, those that have waited longest first, while there are slots."""
    while isinstance(draft.state, Running) and draft.running.queue and _slot_free(draft):
        address = draft.running.queue[draft.running.first_ticket]
        step = draft.running.steps[address]
        if isinstance(step, Queued) and step.attempt > 1:
            _start_again(draft, address, step.attempt)
        elif address.endswith(NOTIFY) and isinstance(step, Queued):
            draft.emit(e.StepStarted(address=address, input=step.input, secrets=step.secrets, at=draft.at))
        else:
            begin(draft, address)


def _slot_free(draft: Draft) -> bool:
    running = draft.running
    if running.paused is not None or (running.breaking is not None and running.stop is not None):
        return False
    return len(running.in_flight) + len(running.limited) < draft.plan.concurrency


def _complete(draft: Draft) -> None:
    try:
        output = turns.output_of_body(draft, draft.plan.body, "")
    except EvaluationError as error:
        failed = e.StepError(f"output: {error}", "expression")
        saga.end(draft, e.UndoPlanned(status="failed", mode="", error=failed, at=draft.at))
    else:
        draft.emit(e.ExecutionCompleted(output=output, at=draft.at))


def _fired(draft: Draft, turn: str, node: PlannedNode) -> tuple[str, ...]:
    return tuple(edge.source for edge in node.incoming if _edge_condition(draft.running, turn, edge) == "fired")
