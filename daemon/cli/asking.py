"""`as-of`: which executions matched at a time, and with which values."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import TYPE_CHECKING, Annotated, Any

import typer
from rich.progress import Progress, TextColumn

from daemon.cli import output
from daemon.cli.faults import BadUsage
from daemon.cli.options import Config, Json, Url, settings_of
from daemon.cli.past import AsOfQuestion, past_of
from daemon.cli.reading import STATUSES, read_moment
from daemon.core.errors import InvalidInput
from daemon.runtime.as_of import NAMES, question

if TYPE_CHECKING:
    from daemon.settings import Settings

MOST = 100_000
"""Executions that one command goes over."""


def as_of(
    when: Annotated[str, typer.Argument(metavar="WHEN", help="2026-01-31T14:05, 14:05 today (UTC), or 1h ago.")],
    *,
    where: Annotated[
        str | None,
        typer.Option(help="An expression that must be true: \"'approval' in waiting.types and input.total > 100\"."),
    ] = None,
    show: Annotated[list[str] | None, typer.Option(help="Print what this expression gave; may be repeated.")] = None,
    workflow: Annotated[str | None, typer.Option(help="Only of this workflow.")] = None,
    status: Annotated[str | None, typer.Option(help=f"Only with this status then: {', '.join(STATUSES)}.")] = None,
    trigger: Annotated[str | None, typer.Option(help="Only started by this trigger: workflow/name.")] = None,
    since: Annotated[str | None, typer.Option(help="Started at or after.")] = None,
    limit: Annotated[int, typer.Option(min=1, max=100_000, help="At most so many.")] = 100,
    as_json: Json = False,
    config: Config = None,
    url: Url = None,
) -> None:
    """List the executions that matched at a time, as they were then, newest first.

    Expressions are those of definitions. They may read: id, workflow, status, cause, trigger, key, definition,
    started_at, finished_at, version, input, vars, output, error, failed_step, steps (address -> status, output, …) and
    waiting (steps, nodes, types, statuses, signals: lists of what the open steps are).
    """
    if status is not None and status not in STATUSES:
        raise BadUsage(f"there is no status {status!r}", hint=f"there are: {', '.join(STATUSES)}")
    asked = AsOfQuestion(
        at=read_moment(when),
        workflow=workflow,
        status=status,
        trigger=trigger,
        since=read_moment(since) if since is not None else None,
        where=where,
        show=show or (),
    )
    try:
        question(asked.at, status, where, asked.show)
    except InvalidInput as error:
        raise BadUsage(str(error), hint=f"it may read: {', '.join(NAMES)}") from None
    answer = ask(settings_of(config), url, asked, limit, quiet=as_json)
    if as_json:
        output.print_json(answer)
        return
    _print(answer["executions"], asked.show)
    _say_unclear(answer)


def _say_unclear(answer: dict[str, Any]) -> None:
    if answer["unclear"]:
        text = f"for {answer['unclear']} executions there is no answer, for instance {answer['why_unclear']}"
        typer.echo(text, err=True)


def ask(settings: Settings, url: str | None, asked: AsOfQuestion, limit: int, *, quiet: bool) -> dict[str, Any]:
    """Look at page after page, until there are as many as wanted, or no more."""
    found: list[dict[str, Any]] = []
    looked_at = unclear = 0
    why_unclear: str | None = None
    cursor: str | None = None
    columns = (TextColumn("{task.completed} looked at, {task.fields[found]} found"),)
    hidden = quiet or not output.console().is_terminal
    with past_of(settings, url) as past, Progress(*columns, disable=hidden, transient=True) as progress:
        task = progress.add_task("", total=None, found=0)
        while len(found) < limit:
            page = past.as_of(asked, cursor)
            found += page["executions"]
            looked_at, unclear = looked_at + page["looked_at"], unclear + page["unclear"]
            why_unclear = why_unclear or page["why_unclear"]
            progress.update(task, completed=looked_at, found=len(found))
            if (cursor := page["next"]) is None:
                break
    return {"executions": found[:limit], "looked_at": looked_at, "unclear": unclear, "why_unclear": why_unclear}


def matching(settings: Settings, url: str | None, where: str, *, quiet: bool) -> list[dict[str, Any]]:
    """Return all executions for which the expression is true now; say for how many there is no answer.

    Raises BadUsage for an expression that is none.
    """
    now = datetime.now(UTC)
    asked = AsOfQuestion(at=now, workflow=None, status=None, trigger=None, since=None, where=where, show=())
    try:
        question(now, None, where, ())
    except InvalidInput as error:
        raise BadUsage(str(error), hint=f"it may read: {', '.join(NAMES)}") from None
    answer = ask(settings, url, asked, MOST, quiet=quiet)
    _say_unclear(answer)
    found: list[dict[str, Any]] = answer["executions"]
    return found


def _print(rows: list[dict[str, Any]], show: Any) -> None:
    columns = show or ["INPUT", "VARIABLES"]
    output.print_table(
        ["ID", "WORKFLOW", "STATUS", "WAITED FOR", "AT", *columns],
        (
            (
                row["execution_id"],
                row["workflow"] or "",
                output.status(row["status"]),
                row["waits_for"] or "",
                ", ".join(step["address"] for step in row["waiting"]),
                *([row["shown"][each] for each in show] if show else _values(row)),
            )
            for row in rows
        ),
    )


def _values(row: dict[str, Any]) -> list[str]:
    return [output.short(row[name]) if row[name] else "" for name in ("input", "variables")]
