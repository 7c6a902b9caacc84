"""What expressions can see of an execution, decoded only when asked for.

Roots: `input`, `steps` and each node by its id, `vars`, `env`, `trigger`, `execution`. A step reads as its output; one
that has failed reads as `{"error": {...}}`; one that was skipped or not reached is missing.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import TYPE_CHECKING, Any

from daemon.core.state import Failed, Running, State, Step, Succeeded
from daemon.core.values import from_json

if TYPE_CHECKING:
    from daemon.core.events import StepError
    from daemon.core.plan import Plan

ROOTS = ("input", "steps", "vars", "env", "trigger", "execution")
"""Names that no node may have."""


class Scope(Mapping[str, object]):
    """Names for the evaluations of one decision.

    `state` is replaced as the decision goes on. Values are decoded once and kept: what a settled step gave, and what
    the execution began with, does not change.
    """

    def __init__(self, plan: Plan, state: State) -> None:
        self.state = state
        self._plan = plan
        self._kept: dict[str, object] = {}

    def __getitem__(self, name: str) -> object:
        if name == "steps":
            return Outputs(self._running)
        if name not in self._kept:
            self._kept[name] = self._make(name)
        return self._kept[name]

    @property
    def _running(self) -> Running:
        if not isinstance(self.state, Running):
            raise TypeError("expressions are evaluated for running executions only")
        return self.state

    def _make(self, name: str) -> object:
        state = self._running
        match name:
            case "input":
                return from_json(state.input)
            case "vars":
                return {}
            case "env":
                return self._plan.env
            case "trigger":
                return from_json(state.trigger)
            case "execution":
                return {
                    "id": str(state.execution_id),
                    "workflow": state.workflow,
                    "started_at": state.started_at.isoformat(),
                }
            case _:
                return output_of(state.steps[name])

    def __iter__(self) -> Iterator[str]:
        yield from ROOTS
        yield from Outputs(self._running)

    def __len__(self) -> int:
        return len(ROOTS) + len(Outputs(self._running))


class Outputs(Mapping[str, object]):
    """The outputs of the settled steps, by address."""

    def __init__(self, state: Running) -> None:
        self._state = state

    def __getitem__(self, address: str) -> object:
        return output_of(self._state.steps[address])

    def __iter__(self) -> Iterator[str]:
        return (address for address, step in sorted(self._state.steps.items()) if _readable(step))

    def __len__(self) -> int:
        return sum(map(_readable, self._state.steps.values()))


def output_of(step: Step) -> object:
    """Return what expressions read of a settled step; raise KeyError for one that has nothing to read."""
    match step:
        case Succeeded(output=output):
            return from_json(output)
        case Failed(port="out", output=output):
            return from_json(output)
        case Failed(error=error):
            return {"error": error_value(error)}
        case _:
            raise KeyError("the step has no output")


def error_value(error: StepError) -> dict[str, Any]:
    """Return what an `error` edge hands on."""
    return {
        "message": error.message,
        "code": error.code,
        "type": error.type,
        "attempt": error.attempt,
        "details": from_json(error.details),
    }


def _readable(step: Step) -> bool:
    return isinstance(step, Succeeded | Failed)
