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
from msgspec.structs import replace

from daemon.core import events as e
from daemon.core import owing, saga
from daemon.core.address import LOOKUP, NOTIFY, PAGE, UNDO, node_of, split_turn, turn_around, turn_of
from daemon.core.breakpoints import holds_failure
from daemon.core.draft import timer_id_of
from daemon.core.errors import Rejected
from daemon.core.people import Deciding, Suspended
from daemon.core.retry import delay_before, may_retry
from daemon.core.state import InFlight, Queued, Turn
from daemon.core.values import size_of, to_json

if TYPE_CHECKING:
    from datetime import timedelta

    from daemon.core.draft import Draft
    from daemon.core.plan import PlannedNode
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
    streamed: e.Streamed | None = None,
) -> None:
    """Record the step's result, and what would undo it; one larger than the workflow allows fails the step."""
    before = draft.running.steps.get(address)
    if (problem := too_large(draft, address, output)) is not None:
        fail(draft, address, replace(problem, attempt=attempt), retryable=False)
        return
    draft.emit(
        e.StepSucceeded(
            address=address, attempt=attempt, output=output, port=port, to=to, streamed=streamed, at=draft.at
        )
    )
    if isinstance(before, InFlight):
        owing.capture(draft, address, before)
    elif isinstance(before, Queued) and before.doubt:
        owing.capture(draft, address, before, unknown=True)
    if address.endswith(LOOKUP):
        owing.take_lookup(draft, address.removesuffix(LOOKUP), output)


def check_by_hand(draft: Draft, address: str, output: Json, port: str) -> None:
    """Raise `Rejected` when the step cannot be ended by a person with this output and port."""
    ports = draft.node(address).ports
    if port not in ports or port == "error":
        known = ", ".join(port for port in ports if port != "error")
        raise Rejected(f"step {address} has no port {port!r} to be left by; it has: {known}")
    if (problem := too_large(draft, address, output)) is not None:
        raise Rejected(problem.message)


def too_large(draft: Draft, address: str, output: Json, more: int = 0) -> e.StepError | None:
    """Return the error of a step whose output, with so many bytes `more` beside it, is not allowed; None if it is."""
    limits, size = draft.plan.definition.limits, size_of(output)
    held = draft.running.size + size + more
    if address.endswith(UNDO):
        return None
    if size > limits.output_bytes:
        code, problem = "output_too_large", f"the output has {size} bytes, more than {limits.output_bytes}"
    elif held > limits.context_bytes:
        code, problem = "context_too_large", f"the execution would hold {held} bytes, more than {limits.context_bytes}"
    else:
        return None
    return _told(problem, code)


def _told(problem: str, code: str) -> e.StepError:
    return e.StepError(f"{problem}: store it elsewhere and give what names it, or raise `limits`", code)


def postpone(draft: Draft, address: str, after: timedelta, state: Json, *, attempt: int) -> None:
    """Record that the handler is to be called again, unless what it wants to be handed then is too large.

    Of an execution that is being undone no step goes on: what this one has done is in doubt then.
    """
    if draft.over(turn_around(address)) and not address.endswith(UNDO):
        given_up = e.StepError("given up; it had asked to be called again", "given_up", attempt=attempt)
        fail(draft, address, given_up, retryable=False)
        return
    if (problem := state_too_large(draft, state)) is not None:
        fail(draft, address, replace(problem, attempt=attempt), retryable=False)
        return
    due = draft.at + after
    draft.emit(e.StepPostponed(address=address, attempt=attempt, due=due, state=state, at=draft.at))
    draft.wait(address, "retry", due)


def state_too_large(draft: Draft, state: Json) -> e.StepError | None:
    """Return the error of a handler that wants to be handed more than is allowed in its next call; None if it may."""
    limits, size = draft.plan.definition.limits, size_of(state)
    if size <= limits.output_bytes:
        return None
    return _told(f"the state for the next call has {size} bytes, more than {limits.output_bytes}", "state_too_large")


