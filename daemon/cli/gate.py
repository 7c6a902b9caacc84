"""`what-if`, `check`: what another definition would have decided, about one execution and about all that there are.

Reads the store, changes nothing. Many are decided again in several processes.
"""

from __future__ import annotations

import asyncio
import os
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from daemon.cli import output
from daemon.cli.checking import plain_compiler_of
from daemon.cli.faults import BadUsage
from daemon.cli.options import Config, ExecutionIdArgument, Json, settings_of
from daemon.cli.sources import find, source_of
from daemon.cli.spreading import spread
from daemon.cli.stores import is_memory, opened
from daemon.core.errors import SagadError
from daemon.core.subjects import SubjectForgotten
from daemon.runtime.clock import SystemClock
from daemon.runtime.deciding_again import Gate, chosen
from daemon.runtime.history import History
from daemon.runtime.plans import Plans
from daemon.runtime.views import plain
from daemon.runtime.what_if import SEVERITIES, Verdict, junit, report
from eventstore.errors import StoreError

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping, Sequence
    from uuid import UUID

    from daemon.core.plan import Plan
    from daemon.runtime.what_if import Report
    from daemon.settings import Settings
    from eventstore.store import Store

Definition = Annotated[
    Path, typer.Option("--definition", help="The file with the other definition.", show_default=False)
]


def what_if(
    execution_id: ExecutionIdArgument,
    *,
    definition: Definition,
    as_json: Json = False,
    config: Config = None,
) -> None:
    """Decide an execution again under another definition, and show where the two part. Changes nothing.

    Exit code 1 when they do.
    """
    settings = lasting(settings_of(config))
    with source_of(settings, None) as source:
        found = find(source, execution_id)
    told = asyncio.run(_told(settings, str(definition), found))
    if as_json:
        output.print_json(plain(told))
    else:
        for line in _lines(told):
            output.console().print(line, markup=False, soft_wrap=True)
    if told.severity != "none":
        raise typer.Exit(1)


def check(
    definition: Annotated[Path, typer.Argument(help="The file with the new definitions.", show_default=False)],
    *,
    against: Annotated[str, typer.Option(help="What to check against: `live`, the store of the settings.")] = "live",
    sample: Annotated[
        int, typer.Option(min=0, help="How many ended executions of each workflow, beside all open ones.")
    ] = 1000,
    processes: Annotated[int, typer.Option(min=1, help="How many processes decide.")] = os.cpu_count() or 1,
    allow: Annotated[str, typer.Option(help=f"The worst that is no failure: {', '.join(SEVERITIES)}.")] = "none",
    junit_file: Annotated[
        Path | None, typer.Option("--junit", help="Write a JUnit report too.", show_default=False)
    ] = None,
    as_json: Json = False,
    config: Config = None,
) -> None:
    """Check new definitions against the executions that there are: which would have gone another way, and where.

    All open ones and a sample of those that have ended are decided again, without any side effect. For a pipeline: the
    exit code is 1 when one parts by more than --allow, and none could be looked at.
    """
    if against != "live":
        raise BadUsage(f"there is nothing to check against that is called {against!r}", hint="write --against live")
    if allow not in SEVERITIES:
        raise BadUsage(f"there is no severity {allow!r}", hint=f"there are: {', '.join(SEVERITIES)}")
    settings = lasting(settings_of(config))
    plans = plans_in(settings, str(definition))
    ids = asyncio.run(_chosen(settings, plans, sample))
    work = partial(_in_a_process, settings, str(definition))
    found = report(*spread(work, ids, processes, quiet=as_json))
    if junit_file is not None:
        junit_file.write_text(junit(found), encoding="utf-8")
    if as_json:
        output.print_json(plain(found))
    else:
        _print(found)
        say_left_out(ids, found.checked, found.failed)
    worst = max((SEVERITIES.index(each.severity) for each in found.parted), default=0)
    if worst > SEVERITIES.index(allow) or found.failed:
        raise typer.Exit(1)


