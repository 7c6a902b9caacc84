"""`replay --from`: a part of the log, lived again under other definitions. Reads the store, changes nothing.

Comes from: `replaying`. Goes to: daemon/runtime/shadow_range.
"""

from __future__ import annotations

import asyncio
from functools import partial
from typing import TYPE_CHECKING, NamedTuple

import typer
from msgspec import UNSET

from daemon.cli import output
from daemon.cli.checking import plain_compiler_of
from daemon.cli.faults import BadUsage
from daemon.cli.gate import lasting, plans_in, say_left_out
from daemon.cli.reading import read_moment
from daemon.cli.spreading import spread
from daemon.cli.stores import opened
from daemon.core.errors import SagadError, UnknownWorkflow
from daemon.core.subjects import SubjectForgotten
from daemon.runtime.clock import SystemClock
from daemon.runtime.definitions import InputSchemas
from daemon.runtime.plans import Plans
from daemon.runtime.shadow import MISSING, Missing
from daemon.runtime.shadow_check import Shadowed, junit, report
from daemon.runtime.shadow_range import Bound, Range, Shadows, executions_in
from daemon.runtime.views import plain
from daemon.runtime.what_if import SEVERITIES
from eventstore.errors import StoreError

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from datetime import datetime
    from pathlib import Path
    from uuid import UUID

    from daemon.core.plan import Plan
    from daemon.runtime.shadow_check import Change, ShadowReport
    from daemon.settings import Settings

MOST_SHOWN = 20
"""Executions of which differences are printed."""
CHANGES_SHOWN = 6
"""Differences of each that are printed."""
LONGEST = 60


class Wish(NamedTuple):
    """What is to be lived again, and how; it goes to other processes."""

    settings: Settings
    file: str
    workflow: str | None
    missing: Missing
    until: datetime

    def plan_for(self, plans: Mapping[str, Plan], workflow: str) -> Plan:
        """Return the plan that takes the place of the workflow's: the one of its name, or the only one there is."""
        if workflow not in plans and (self.workflow != workflow or len(plans) != 1):
            raise UnknownWorkflow(workflow, sorted(plans))
        return plans.get(workflow) or next(iter(plans.values()))


class Shown(NamedTuple):
    """What is made of the report."""

    allow: str
    junit_file: Path | None
    as_json: bool


def shadow(
    settings: Settings,
    definition: Path,
    bounds: tuple[str | None, str | None],
    *,
    workflow: str | None,
    trigger: str | None,
    limit: int,
    missing: str,
    processes: int,
    shown: Shown,
) -> None:
    """Live a part of the log again, and print what would have been different. Exit code 1 beyond `shown.allow`."""
    if missing not in MISSING:
        raise BadUsage(f"there is no way {missing!r} to go on", hint=f"there are: {', '.join(MISSING)}")
    if shown.allow not in SEVERITIES:
        raise BadUsage(f"there is no severity {shown.allow!r}", hint=f"there are: {', '.join(SEVERITIES)}")
    settings = lasting(settings)
    first, last = (bound_of(each) for each in bounds)
    plans = plans_in(settings, str(definition))
    wish = Wish(settings, str(definition), workflow, missing, SystemClock().now())
    workflows = tuple(sorted(plans)) if workflow is None else (workflow,)
    for name in workflows:
        wish.plan_for(plans, name)
    which = Range(first=first, last=last, workflows=workflows, trigger=trigger, limit=limit)
    ids = asyncio.run(_ids(settings, which))
    found = report(*spread(partial(_in_a_process, wish), ids, processes, quiet=shown.as_json))
    if shown.junit_file is not None:
        shown.junit_file.write_text(junit(found), encoding="utf-8")
    if shown.as_json:
        output.print_json(plain(found))
    else:
        _print(found)
        say_left_out(ids, found.checked, found.failed)
    worst = max((SEVERITIES.index(each.severity) for each in found.differing), default=0)
    if worst > SEVERITIES.index(shown.allow) or found.failed:
        raise typer.Exit(1)


def bound_of(text: str | None) -> Bound:
    """Read a position, or a time as `sagad state --at` does. Raises BadUsage."""
    if text is None:
        return None
    return int(text) if text.isdecimal() else read_moment(text)


async def _ids(settings: Settings, which: Range) -> Sequence[UUID]:
    async with opened(settings) as store:
        return await executions_in(store, which)


def _in_a_process(wish: Wish, ids: Sequence[UUID]) -> tuple[list[Shadowed], dict[str, str]]:
    return asyncio.run(_shadows(wish, ids))


async def _shadows(wish: Wish, ids: Sequence[UUID]) -> tuple[list[Shadowed], dict[str, str]]:
    new = plans_in(wish.settings, wish.file)
    found: list[Shadowed] = []
    failed: dict[str, str] = {}
    async with opened(wish.settings) as store:
        plans = Plans(store.definitions, plain_compiler_of(wish.settings).compile_stored, SystemClock())
        check_input = InputSchemas().check
        shadows = Shadows(store, plans, until=wish.until, missing=wish.missing, check_input=check_input)
        for execution_id in ids:
            try:
                found.append(await shadows.of(execution_id, partial(wish.plan_for, new)))
            except SubjectForgotten:
                continue  # it has no values to live on
            except (SagadError, StoreError) as error:
                failed[str(execution_id)] = str(error)
    return found, failed


def _print(found: ShadowReport) -> None:
    console = output.console()
    counts = ", ".join(f"{count} {severity}" for severity, count in found.by_severity.items() if count)
    console.print(f"{found.checked} executions lived again in shadow: {counts or 'none'}.", markup=False)
    if found.differing:
        output.print_table(
            ["EXECUTION", "TRIGGER", "WAS", "WOULD BE", "SEVERITY", "WHAT IS DIFFERENT"],
            (
                (
                    str(each.execution_id),
                    each.trigger or "",
                    output.status(each.recorded),
                    output.status(each.shadow),
                    each.severity,
                    each.reason,
                )
                for each in found.differing[:50]
            ),
        )
    for each in found.differing[:MOST_SHOWN]:
        console.print(f"\n{each.execution_id}", style="bold", markup=False)
        for line in _lines(each):
            console.print(f"  {line}", markup=False, soft_wrap=True)
    for node, count in found.by_node.items():
        console.print(f"{count} differ at {node}.", markup=False)
    for node, count in found.not_recorded.items():
        console.print(f"{count} have no recorded result of {node}.", markup=False)
    for execution_id, error in list(found.failed.items())[:20]:
        console.print(f"{execution_id} could not be looked at: {error}", markup=False)


def _lines(each: Shadowed) -> Sequence[str]:
    lists = {
        "runs too": each.ran,
        "does not run": each.not_run,
        "not recorded": each.not_recorded,
        "given what was recorded for another input": each.assumed,
        "not taken": each.refused,
    }
    told = [f"{name}: {', '.join(items)}" for name, items in lists.items() if items]
    changes = [_line(change) for change in each.differences[:CHANGES_SHOWN]]
    more = each.differs_in - len(changes)
    return [*changes, *([f"and {more} more"] if more > 0 else []), *told]


def _line(change: Change) -> str:
    sign = {"add": "+", "remove": "-", "replace": "~"}[change.change]
    values = [output.short(plain(value), LONGEST) for value in (change.recorded, change.shadow) if value is not UNSET]
    return f"{sign} {change.field}: {' → '.join(values)}"
