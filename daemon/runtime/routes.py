"""Triggers of definitions, compiled into the routes that messages take.

Comes from: daemon/core/definition. Goes to: triggers/routing.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from msgspec import UNSET

from daemon.core.templates import RenderError, compile_template
from triggers.errors import ExpressionFailed
from triggers.routing import Route, SignalById, SignalByKey

if TYPE_CHECKING:
    from collections.abc import Mapping

    from daemon.core.definition import SignalRoute, TriggerDefinition
    from daemon.core.plan import Plan
    from triggers.routing import Expression


def routes_of(plan: Plan) -> Mapping[str, Route]:
    """Return a route for each trigger of the workflow, by qualified name. Their templates have been checked."""
    workflow = plan.definition.workflow
    return {f"{workflow}/{trigger.name}": _route(plan, trigger) for trigger in plan.definition.triggers}


def _route(plan: Plan, trigger: TriggerDefinition) -> Route:
    def expression(what: str, source: Any) -> Expression | None:
        return None if source is None or source is UNSET else _expression(what, source, plan.env)

    return Route(
        trigger=f"{plan.definition.workflow}/{trigger.name}",
        scope=trigger.scope,
        filter=expression("filter", trigger.filter),
        dedupe=expression("dedupe", trigger.dedupe),
        input=expression("input", trigger.input),
        signal=_signal(plan, trigger.signal) if trigger.signal is not None else None,
    )


def _signal(plan: Plan, signal: SignalRoute) -> SignalByKey | SignalById:
    if signal.execution is not None:
        return SignalById(name=signal.name, execution=_expression("signal.execution", signal.execution, plan.env))
    key = _expression("signal.key", signal.key, plan.env)
    return SignalByKey(name=signal.name, scope=signal.scope or _only_scope(plan), key=key)


def _only_scope(plan: Plan) -> str:
    """Return the scope of the workflow's one starting trigger; the definition was checked to have one."""
    starting = (trigger for trigger in plan.definition.triggers if trigger.signal is None)
    trigger = next(starting)
    return trigger.scope or f"{plan.definition.workflow}/{trigger.name}"


def _expression(what: str, source: Any, env: Mapping[str, str]) -> Expression:
    template = compile_template(source)

    def evaluate(scope: Mapping[str, Any]) -> Any:
        try:
            return template.render({"env": env, **scope}).value
        except RenderError as error:
            raise ExpressionFailed(f"{what}: {error}") from error

    return evaluate
