"""`doctor`: is everything there that the daemon needs, and how to mend what is not.

Comes from: the shell. Goes to: `health_checks`.
"""

from __future__ import annotations

import asyncio
from pathlib import Path
from typing import TYPE_CHECKING

import typer
from msgspec.structs import replace
from rich.text import Text

from daemon.cli import output
from daemon.cli.checking import plain_compiler_of
from daemon.cli.faults import BadUsage
from daemon.cli.findings import Finding, broken, doubtful, fine, problems
from daemon.cli.health_checks import check_address, check_connections, check_kafka, check_rabbitmq, check_store
from daemon.cli.key_checks import check_key_file, check_subjects_have_keys
from daemon.cli.options import Config, Json, settings_of
from daemon.cli.place_checks import check_places
from daemon.cli.publishing import filled_settings
from daemon.core.errors import Misconfigured
from daemon.runtime.handler_registry import load_handlers

if TYPE_CHECKING:
    from collections.abc import Iterable

    from daemon.core.plan import Plan
    from daemon.settings import Settings

NEEDS = {"kafka": "bootstrap", "rabbitmq": "url"}
"""Kind of trigger -> the key of its part of the settings without which it cannot run."""


def doctor(*, as_json: Json = False, config: Config = None) -> None:
    """Check settings, store, keys, brokers, definitions and handlers; say how to mend each.

    Exit code 1 when something is broken.
    """
    found = examine(config)
    sound = all(finding.status != "broken" for finding in found)
    if as_json:
        output.print_json({"sound": sound, "findings": found})
    else:
        for finding in found:
            mark = output.status(finding.status)
            mark.pad_right(8 - len(mark))
            output.console().print(Text.assemble(mark, f" {finding.about}: {finding.detail}"), soft_wrap=True)
            if finding.mend:
                output.console().print(Text(f"         mend: {finding.mend}"), soft_wrap=True)
    if not sound:
        raise typer.Exit(1)


def examine(config: Path | None) -> list[Finding]:
    """Look at everything; what hangs on settings that cannot be read is left out."""
    try:
        settings = settings_of(config)
    except Misconfigured as error:
        return problems("settings", error, "see the settings' reference in the README")
    place = str(settings.file) if settings.file is not None else "defaults and environment; there is no sagad.toml"
    return [
        fine("settings", place),
        *check_key_file(settings),
        *asyncio.run(_outside(settings)),
        *check_definitions(settings),
        *check_address(settings),
    ]


def check_definitions(settings: Settings) -> list[Finding]:
    """Load handlers and definitions, and see whether the triggers have what they need."""
    search = [settings.file.parent] if settings.file is not None else [Path()]
    compiler = plain_compiler_of(settings)
    found: list[Finding] = []
    try:
        handlers = load_handlers(settings.workflows.handlers, search=search)
        compiler = replace(compiler, handlers=frozenset(handlers), functions=frozenset(handlers.functions))
        found.append(fine("handlers", f"{len(handlers)} found"))
    except Misconfigured as error:
        found += problems("handlers", error, "mend the modules named in [workflows] handlers")
    if not settings.workflows.paths:
        return [*found, doubtful("definitions", "the settings name none", "set [workflows] paths")]
    try:
        loaded = compiler.load_files(settings.workflows.paths)
    except Misconfigured as error:
        return [*found, *problems("definitions", error, "`sagad validate` shows the place")]
    found.append(fine("definitions", f"{len(loaded.plans)} workflows"))
    found += [doubtful("definitions", str(warning), "") for warning in loaded.warnings]
    return [
        *found,
        *(finding for plan in loaded.plans for finding in _check_triggers(plan, settings)),
        *_check_workers(loaded.plans, settings),
        *check_subjects_have_keys(loaded.plans, settings),
    ]


def _check_workers(plans: Iterable[Plan], settings: Settings) -> list[Finding]:
    """See whether remote workers can be reached, where nodes or the settings want them."""
    nodes = [(plan.definition.workflow, node) for plan in plans for node in plan.nodes.values()]
    wanted = [f"{workflow}/{node.id}" for workflow, node in nodes if node.type.remote(node.config) is not None]
    broker = settings.workers.broker
    there = {"kafka": bool(settings.kafka.bootstrap), "rabbitmq": settings.rabbitmq.url is not None}
    if broker is None and (wanted or settings.workers.handlers):
        who = ", ".join(wanted or settings.workers.handlers)
        return [broken("workers", f"remote workers are wanted for {who}", "set [workers] broker")]
    if broker is None:
        return []
    if not there.get(broker, True):
        return [broken("workers", f"they are to be reached by {broker}", f"set [{broker}] {NEEDS[broker]}")]
    if broker == "memory":
        return [doubtful("workers", "the in-process broker reaches no other process", "set [workers] broker")]
    return [fine("workers", f"by {broker}, for {len(wanted)} nodes; names begin with {settings.workers.prefix}")]


def _check_triggers(plan: Plan, settings: Settings) -> list[Finding]:
    found: list[Finding] = []
    there = {"kafka": bool(settings.kafka.bootstrap), "rabbitmq": settings.rabbitmq.url is not None}
    for trigger in plan.definition.triggers:
        name = f"trigger {plan.definition.workflow}/{trigger.name}"
        if not there.get(trigger.kind, True):
            key = NEEDS[trigger.kind]
            found.append(broken(name, f"it needs {trigger.kind}", f"set [{trigger.kind}] {key}"))
        try:
            filled_settings(settings, trigger)
        except BadUsage as error:
            found.append(broken(name, str(error), "set the variable, or put a file into [secrets] dir"))
    return found


async def _outside(settings: Settings) -> list[Finding]:
    checks = await asyncio.gather(
        check_store(settings),
        check_kafka(settings),
        check_rabbitmq(settings),
        check_connections(settings),
        check_places(settings),
    )
    return [finding for check in checks for finding in check]