def fail(draft: Draft, address: str, error: e.StepError, *, jitter: float = 0.0, retryable: bool = True) -> None:
    """Record the failure and what follows: another attempt, an `error` edge, going on without, or the end."""
    node = draft.node(address)
    step = draft.running.steps.get(address)
    ended = draft.over(turn_around(address))
    retryable = retryable and (not ended or address.endswith(UNDO)) and not _is_stale(draft, address)
    failed = e.StepFailed(
        address=address,
        attempt=step.attempt if isinstance(step, InFlight | Suspended) else 1,
        error=error,
        unknown=isinstance(step, InFlight | Suspended) and error.code in saga.DOUBTFUL and node.subflow is None,
        at=draft.at,
    )
    if retryable and isinstance(step, InFlight) and _may_retry(node, step, error):
        due = draft.at + delay_before(node.retry, step.tries + 1, jitter)
        draft.emit(replace(failed, retry_at=due))
        draft.wait(address, "retry", due)
        return
    breaking = draft.running.breaking
    if breaking is None or not holds_failure(draft, breaking, failed):
        fail_for_good(draft, failed)


def fail_for_good(draft: Draft, failed: e.StepFailed) -> None:
    """Record the failure and what follows but another attempt: an `error` edge, going on without, or the end."""
    address = failed.address
    node, step, ended = draft.node(address), draft.running.steps.get(address), draft.over(turn_around(address))
    if node.catches and not ended:
        failed = replace(failed, port="error")
    elif node.on_error == "continue" and node.default is not UNSET:
        failed = replace(failed, port="out", output=to_json(node.default))
    draft.emit(failed)
    if isinstance(step, Suspended) or (isinstance(step, InFlight | Queued) and (step.doubt or failed.unknown)):
        owing.capture(draft, address, step, unknown=True)
    if address.endswith(UNDO):
        saga.ask_after_failure(draft, address, failed.error)
    elif not failed.port and node.on_error != "continue" and not ended:
        _unhandled(draft, address, failed.error)


def _is_stale(draft: Draft, address: str) -> bool:
    """Tell whether it is a notice of an approval that has been decided meanwhile."""
    approval = address.removesuffix(NOTIFY)
    return approval != address and not isinstance(draft.running.steps.get(split_turn(approval)[0]), Deciding)


def _may_retry(node: PlannedNode, step: InFlight, error: e.StepError) -> bool:
    return may_retry(node.retry, attempt=step.tries, code=error.code, type_name=error.type)


def _unhandled(draft: Draft, address: str, error: e.StepError) -> None:
    """Fail what is around the step: the loop that it fetches a page for, its turn, or the execution."""
    if address.endswith(PAGE):
        loop, number = split_turn(address.removesuffix(PAGE))
        fail(draft, loop, replace(error, message=f"page {number}: {error.message}"), retryable=False)
    elif turn := turn_around(address):
        fail_turn(draft, turn, error)
    else:
        ending = e.UndoPlanned(status="failed", mode="", error=error, failed_step=address, at=draft.at)
        saga.end(draft, ending)


def fail_turn(draft: Draft, turn: str, error: e.StepError) -> None:
    """Give up the turn; then the loop or fan-out fails too, or it goes on with the others. A group is undone before."""
    address, _ = split_turn(turn)
    how = draft.plan.nodes[node_of(address)].turns
    if how is not None and how.undo is not None:
        ending = e.UndoPlanned(status="failed", mode=how.undo, error=error, scope=turn, at=draft.at)
        if saga.undo_first(draft, ending):
            return
    leave_turn(draft, turn)
    draft.emit(e.TurnFailed(address=turn, error=error, at=draft.at))
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
            leave_turn(draft, turn)
            draft.emit(e.TurnAbandoned(address=turn, at=draft.at))


def breath_of(address: str, repeating: Repeating) -> str:
    """Return the id of the timer that begins the next turn when the loop takes breath; each has another."""
    return timer_id_of(address, f"turn-{repeating.begun}")


def leave_turn(draft: Draft, turn: str) -> None:
    """Cancel the timers in the turn, and note what may have taken effect there."""
    saga.settle_doubts(draft, turn)
    for timer_id in sorted(timer_id for timer_id in draft.running.timers if timer_id.startswith(f"{turn}.")):
        _cancel_timer(draft, timer_id)


def cancel_timers(draft: Draft, address: str) -> None:
    """Cancel the timers that a step waits for."""
    for purpose in ("retry", "signal", "wait", "input"):
        _cancel_timer(draft, timer_id_of(address, purpose))


def _cancel_timer(draft: Draft, timer_id: str) -> None:
    if timer_id in draft.running.timers:
        draft.emit(e.TimerCancelled(timer_id=timer_id, at=draft.at))
