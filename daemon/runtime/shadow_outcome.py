"""What came of an execution, as its events tell it. Pure.

Steps are told from the events, not from the state: those of a loop's turns have left the state when the turn has ended.
Times are no part of it: those of a shadow are virtual.

Comes from: `shadow_check`. Goes to: daemon/core/differences.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, TypeAlias

from daemon.core import events as e
from daemon.core.state import Finished, NotStarted, State, cause
from daemon.core.values import from_json
from daemon.runtime.projection import status_of

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

    from daemon.runtime.shadow_tape import Sent

Outcome: TypeAlias = dict[str, Any]
"""`status`, `waits_for`, `output`, `error`, `reason`, `variables`; `steps` and `sent` by address."""

RESULT = ("status", "waits_for", "output", "error", "reason", "variables")
"""The parts of it that say how it ended; the others say how it went."""

_WAITING: Mapping[type[e.Event], str] = {
    e.StepQueued: "queued",
    e.SlotsAsked: "limited",
    e.StepStarted: "started",
    e.StepPostponed: "postponed",
    e.StepSuspended: "suspended",
    e.SignalAwaited: "awaiting",
    e.ApprovalRequested: "deciding",
    e.LoopStarted: "repeating",
    e.FanOutExpanded: "repeating",
    e.SagaStarted: "repeating",
    e.StepSkipped: "skipped",
    e.TurnSkipped: "skipped",
}
"""What an event says of the step at its address, where it says no more."""


def outcome(events: Iterable[e.Event], state: State, sent: Iterable[Sent]) -> Outcome:
    """Return what came of the execution that is in this state after the events."""
    variables = {} if isinstance(state, NotStarted) else state.variables
    told: Outcome = {
        "status": status_of(state),
        "waits_for": cause(state),
        "output": None,
        "error": None,
        "reason": "",
        "variables": {name: from_json(value) for name, value in variables.items()},
        "steps": _steps(events),
        "sent": {
            each.address: {"type": each.type, "handler": each.handler, "input": from_json(each.input)} for each in sent
        },
    }
    if isinstance(state, Finished):
        told |= {"output": from_json(state.output), "error": _error(state.error), "reason": state.reason}
    return told


def _steps(events: Iterable[e.Event]) -> dict[str, dict[str, Any]]:
    steps: dict[str, dict[str, Any]] = {}
    for event in events:
        address = getattr(event, "address", "")
        if not address:
            continue
        if (status := _WAITING.get(type(event))) is not None:
            steps.setdefault(address, {})["status"] = status
        match event:
            case e.StepStarted(attempt=attempt) if attempt > 1:
                steps[address]["attempts"] = attempt
            case e.TimerSet(purpose="wait"):
                steps[address] = {"status": "sleeping"}
            case e.StepSucceeded() | e.StepCached():
                steps.setdefault(address, {}).update(
                    status="succeeded", port=event.port, output=from_json(event.output)
                )
            case e.StepFailed(retry_at=None):
                steps.setdefault(address, {}).update(status="failed", port=event.port, error=_error(event.error))
    return steps


def _error(error: e.StepError | None) -> dict[str, str] | None:
    return None if error is None else {"code": error.code, "message": error.message}
