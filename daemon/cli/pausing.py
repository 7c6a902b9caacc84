"""`pause`, `resume`: one execution, or all that match; and the input of a step that has paused."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated, Any
from urllib.parse import quote

import typer
from rich.progress import Progress, TextColumn

from daemon.cli import output
from daemon.cli.changing import print_changed, read_data, resume_here
from daemon.cli.connection import Connection
from daemon.cli.faults import BadUsage, NoAnswer
from daemon.cli.options import Config, Json, Url, settings_of
from daemon.cli.sources import DaemonSource, find

if TYPE_CHECKING:
    from daemon.settings import Settings

MaybeId = Annotated[
    str | None,
    typer.Argument(metavar="[ID]", help="The execution's id, or the beginning of a recent one.", show_default=False),
]
Workflow = Annotated[str | None, typer.Option("--workflow", "-w", help="All of this workflow.", show_default=False)]
Trigger = Annotated[str | None, typer.Option(help="All that this trigger has started.", show_default=False)]
Status = Annotated[str | None, typer.Option(help="All with this status.", show_default=False)]
Since = Annotated[str | None, typer.Option(help="All started at or after this time (ISO 8601).", show_default=False)]
Until = Annotated[str | None, typer.Option(help="All started before this time.", show_default=False)]
Every = Annotated[bool, typer.Option("--all", help="All there are.")]


def pause(
    execution_id: MaybeId = None,
    *,
    reason: Annotated[str, typer.Option(help="Why; it is recorded.")] = "",
    workflow: Workflow = None,
    trigger: Trigger = None,
    status: Status = None,
    since: Since = None,
    until: Until = None,
    every: Every = False,
    as_json: Json = False,
    config: Config = None,
    url: Url = None,
) -> None:
    """Begin no more handlers for an execution, or for all that match, until `sagad resume`.

    Without --status, those that run are paused.
    """
    settings = settings_of(config)
    which = _filter(execution_id, workflow, trigger, status, since, until, every=every)
    if execution_id is None:
        _many("pause", which, reason, settings, url, as_json=as_json)
        return
    with Connection(settings, url) as connection:
        found = find(DaemonSource(connection), execution_id)
        view = connection.post(f"/executions/{found}/pause", {"reason": reason})
    print_changed(view, as_json=as_json, done="paused", before=f"was {view['status']} already")


def resume(
    execution_id: MaybeId = None,
    *,
    step: Annotated[
        str | None, typer.Option(help="Give the step that has paused its input.", show_default=False)
    ] = None,
    given: Annotated[
        str, typer.Option("--input", "-i", help="The step's input, JSON; `-` reads the standard input, `@file` a file.")
    ] = "null",
    key: Annotated[str | None, typer.Option(help="Inputs with the same key count once.", show_default=False)] = None,
    workflow: Workflow = None,
    trigger: Trigger = None,
    status: Status = None,
    since: Since = None,
    until: Until = None,
    every: Every = False,
    as_json: Json = False,
    config: Config = None,
    url: Url = None,
) -> None:
    """End an execution's pause, and carry out what is owed to it: by the daemon, or here where none answers.

    Here, it goes on until the execution has ended or waits for a timer or a signal; unless a daemon that does not
    answer here works on it: then that one carries it on. With --step, give a step input that its handler has paused
    for. Without an id, end the pause of all that match.
    """
    settings = settings_of(config)
    which = _filter(execution_id, workflow, trigger, status, since, until, every=every)
    if execution_id is None:
        if step is not None:
            raise BadUsage("--step needs the execution's id")
        _many("resume", which, "", settings, url, as_json=as_json)
        return
    if step is not None:
        _give(execution_id, step, read_data(given, "--input"), key, settings, url, as_json=as_json)
        return
    try:
        with Connection(settings, url) as connection:
            found = find(DaemonSource(connection), execution_id)
            view = connection.post(f"/executions/{found}/resume")
    except NoAnswer:
        if url is not None:
            raise
        view = resume_here(settings, execution_id)
    if as_json:
        output.print_json(view)
    else:
        waits = f", waits for {view['waits_for']}" if view["waits_for"] else ""
        output.console().print(f"{view['execution_id']} {view['status']}{waits}", markup=False)


def _give(  # noqa: PLR0917  as they stand in the command
    execution_id: str, step: str, value: Any, key: str | None, settings: Settings, url: str | None, *, as_json: bool
) -> None:
    with Connection(settings, url) as connection:
        found = find(DaemonSource(connection), execution_id)
        headers = {"Idempotency-Key": key} if key is not None else None
        view = connection.post(f"/executions/{found}/steps/{quote(step, safe='')}/resume", value, headers=headers)
    print_changed(view, as_json=as_json, done=f"has the input for {step}", before="had this input already")


def _filter(  # noqa: PLR0917  as they stand in the commands
    execution_id: str | None,
    workflow: str | None,
    trigger: str | None,
    status: str | None,
    since: str | None,
    until: str | None,
    *,
    every: bool,
) -> dict[str, str]:
    """Return what was given of a filter. Raises BadUsage for one beside an id, and for neither."""
    named = {"workflow": workflow, "trigger": trigger, "status": status, "since": since, "until": until}
    given = {name: value for name, value in named.items() if value is not None}
    if execution_id is not None and (given or every):
        raise BadUsage("give either an id, or which executions are meant")
    if execution_id is None and not given and not every:
        raise BadUsage("which executions?", hint="give an id, a filter such as --workflow, or --all")
    return given


def _many(what: str, which: dict[str, str], reason: str, settings: Settings, url: str | None, *, as_json: bool) -> None:
    """Go through all that match, page by page."""
    counts = {"matched": 0, "changed": 0, "refused": 0}
    body: dict[str, Any] = {"filter": which, "reason": reason, "cursor": None}
    columns = (TextColumn(f"{what}d: {{task.completed}}"),)
    quiet = as_json or not output.console().is_terminal
    with Connection(settings, url) as connection, Progress(*columns, disable=quiet, transient=True) as progress:
        task = progress.add_task(what, total=None)
        while True:
            page = connection.post(f"/executions/{what}", body)
            counts = {name: count + page[name] for name, count in counts.items()}
            progress.update(task, completed=counts["changed"])
            if (cursor := page["next"]) is None:
                break
            body["cursor"] = cursor
    if as_json:
        output.print_json(counts)
        return
    refused = f", {counts['refused']} could not be" if counts["refused"] else ""
    output.console().print(f"{what}d {counts['changed']} of {counts['matched']} executions{refused}", markup=False)
