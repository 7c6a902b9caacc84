"""Updates and queries: what is asked of a running execution by name, and answered at once.

An update is checked, sets variables, may stand for a signal too, and gives a result, in one decision: who sent it knows
that it was durable, or why it was refused, and then nothing was recorded. A query only looks.

Comes from: `decide`, daemon/runtime/intake. Goes to: `draft`.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from daemon.core import events as e
from daemon.core.errors import ExecutionFinished, InvalidInput, Rejected, UnknownName
from daemon.core.expressions import EvaluationError
from daemon.core.problems import did_you_mean
from daemon.core.scope import Extended, Scope
from daemon.core.settling import too_large
from daemon.core.values import NULL, from_json, size_of, to_json

if TYPE_CHECKING:
    from collections.abc import Mapping

    from daemon.core.commands import HandleUpdate
    from daemon.core.draft import Draft
    from daemon.core.plan import Plan
    from daemon.core.state import State
    from daemon.core.values import Json


def handle(draft: Draft, command: HandleUpdate) -> None:
    """Let the update have its effect. Raises `Rejected`, `InvalidInput` or `UnknownName`: then it has none."""
    how = draft.plan.updates.get(command.name)
    if how is None:
        raise _unknown("update", command.name, draft.plan.updates)
    if draft.ended():
        raise ExecutionFinished("the execution is at its end; it takes no updates")
    data = from_json(command.data)
    if (check := draft.plan.checks.get(("update", command.name))) is not None:
        check(data)
    known = {"update": {"data": data, "actor": command.actor}}
    try:
        scope = Extended(draft.scope, known)
        if how.accept is not None and how.accept.render(scope).value is not True:
            raise Rejected(str(how.refusal.render(scope).value))
        values = {name: to_json(template.render(scope).value) for name, template in how.variables}
        _check_size(draft, values)
        for name, value in values.items():
            draft.emit(e.VariableSet(address="", name=name, value=value, at=draft.at))
        result = NULL if how.result is None else to_json(how.result.render(Extended(draft.scope, known)).value)
    except EvaluationError as error:
        raise InvalidInput(f"the update {command.name!r} cannot be handled: {error}") from error
    draft.emit(
        e.UpdateHandled(
            update_id=command.update_id,
            name=command.name,
            data=command.data,
            result=result,
            actor=command.actor,
            at=draft.at,
        )
    )


def check_signal(plan: Plan, name: str, data: object) -> None:
    """Raise `UnknownName` or `InvalidInput` for a signal that the workflow, where it declares them, does not take."""
    declared = plan.definition.signals
    if declared and name not in declared:
        raise _unknown("signal", name, declared)
    if (check := plan.checks.get(("signal", name))) is not None:
        check(data)


def _check_size(draft: Draft, values: Mapping[str, Json]) -> None:
    whole = sum(map(size_of, values.values()))
    for value in values.values():
        if (problem := too_large(draft, "", value, more=whole - size_of(value))) is not None:
            raise InvalidInput(problem.message)


def answer_query(plan: Plan, state: State, name: str, data: object) -> object:
    """Return what a query gives, a JSON value; the execution may have ended. Raises `InvalidInput`, `UnknownName`."""
    template = plan.queries.get(name)
    if template is None:
        raise _unknown("query", name, plan.queries)
    if (check := plan.checks.get(("query", name))) is not None:
        check(data)
    try:
        return template.render(Extended(Scope(plan, state), {"query": {"data": data}})).value
    except EvaluationError as error:
        raise InvalidInput(f"the query {name!r} cannot be answered: {error}") from error


def _unknown(kind: str, name: str, known: Mapping[str, object]) -> UnknownName:
    return UnknownName(f"the workflow has no {kind} {name!r}; {did_you_mean(name, known)}")
