"""What an execution owes for a step that took effect, or may have: recorded with the step's own end.

What the compensation will be sent is rendered in that moment, so the undo plan needs neither the definition nor what
was known then. Where an attempt gave no answer, a lookup may find out whether it took effect: what that gives is the
step's output for the compensation, which is then rendered anew.

Comes from: `settling`, `saga`. Goes to: `draft`.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

from daemon.core import events as e
from daemon.core.address import stands_in, turn_around
from daemon.core.evolve_saga import newest_first
from daemon.core.expressions import EvaluationError
from daemon.core.node import Beginning, Run
from daemon.core.scope import Extended
from daemon.core.state import Succeeded, Turn
from daemon.core.values import NULL, Json, from_json, to_json

if TYPE_CHECKING:
    from daemon.core.draft import Draft
    from daemon.core.people import Suspended
    from daemon.core.plan import PlannedNode
    from daemon.core.state import InFlight, Limited, Queued, Retrying, Running


class _Sent(NamedTuple):
    """What a compensation or a lookup is sent, or why it cannot be."""

    run: Run
    problem: str = ""


def capture(
    draft: Draft, address: str, before: InFlight | Retrying | Queued | Limited | Suspended, *, unknown: bool = False
) -> None:
    """Record what would undo the step that has just settled, if its node declares that."""
    compensation = draft.node(address).compensation
    if compensation is None or compensation.of_child or left_as_it_is(draft.running, address):
        return
    step = draft.running.steps[address]
    output = step.output if isinstance(step, Succeeded) else None
    sent, sought = _Sent(Run(None), compensation.reason), None
    if compensation.node is not None:
        sent = _sent(draft, address, compensation.node, before.input, output)
    if unknown and compensation.lookup is not None:
        sought = _sent(draft, address, compensation.lookup, before.input, output)
    looks_up = sought is not None and not sought.problem
    draft.emit(
        e.CompensationOwed(
            address=address,
            began=before.began,
            kind=compensation.kind,
            unknown=unknown,
            input=to_json(sent.run.input),
            secrets=sent.run.secrets,
            looks_up=looks_up,
            lookup=to_json(sought.run.input) if sought is not None and looks_up else NULL,
            lookup_secrets=sought.run.secrets if sought is not None else (),
            sent=before.input if looks_up else NULL,
            problem=sent.problem,
            at=draft.at,
        )
    )


def left_as_it_is(running: Running, address: str) -> bool:
    """Tell whether a person has said of the plan that undoes what the step has done: leave all as it is."""
    plans = [running.undoing, *(plan for group, plan in running.groups.items() if stands_in(address, group))]
    return any(plan is not None and plan.left for plan in plans)


def take_lookup(draft: Draft, address: str, output: Json) -> None:
    """Record what a lookup has found: nothing, or the step's output, of which its compensation is made."""
    owed = next(owed for _, owed in newest_first(draft.running) if owed.address == address)
    compensation = draft.node(address).compensation
    found, sent = bool(from_json(output)), _Sent(Run(None))
    if found and compensation is not None and compensation.node is not None:
        sent = _sent(draft, address, compensation.node, owed.sent, output)
    draft.emit(
        e.EffectLookedUp(
            address=address,
            found=found,
            input=to_json(sent.run.input) if found else NULL,
            secrets=sent.run.secrets,
            problem=sent.problem,
            at=draft.at,
        )
    )


def _sent(draft: Draft, address: str, node: PlannedNode, given: Json, output: Json | None) -> _Sent:
    """Render what the node is sent, with the step's input and output in scope, and its turn while that is there."""
    key = f"{draft.running.keys.get(address, draft.running.execution_id)}/{address}"
    known = {"step": {"input": from_json(given), "output": None if output is None else from_json(output), "key": key}}
    turn = turn_around(address)
    scope = draft.scope.at(turn if isinstance(draft.running.steps.get(turn), Turn) else "")
    try:
        asked = node.type.begin(node.config, Beginning(Extended(scope, known), (), draft.at))
    except EvaluationError as error:
        return _Sent(Run(None), f"what undoes it cannot be called: {error}")
    return _Sent(asked if isinstance(asked, Run) else Run(None))