def say_left_out(ids: Sequence[UUID], checked: int, failed: Mapping[str, str]) -> None:
    """Say how many have no values to decide on; they are neither checked nor failed."""
    if left := len(ids) - checked - len(failed):
        output.console().print(f"{left} left out: their subjects were forgotten.", markup=False)


def lasting(settings: Settings) -> Settings:
    """Return the settings; raise BadUsage when another process cannot read their store."""
    if is_memory(settings):
        raise BadUsage("a store in memory belongs to the daemon's process and is gone with it")
    return settings


def plans_in(settings: Settings, file: str) -> Mapping[str, Plan]:
    """Return the plans of a file by workflow. Raises Misconfigured."""
    loaded = plain_compiler_of(settings).load_files([Path(file)])
    return {plan.definition.workflow: plan for plan in loaded.plans}


async def _chosen(settings: Settings, workflows: Iterable[str], sample: int) -> list[UUID]:
    async with opened(settings) as store:
        return await chosen(store.index, sorted(workflows), sample)


def _in_a_process(settings: Settings, file: str, ids: Sequence[UUID]) -> tuple[list[Verdict], dict[str, str]]:
    return asyncio.run(_verdicts(settings, file, ids))


async def _told(settings: Settings, file: str, execution_id: UUID) -> Verdict:
    new = plans_in(settings, file)
    async with opened(settings) as store:
        return await _gate(settings, store, new).verdict(execution_id)


def _gate(settings: Settings, store: Store, new: Mapping[str, Plan]) -> Gate:
    history = History(store.log, store.snapshots, store.deletions)
    return Gate(history, Plans(store.definitions, plain_compiler_of(settings).compile_stored, SystemClock()), new)


async def _verdicts(settings: Settings, file: str, ids: Sequence[UUID]) -> tuple[list[Verdict], dict[str, str]]:
    new = plans_in(settings, file)
    verdicts: list[Verdict] = []
    failed: dict[str, str] = {}
    async with opened(settings) as store:
        gate = _gate(settings, store, new)
        for execution_id in ids:
            try:
                verdicts.append(await gate.verdict(execution_id))
            except SubjectForgotten:
                continue  # it has ended, and has no values to decide on
            except (SagadError, StoreError) as error:
                failed[str(execution_id)] = str(error)
    return verdicts, failed


def _lines(told: Verdict) -> Iterator[str]:
    if told.version is None:
        yield f"{told.execution_id}: the same, all {told.events} events."
        return
    yield f"{told.execution_id}: another way from version {told.version} on ({told.severity}): {told.reason}."
    yield f"  recorded: {_event(told.recorded)}"
    yield f"  would be: {_event(told.found)}"
    yield f"  {told.action}"


def _event(shown: dict[str, Any]) -> str:
    if not shown:
        return "nothing"
    rest = {name: value for name, value in shown.items() if name not in {"event", "at"}}
    return f"{shown['event']} {output.short(rest, 160)}"


def _print(found: Report) -> None:
    counts = ", ".join(f"{count} {severity}" for severity, count in found.by_severity.items() if count)
    output.console().print(f"{found.checked} executions decided again: {counts or 'none'}.", markup=False)
    if found.parted:
        output.print_table(
            ["EXECUTION", "STATUS", "SEVERITY", "VERSION", "STEP", "WHAT IS DIFFERENT"],
            (
                (
                    str(each.execution_id),
                    output.status(each.status),
                    each.severity,
                    str(each.version),
                    each.step,
                    each.reason,
                )
                for each in found.parted[:50]
            ),
        )
    for node, count in found.by_node.items():
        output.console().print(f"{count} part at {node}.", markup=False)
    for execution_id, error in list(found.failed.items())[:20]:
        output.console().print(f"{execution_id} could not be looked at: {error}", markup=False)
