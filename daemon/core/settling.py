"""How an attempt ends: with the step's result, to be made again later, or by what follows when it fails.

An error is taken by the first of these: another attempt, the step's `error` edge, its policy to go on without a result.
When none takes it, what is around the step fails: the turn that it stands in, and with that the loop, where the same is
asked again; in the outermost scope, the execution. What was postponed at its own wish has not failed, and no retry
policy counts it.

Comes from: `decide`, `walk`, `turns`. Goes to: `draft`.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from msgspec import UNSET

from daemon.core import events as e
from daemon.core.address import node_of, split_turn, turn_around, turn_of
from daemon.core.draft import timer_id_of
from daemon.core.retry import delay_before, may_retry
from daemon.core.state import InFlight, Turn
from daemon.core.values import size_of, to_json

if TYPE_CHECKING:
    from datetime import timedelta

    from daemon.core.draft import Draft
    from daemon.core.state import Repeating
    from daemon.core.values import Json


def succeed(
    draft: Draft,
    address: str,
    output: Json,
    *,
    attempt: int = 1,
    port: str = "out",
    to: tuple[str, ...] | None = None,
) -> None:
    """Record the step's result, unless it is larger than the workflow allows: then the step fails."""
    limits, size = draft.plan.definition.limits, size_of(output)
    if size > limits.output_bytes:
        problem, code = f"the output has {size} bytes, more than {limits.output_bytes}", "output_too_large"
    elif draft.running.size + size > limits.context_bytes:
        held = draft.running.size + size
        problem, code = f"the execution would hold {held} bytes, more than {limits.context_bytes}", "context_too_large"
    else:
        draft.emit(e.StepSucceeded(address=address, attempt=attempt, output=output, port=port, to=to, at=draft.at))
        return
    _fail_as_too_large(draft, address, problem, code, attempt)


def postpone(draft: Draft, address: str, after: timedelta, state: Json, *, attempt: int) -> None:
    """Record that the handler is to be called again, unless what it wants to be handed then is too large."""
    limits, size = draft.plan.definition.limits, size_of(state)
    if size > limits.output_bytes:
        problem = f"the state for the next call has {size} bytes, more than {limits.output_bytes}"
        _fail_as_too_large(draft, address, problem, "state_too_large", attempt)
        return
    due = draft.at + after
    draft.emit(e.StepPostponed(address=address, attempt=attempt, due=due, state=state, at=draft.at))
    draft.wait(address, "retry", due)


def _fail_as_too_large(draft: Draft, address: str, problem: str, code: str, attempt: int) -> None:
    message = f"{problem}: store it elsewhere and give what names it, or raise `limits`"
    fail(draft, address, e.StepError(message, code, attempt=attempt), retryable=False)


def fail(draft: Draft, address: str, error: e.StepError, *, jitter: float = 0.0, retryable: bool = True) -> None:
    """Record the failure and what follows: another attempt, an `error` edge, going on without, or the end."""
    node = draft.plan.nodes[node_of(address)]
    step = draft.running.steps.get(address)
    at_work = isinstance(step, InFlight)
    attempt, tries = (step.attempt, step.tries) if isinstance(step, InFlight) else (1, 1)
    if retryable and at_work and may_retry(node.retry, attempt=tries, code=error.code, type_name=error.type):
        due = draft.at + delay_before(node.retry, tries + 1, jitter)
        draft.emit(e.StepFailed(address=address, attempt=attempt, error=error, retry_at=due, at=draft.at))
        draft.wait(address, "retry", due)
    elif node.catches:
        draft.emit(e.StepFailed(address=address, attempt=attempt, error=error, port="error", at=draft.at))
    elif node.on_error == "continue" and node.default is not UNSET:
        default = to_json(node.default)
        failed = e.StepFailed(address=address, attempt=attempt, error=error, port="out", output=default, at=draft.at)
        draft.emit(failed)
    else:
        draft.emit(e.StepFailed(address=address, attempt=attempt, error=error, at=draft.at))
        if node.on_error != "continue":
            _unhandled(draft, address, error)


def _unhandled(draft: Draft, address: str, error: e.StepError) -> None:
    """Fail what is around the step: the turn that it stands in, or the execution."""
    if turn := turn_around(address):
        fail_turn(draft, turn, error)
    else:
        draft.emit(e.ExecutionFailed(error=error, address=address, at=draft.at))


def fail_turn(draft: Draft, turn: str, error: e.StepError) -> None:
    """Give up the turn; then the loop or fan-out fails too, or it goes on with the others."""
    address, _ = split_turn(turn)
    _cancel_timers(draft, turn)
    draft.emit(e.TurnFailed(address=turn, error=error, at=draft.at))
    how = draft.plan.nodes[node_of(address)].turns
    if how is not None and how.tolerant:
        draft.repeating[address] = None
    else:
        abandon_turns(draft, address)
        fail(draft, address, error, retryable=False)


def abandon_turns(draft: Draft, address: str) -> None:
    """Give up all turns of a loop or fan-out that are under way."""
    repeating = draft.running.repeating(address)
    _cancel_timer(draft, breath_of(address, repeating))
    for index in range(repeating.begun if repeating.running else 0):
        turn = turn_of(address, index)
        if isinstance(draft.running.steps.get(turn), Turn):
            _cancel_timers(draft, turn)
            draft.emit(e.TurnAbandoned(address=turn, at=draft.at))


def breath_of(address: str, repeating: Repeating) -> str:
    """Return the id of the timer that begins the next turn when the loop takes breath; each has another."""
    return timer_id_of(address, f"turn-{repeating.begun}")


def _cancel_timers(draft: Draft, turn: str) -> None:
    for timer_id in sorted(timer_id for timer_id in draft.running.timers if timer_id.startswith(f"{turn}.")):
        _cancel_timer(draft, timer_id)


def _cancel_timer(draft: Draft, timer_id: str) -> None:
    if timer_id in draft.running.timers:
        draft.emit(e.TimerCancelled(timer_id=timer_id, at=draft.at))
