"""`undo`: what an execution has done, what would undo it, and answers to what the undo asks."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated, Any

import typer

from daemon.cli import output
from daemon.cli.connection import Connection
from daemon.cli.faults import BadUsage
from daemon.cli.options import Config, ExecutionIdArgument, Json, Url, settings_of
from daemon.cli.sources import DaemonSource, find, source_of

if TYPE_CHECKING:
    from collections.abc import Iterator

CHOICES = ("start", "go", "retry", "skip", "done")


def undo(
    execution_id: ExecutionIdArgument,
    *,
    plan: Annotated[bool, typer.Option("--plan", help="Only show; so it is without --choose.")] = False,
    choose: Annotated[
        str | None, typer.Option(help=f"Answer what is asked: {', '.join(CHOICES)}.", show_default=False)
    ] = None,
    step: Annotated[str, typer.Option(help="The step that the answer is about; without it, the plan.")] = "",
    note: Annotated[str, typer.Option(help="Why; it is recorded.")] = "",
    as_json: Json = False,
    config: Config = None,
    url: Url = None,
) -> None:
    """Show what an execution has done and what would undo it; with --choose, answer what the undo asks.

    `start` undoes an execution that has completed; --note says why. `go` lets the plan or a compensation run, `retry`
    runs one again that failed, `skip` leaves an effect as it is, `done` says that a person has undone it.
    """
    settings = settings_of(config)
    if choose is None or plan:
        if choose is not None:
            raise BadUsage("give either --plan or --choose")
        with source_of(settings, url) as source:
            view = source.undo(find(source, execution_id))
        _print(view, as_json=as_json)
        return
    if choose not in CHOICES:
        raise BadUsage(f"there is no choice {choose!r}", hint=f"there are: {', '.join(CHOICES)}")
    with Connection(settings, url) as connection:
        found = find(DaemonSource(connection), execution_id)
        answer = {"address": step, "choice": choose, "note": note}
        view = connection.post(f"/executions/{found}/undo", answer)
    if as_json:
        output.print_json(view)
    else:
        waits = f", waits for {view['waits_for']}" if view["waits_for"] else ""
        output.console().print(f"{view['execution_id']} {view['status']}{waits}", markup=False)


def _print(view: dict[str, Any], *, as_json: bool) -> None:
    if as_json:
        output.print_json(view)
        return
    for line in _summary(view):
        output.console().print(line, markup=False)
    if view["plan"]:
        output.print_table(
            ["UNDO", "KIND", "", "WITH"],
            ((each["address"], each["kind"], _remark(each), output.short(each["input"], 80)) for each in view["plan"]),
        )
        output.console().print()
    output.print_table(
        ["EFFECT", "STATUS", "LAST CHANGE (UTC)", "COMPENSATION", "NOTE"],
        (
            (
                each["address"],
                output.status(each["status"]),
                output.moment(each["at"]),
                each["kind"] or ("none declared" if each["status"] == "executed" else ""),
                each["note"] or each["error"] or "",
            )
            for each in view["effects"]
        ),
    )


def _summary(view: dict[str, Any]) -> Iterator[str]:
    owed = len(view["plan"])
    if view["undoing"]:
        why = "It is being rewound" if view["ends_as"] == "rewound" else f"It has {view['ends_as']}"
        yield f"{why}, and is being undone ({view['mode']}); left to undo: {owed}."
    elif owed and view["status"] == "completed":
        command = f"sagad undo {view['execution_id']} --choose start"
        yield f"It has completed, and {owed} steps can be undone, in this order; to do so: {command}"
    elif owed:
        yield f"If it ended badly now, {owed} steps would be undone ({view['mode']}), in this order."
    else:
        yield "Nothing is left to undo."
    for each in view["asking"]:
        yield f"Asked about {each['address'] or 'the plan'}: {each['message']}. Choose: {', '.join(each['choices'])}."


def _remark(owed: dict[str, Any]) -> str:
    if owed["at_work"]:
        return "at work"
    return "a person must" if owed["problem"] else "in doubt" if owed["unknown"] else ""
