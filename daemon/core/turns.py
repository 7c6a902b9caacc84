"""The turns of loops and fan-outs: when the next one begins, when one is at its end, and what all of them give.

A node with a body is one step to those around it. Each turn executes the body's nodes at addresses of its own,
`each[3].charge`. A turn is at its end when nothing in it is open; its steps then leave the state, so a loop of many
turns needs no more memory than its items, and what it collects.

Comes from: `walk`. Goes to: `draft`, `settling`.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import msgspec

from daemon.core import events as e
from daemon.core import paging
from daemon.core.address import node_of, split_turn, turn_around, turn_of, within
from daemon.core.expressions import EvaluationError
from daemon.core.scope import Extended, error_value, output_of
from daemon.core.settling import abandon_turns, breath_of, fail, fail_turn, succeed, too_large
from daemon.core.state import Failed, Succeeded, Turn
from daemon.core.values import Json, to_json

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    from daemon.core.draft import Draft
    from daemon.core.node import Repeat
    from daemon.core.plan import Body, PlannedNode
    from daemon.core.state import Repeating
    from daemon.core.templates import Template

MOST_EVENTS = 500
"""A decision that has so many events begins no further turn: a timer that is due at once does, in the next one."""

_EVENTS: Mapping[str, type[e.LoopStarted | e.FanOutExpanded | e.SagaStarted]] = {
    "loop": e.LoopStarted,
    "parallel": e.FanOutExpanded,
    "saga": e.SagaStarted,
}


def start(draft: Draft, address: str, ask: Repeat) -> None:
    """Begin the loop or fan-out; `proceed` begins its turns."""
    how, _ = _node_at(draft, address).repeats
    total = len(ask.items) if isinstance(ask.items, list) else ask.total
    if ask.items is not None and not isinstance(ask.items, list):
        _fail(draft, address, f"the items must be a list, and are {str(ask.items)[:80]}")
        return
    if total is not None and total > how.limit:
        _fail(draft, address, f"{total} turns are more than the limit of {how.limit}", "loop_limit")
        return
    items = None if ask.items is None else to_json(ask.items)
    if items is not None and (problem := too_large(draft, address, items)) is not None:
        fail(draft, address, problem, retryable=False)
        return
    draft.emit(
        _EVENTS[how.name](
            address=address,
            items=items,
            total=total,
            first=ask.first,
            step=ask.step,
            paged=ask.paged,
            collect=how.collect,
            at=draft.at,
        )
    )
    draft.repeating[address] = None


def proceed(draft: Draft, address: str) -> None:
    """Begin the turns that can begin now; settle the step when none is left."""
    how, _ = _node_at(draft, address).repeats
    while (step := draft.repeating_at(address)) is not None and step.running < how.at_once:
        if breath_of(address, step) in draft.running.timers:
            return
        if step.begun == step.total:
            if not step.running:
                _settle(draft, address)
            return
        if paging.needs_page(step):
            paging.ask(draft, address, step)
            return
        if len(draft.events) >= MOST_EVENTS:
            timer_id = breath_of(address, step)
            draft.emit(e.TimerSet(timer_id=timer_id, address=address, purpose="turn", due=draft.at, at=draft.at))
            return
        try:
            _next_turn(draft, address, step)
        except EvaluationError as error:
            abandon_turns(draft, address)
            fail(draft, address, e.StepError(str(error), "expression"), retryable=False)


def _next_turn(draft: Draft, address: str, step: Repeating) -> None:
    """Begin one turn, leave it out, or end the loop before it, as the conditions say."""
    how, body = _node_at(draft, address).repeats
    turn = turn_of(address, step.begun)
    scope = draft.scope.at(turn)
    if not _holds(how.going, scope, otherwise=True):
        _settle(draft, address)
    elif step.begun >= how.limit:
        _fail(draft, address, f"it is not at its end after {how.limit} turns", "loop_limit")
    elif _holds(how.skip, scope, otherwise=False):
        draft.emit(e.TurnSkipped(address=turn, at=draft.at))
    else:
        draft.emit(e.TurnStarted(address=turn, at=draft.at))
        draft.ready.extend(within(turn, start) for start in body.starts)


def end(draft: Draft, turn: str) -> None:
    """End the turn if nothing in it is open; then begin the next, or end the loop."""
    state = draft.running.steps.get(turn)
    if not isinstance(state, Turn) or state.open or draft.over(turn):
        return
    address, _ = split_turn(turn)
    how, body = _node_at(draft, address).repeats
    scope = draft.scope.at(turn)
    try:
        output = output_of_body(draft, body, turn)
        over = not _holds(how.again, scope, otherwise=True) or _holds(how.stop, scope, otherwise=False)
    except EvaluationError as error:
        fail_turn(draft, turn, e.StepError(str(error), "expression"))
        return
    draft.emit(e.TurnSucceeded(address=turn, output=output, at=draft.at))
    if over or draft.running.repeating(address).succeeded == how.enough:
        _settle(draft, address)
    else:
        draft.repeating[address] = None


def output_of_body(draft: Draft, body: Body, turn: str) -> Json:
    """Return what a body gives: what its template says, else the outputs of the nodes that nothing follows, by id."""
    if body.output is not None:
        return to_json(body.output.render(draft.scope.at(turn)).value)
    last = ((node_id, draft.running.steps.get(within(turn, node_id))) for node_id in body.last)
    return to_json({node_id: output_of(step) for node_id, step in last if isinstance(step, Succeeded | Failed)})


def _settle(draft: Draft, address: str) -> None:
    """End the loop or fan-out with its output."""
    how, _ = _node_at(draft, address).repeats
    step = draft.running.repeating(address)
    abandon_turns(draft, address)
    if how.enough is not None and step.succeeded < how.enough:
        _fail(draft, address, f"{step.succeeded} turns succeeded, and {how.enough} are needed", "not_enough")
        return
    output = _collected(draft, address, step) if step.collect else step.last
    if how.aggregate is not None:
        known = {how.name: {"results": msgspec.json.decode(output), "total": step.begun, "failed": step.failed}}
        scope = Extended(draft.scope.at(turn_around(address)), known)
        try:
            output = to_json(how.aggregate.render(scope).value)
        except EvaluationError as error:
            fail(draft, address, e.StepError(str(error), "expression"), retryable=False)
            return
    succeed(draft, address, output)


def _collected(draft: Draft, address: str, step: Repeating) -> Json:
    """Return the list of what the turns gave, without decoding it."""
    return Json(b"[" + b",".join(map(bytes, _results(draft, address, step))) + b"]")


def _results(draft: Draft, address: str, step: Repeating) -> Iterator[Json]:
    for index in range(step.begun):
        match draft.running.steps.get(turn_of(address, index)):
            case Succeeded(output=output):
                yield output
            case Failed(error=error):
                yield to_json({"error": error_value(error)})
            case _:
                pass


def _holds(condition: Template | None, scope: Mapping[str, object], *, otherwise: bool) -> bool:
    if condition is None:
        return otherwise
    value = condition.render(scope).value
    if not isinstance(value, bool):
        raise EvaluationError(f"the condition must give true or false, and gave {str(value)[:80]}")
    return value


def _fail(draft: Draft, address: str, message: str, code: str = "loop") -> None:
    fail(draft, address, e.StepError(message, code), retryable=False)


def _node_at(draft: Draft, address: str) -> PlannedNode:
    return draft.plan.nodes[node_of(address)]
