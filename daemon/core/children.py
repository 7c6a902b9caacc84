"""Subflows: a step that starts another execution and waits for its end.

The step begins as any other; its handler starts the child, whose id follows from the step, so starting twice is
harmless. From then on no handler is owed: the child tells its parent when it ends. What is given up asks its child to
end too, unless it was to be abandoned, and the execution does not end before its children have: so nothing is undone
while a child still builds on it. A child that has completed owes its parent its own undo, and is undone in its turn as
one compensation.

Comes from: `decide`, `saga`. Goes to: `settling`, `draft`.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from daemon.core import events as e
from daemon.core.address import UNDO, turn_around
from daemon.core.draft import timer_id_of
from daemon.core.expressions import EvaluationError
from daemon.core.leaving import TOO_LATE, leave, subflow_at
from daemon.core.owing import left_as_it_is
from daemon.core.scope import Extended
from daemon.core.settling import fail, succeed
from daemon.core.state import InFlight
from daemon.core.values import NULL, from_json, to_json

if TYPE_CHECKING:
    from uuid import UUID

    from daemon.core.commands import AwaitChild, FinishChild
    from daemon.core.draft import Draft


def wait_for(draft: Draft, command: AwaitChild) -> None:
    """Let the step wait for the child; one that was given up meanwhile asks it to end."""
    address = command.address
    step = _waiting(draft, address, command.attempt)
    if step is None or step.child is not None:
        return
    _record_start(draft, command)
    timeout = draft.node(address).timeout
    if address.endswith(UNDO):
        return
    if draft.over(turn_around(address)):
        leave(draft, address, "its parent is ending")
    elif timeout is not None:
        draft.wait(address, "child", max(step.since + timeout, draft.at))


def _record_start(draft: Draft, command: AwaitChild | FinishChild) -> None:
    draft.emit(
        e.ChildStarted(
            address=command.address,
            attempt=command.attempt,
            child=command.child,
            workflow=command.workflow,
            definition=command.definition,
            at=draft.at,
        )
    )


def too_late(draft: Draft, address: str) -> None:
    """End the wait: the child is asked to end, and the step fails when it has. One to be abandoned fails it now."""
    if subflow_at(draft, address).on_close != "abandon":
        leave(draft, address, TOO_LATE)
        return
    child, step = draft.running.children[address], draft.running.steps[address]
    attempt = step.attempt if isinstance(step, InFlight) else 1
    fail(draft, address, e.StepError(f"the child {child} has not ended in time", "timeout", attempt=attempt))


def finish(draft: Draft, command: FinishChild) -> None:
    """Settle the step that waits for the child. Of one that was given up, what its child has done is noted."""
    address = command.address
    step, leaving = _waiting(draft, address, command.attempt), draft.running.leaving.get(command.child)
    if step is None and leaving is None:
        return
    if step is not None and step.child is None and command.definition:
        _record_start(draft, command)
    if (timer_id := timer_id_of(address, "child")) in draft.running.timers:
        draft.emit(e.TimerCancelled(timer_id=timer_id, at=draft.at))
    mapped = step is not None and not address.endswith(UNDO) and subflow_at(draft, address).result is not None
    draft.emit(
        e.ChildFinished(
            address=address,
            attempt=command.attempt,
            child=command.child,
            status=command.status,
            output=command.output if mapped else NULL,
            at=draft.at,
        )
    )
    if step is not None and address.endswith(UNDO):
        succeed(draft, address, NULL, attempt=step.attempt)
    elif step is not None and command.status != "completed":
        late = leaving is not None and leaving.reason == TOO_LATE
        fail(draft, address, _error_of(command, late=late))
    elif step is not None:
        _succeed(draft, address, command)
    if command.owes and command.status == "completed" and not left_as_it_is(draft.running, command.address):
        _owe(draft, address, command.child, step.began if step is not None else draft.running.version)


def _succeed(draft: Draft, address: str, command: FinishChild) -> None:
    how, output = subflow_at(draft, address), command.output
    if how.result is not None:
        known = {"child": {"id": str(command.child), "output": from_json(output)}}
        try:
            output = to_json(how.result.render(Extended(draft.scope.at(turn_around(address)), known)).value)
        except EvaluationError as error:
            fail(draft, address, e.StepError(str(error), "expression"), retryable=False)
            return
    succeed(draft, address, output, attempt=command.attempt)


def _error_of(command: FinishChild, *, late: bool) -> e.StepError:
    error = command.error
    code = "timeout" if late else f"child_{command.status}"
    why = error.message if error is not None else "nobody has said why"
    details = {"execution_id": str(command.child), "code": error.code if error is not None else None}
    verb = "was" if command.status == "cancelled" else "has"
    message = f"the child {command.child} {verb} {command.status}: {why}"
    return e.StepError(message, code, error.type if error is not None else "", command.attempt, to_json(details))


def _owe(draft: Draft, address: str, child: UUID, began: int) -> None:
    """Record that the child is to be undone if its parent is, unless the step has a compensation of its own."""
    compensation = draft.node(address).compensation
    if compensation is None or not compensation.of_child or address.endswith(UNDO):
        return
    draft.emit(
        e.CompensationOwed(
            address=address,
            began=began,
            kind=compensation.kind,
            input=to_json({"undo": str(child)}),
            child=child,
            at=draft.at,
        )
    )


def _waiting(draft: Draft, address: str, attempt: int) -> InFlight | None:
    step = draft.running.steps.get(address)
    return step if isinstance(step, InFlight) and step.attempt == attempt else None
