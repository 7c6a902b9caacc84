"""Triggers of a definition, each checked by itself.

Comes from: `parsing`. Goes to: `compilation`, and daemon/runtime, which makes the routes and adapters of them.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from msgspec import UNSET
from msgspec.structs import replace

from daemon.core.definition import SignalRoute, TriggerDefinition
from daemon.core.parsing_retry import parse_retry
from daemon.core.problems import did_you_mean
from daemon.core.references import Visible, check_references
from daemon.core.retry import RetryPolicy
from daemon.core.templates import TemplateError, compile_template
from daemon.core.trigger_schemas import BROKER_ONLY, KINDS, trigger_schema

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from daemon.core.parsing import Check
    from daemon.core.problems import Findings, Path

ON_MESSAGE = Visible(roots=("message", "env"))
IN_SETTINGS = Visible(roots=("env",))
RETRY = RetryPolicy(max_attempts=3)


def parse_triggers(
    given: Sequence[object], workflow: str, check: Check, findings: Findings
) -> tuple[TriggerDefinition, ...]:
    """Read the triggers; one with a mistake is reported and left out."""
    triggers: list[TriggerDefinition] = []
    for index, value in enumerate(given):
        path = ("triggers", index)
        kind = _kind(value, path, findings)
        if kind is None or not isinstance(value, dict):
            continue
        sound = _sound(value, kind, path, check, findings)
        if "name" not in sound or kind not in sound:
            _check_templates(sound, path, findings)
            continue
        trigger = _trigger(sound, kind, index, findings)
        if trigger.name in {known.name for known in triggers}:
            hint = "the name tells executions apart; choose another"
            findings.error(f"there are two triggers {trigger.name!r}", (*path, "name"), hint=hint)
        triggers.append(trigger)
    return _with_scopes(triggers, workflow, findings)


def _kind(value: object, path: Path, findings: Findings) -> str | None:
    if not isinstance(value, dict):
        findings.error("a trigger is a mapping", path, hint="write it like {name: orders, kafka: {topic: orders}}")
        return None
    kinds = [str(key) for key in value if key in KINDS]
    if len(kinds) == 1:
        return kinds[0]
    if kinds:
        findings.error(f"the trigger has several kinds: {' and '.join(kinds)}", path, hint="make a trigger of each")
    else:
        nearest = next((hint for key in value if "mean" in (hint := did_you_mean(key, KINDS))), None)
        findings.error("the trigger has no kind", path, hint=nearest or f"add one of: {', '.join(sorted(KINDS))}")
    return None


def _sound(value: Mapping[str, Any], kind: str, path: Path, check: Check, findings: Findings) -> Mapping[str, Any]:
    """Report what the schema finds; return the keys without a mistake, so that they are looked into all the same."""
    idle = [key for key in sorted(BROKER_ONLY) if key in value and not KINDS[kind].broker]
    for key in idle:
        message = f"`{key}` has no meaning for a {kind} trigger: no broker holds its messages"
        findings.error(message, (*path, key), hint="take it out")
    used = {key: each for key, each in value.items() if key not in idle}
    found = check(trigger_schema(kind))(used)
    for problem in found:
        findings.adopt(problem, path)
    bad = {problem.path[0] for problem in found if problem.path}
    return {key: each for key, each in used.items() if key not in bad}


def _check_templates(value: Mapping[str, Any], path: Path, findings: Findings) -> None:
    for key in ("filter", "dedupe"):
        _check_template(value, key, path, findings, needs_expression=True)
    _check_template(value, "input", path, findings)


def _trigger(value: Mapping[str, Any], kind: str, index: int, findings: Findings) -> TriggerDefinition:
    path = ("triggers", index)
    _check_templates(value, path, findings)
    _check_settings(value[kind], (*path, kind), findings)
    if kind == "schedule" and ("cron" in value[kind]) == ("every" in value[kind]):
        findings.error("a schedule has either `cron` or `every`", (*path, kind), hint="keep one of them")
    signal = _signal(value["signal"], (*path, "signal"), findings) if "signal" in value else None
    return TriggerDefinition(
        name=value["name"],
        index=index,
        kind=kind,
        settings=value[kind],
        filter=value.get("filter"),
        dedupe=value.get("dedupe"),
        scope=value.get("scope"),
        input=value.get("input", UNSET),
        signal=signal,
        dead_letter=value.get("dead_letter"),
        retry=parse_retry(value.get("retry"), RETRY, (*path, "retry"), findings),
    )


def _signal(given: Mapping[str, Any], path: Path, findings: Findings) -> SignalRoute:
    for key in ("execution", "key"):
        _check_template(given, key, path, findings, needs_expression=True)
    if ("execution" in given) == ("key" in given):
        findings.error("a signal has either `execution` or `key`", path, hint="keep the one that the message carries")
    if "execution" in given and "scope" in given:
        findings.error("`scope` belongs to `key`", (*path, "scope"), hint="an execution's id needs no scope")
    return SignalRoute(**given)


def _with_scopes(triggers: list[TriggerDefinition], workflow: str, findings: Findings) -> tuple[TriggerDefinition, ...]:
    """Fill in the scope of signals by key, where there is only one that can be meant."""
    starting = {trigger.scope or f"{workflow}/{trigger.name}" for trigger in triggers if trigger.signal is None}
    names = {trigger.name for trigger in triggers}
    whole: list[TriggerDefinition] = []
    for trigger in triggers:
        path, signal = ("triggers", trigger.index, "signal"), trigger.signal
        if signal is None or signal.key is None:
            whole.append(trigger)
            continue
        if signal.scope is None and len(starting) == 1:
            [scope] = starting
            trigger = replace(trigger, signal=replace(signal, scope=scope))  # noqa: PLW2901
        elif signal.scope is None:
            hint = f"one of: {', '.join(sorted(starting))}" if starting else "write workflow/trigger"
            findings.error("it is not clear which trigger's dedupe key is meant: `scope` is missing", path, hint=hint)
        elif signal.scope in names:
            hint = f"write {workflow}/{signal.scope}"
            findings.error(f"the scope {signal.scope!r} is a trigger without its workflow", (*path, "scope"), hint=hint)
        whole.append(trigger)
    return tuple(whole)


def _check_template(
    given: Mapping[str, Any], key: str, within: Path, findings: Findings, *, needs_expression: bool = False
) -> None:
    if key not in given:
        return
    path, value = (*within, key), given[key]
    try:
        template = compile_template(value)
    except TemplateError as error:
        findings.template(error, path)
        return
    check_references([template], value, path, ON_MESSAGE, findings)
    if needs_expression and template.constant:
        findings.error("there is no expression in the text", path, hint=f'write "{{{{ {value} }}}}"')


def _check_settings(settings: Mapping[str, Any], path: Path, findings: Findings) -> None:
    try:
        template = compile_template(settings, allow_secrets=True)
    except TemplateError as error:
        findings.template(error, path)
        return
    check_references([template], settings, path, IN_SETTINGS, findings)
