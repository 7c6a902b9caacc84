"""Breakpoints in an execution that goes on: where it stops.

A step that is to begin where a breakpoint fits, or a move leads, is queued, and with it every step that would begin
until somebody lets the execution go on: what is at work goes on, timers and signals are taken. A step that has failed
for good where errors stop it is queued as well, with its failure, before anything follows from that. What undoes steps
is never stopped. That somebody debugs is in the log, so a daemon that dies leaves the execution where it stands.

Not held when they fail: loops, fan-outs, groups and functions, whose failed step was held before them, approvals, and
handlers that had paused.

Comes from: `walk`, `settling`. Goes to: `draft`; `debugging` lets go on.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from daemon.core import events as e
from daemon.core.address import NOTIFY, UNDO, node_of, turn_around
from daemon.core.evaluation import EvaluationError
from daemon.core.evolve_breaks import depth_at
from daemon.core.expressions import compile_expression
from daemon.core.node import Run
from daemon.core.people import Deciding, Suspended
from daemon.core.state import InFlight, Limited, Queued, Repeating
from daemon.core.values import from_json

if TYPE_CHECKING:
    from daemon.core.draft import Draft
    from daemon.core.state_breaks import Breaking

_NOT_HELD = (Deciding, Suspended, Repeating)


def holds(draft: Draft, breaking: Breaking, address: str) -> bool:
    """Tell whether the step is not to begin now, and record that; `walk.begin` asks of executions that are debugged."""
    stands = draft.running.stop is not None
    found = None if stands or address in breaking.passed else _before(draft, breaking, address)
    led = not stands and found is None and address not in breaking.passed and _leads_to(breaking, address)
    if not (stands or found is not None or led):
        return False
    _queue(draft, address)
    if not stands:
        draft.emit(e.BreakpointHit(address=address, breakpoint=found, at=draft.at))
    return True


def holds_failure(draft: Draft, breaking: Breaking, failed: e.StepFailed) -> bool:
    """Tell whether the execution stands now because of this failure, and record that."""
    address = failed.address
    step = draft.running.steps.get(address)
    if isinstance(step, _NOT_HELD) or address.endswith((UNDO, NOTIFY)):
        return False
    if draft.over(turn_around(address)):
        return False
    fitting = (each for each in breaking.breakpoints if each.errors and _fits(draft, each, address))
    found = next(fitting, None)
    if found is None:
        return False
    _queue(draft, address)
    draft.emit(
        e.BreakpointHit(
            address=address,
            breakpoint=found,
            error=failed.error,
            attempt=failed.attempt,
            begun=isinstance(step, InFlight),
            unknown=failed.unknown,
            at=draft.at,
        )
    )
    return True


def given(draft: Draft, address: str) -> Run | None:
    """Return what the step is sent by hand; None for what its templates give."""
    breaking, step = draft.running.breaking, draft.running.steps.get(address)
    if breaking is None or address not in breaking.edited or not isinstance(step, Queued | Limited):
        return None
    return Run(from_json(step.input))


def _queue(draft: Draft, address: str) -> None:
    if not isinstance(draft.running.steps.get(address), Queued):
        draft.emit(e.StepQueued(address=address, at=draft.at))


def _before(draft: Draft, breaking: Breaking, address: str) -> e.Breakpoint | None:
    return next((each for each in breaking.breakpoints if not each.errors and _fits(draft, each, address)), None)


def _leads_to(breaking: Breaking, address: str) -> bool:
    """Tell whether the move that is under way ends here."""
    match breaking.moving:
        case "over":
            return depth_at(address) <= breaking.depth
        case "into":
            return True
        case "out":
            return depth_at(address) < breaking.depth
        case _:
            return False


def _fits(draft: Draft, each: e.Breakpoint, address: str) -> bool:
    if each.node and each.node not in (address, node_of(address)):
        return False
    return not each.condition or _true(draft, each.condition, address)


def _true(draft: Draft, condition: str, address: str) -> bool:
    try:
        return bool(compile_expression(condition).evaluate(draft.scope.at(turn_around(address))))
    except (EvaluationError, TypeError):  # TypeError: it reads an output that has left the state
        return False
