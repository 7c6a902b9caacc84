"""`approvals`, `approve`, `reject`, `delegate`: what people are asked, and what they say."""

from __future__ import annotations

import getpass
from typing import Annotated, Any
from urllib.parse import quote

import typer

from daemon.cli import output
from daemon.cli.changing import read_data
from daemon.cli.connection import Connection
from daemon.cli.faults import BadUsage, Failed
from daemon.cli.options import Config, ExecutionIdArgument, Json, Url, settings_of
from daemon.cli.sources import DaemonSource, find

STATUSES = ("open", "approved", "rejected", "failed", "withdrawn")

Address = Annotated[
    str | None,
    typer.Argument(metavar="[STEP]", help="The step; needed where several wait for a decision.", show_default=False),
]
As = Annotated[
    str | None, typer.Option("--as", help="Who decides. [default: the name of this user]", show_default=False)
]
Comment = Annotated[str, typer.Option(help="Why; it is recorded, and handed on in the output.")]


def approvals(
    *,
    mine: Annotated[bool, typer.Option("--mine", help="Only what this user, or --as, may decide.")] = False,
    who: As = None,
    workflow: Annotated[str | None, typer.Option("--workflow", "-w", help="Only of this workflow.")] = None,
    status: Annotated[str, typer.Option(help=f"One of: {', '.join(STATUSES)}.")] = "open",
    limit: Annotated[int, typer.Option(help="How many at most.", min=1, max=1000)] = 50,
    as_json: Json = False,
    config: Config = None,
    url: Url = None,
) -> None:
    """List what people are asked, oldest first."""
    if status not in STATUSES:
        raise BadUsage(f"there is no status {status!r}", hint=f"there are: {', '.join(STATUSES)}")
    approver = (who or _user()) if mine or who is not None else None
    with Connection(settings_of(config), url) as connection:
        view = connection.get("/approvals", approver=approver, workflow=workflow, status=status, limit=limit)
    if as_json:
        output.print_json(view)
        return
    output.print_table(
        ["EXECUTION", "STEP", "WORKFLOW", "SINCE (UTC)", "UNTIL (UTC)", "ASKED"],
        (
            (
                each["execution_id"],
                each["address"],
                each["workflow"],
                output.moment(each["requested_at"]),
                output.moment(each["due_at"]),
                output.short(each["prompt"], 80),
            )
            for each in view["approvals"]
        ),
    )
    if view["next"] is not None:
        output.console().print("There are more: raise --limit.", markup=False)


def approve(
    execution_id: ExecutionIdArgument,
    step: Address = None,
    *,
    comment: Comment = "",
    data: Annotated[
        str, typer.Option(help="What the form asks for, JSON; `-` reads the standard input, `@file` a file.")
    ] = "null",
    who: As = None,
    as_json: Json = False,
    config: Config = None,
    url: Url = None,
) -> None:
    """Approve what an execution asks."""
    body = {"decision": "approve", "comment": comment, "data": read_data(data, "--data")}
    view = _decide(Connection(settings_of(config), url), execution_id, step, body, who)
    _print(view, "approved", as_json=as_json)


def reject(
    execution_id: ExecutionIdArgument,
    step: Address = None,
    *,
    comment: Comment = "",
    who: As = None,
    as_json: Json = False,
    config: Config = None,
    url: Url = None,
) -> None:
    """Reject what an execution asks."""
    body = {"decision": "reject", "comment": comment}
    _print(_decide(Connection(settings_of(config), url), execution_id, step, body, who), "rejected", as_json=as_json)


def delegate(
    execution_id: ExecutionIdArgument,
    step: Address = None,
    *,
    to: Annotated[str, typer.Option(help="Who decides instead.", show_default=False)],
    comment: Comment = "",
    who: As = None,
    as_json: Json = False,
    config: Config = None,
    url: Url = None,
) -> None:
    """Let another decide what you are asked."""
    body = {"decision": "delegate", "to": to, "comment": comment}
    view = _decide(Connection(settings_of(config), url), execution_id, step, body, who)
    _print(view, f"handed on to {to}", as_json=as_json)


def _decide(
    connection: Connection, execution_id: str, step: str | None, body: dict[str, Any], who: str | None
) -> dict[str, Any]:
    """Send the decision about the question as it is now: what is asked anew meanwhile is left alone."""
    with connection:
        found = find(DaemonSource(connection), execution_id)
        asked = connection.get(f"/executions/{found}/approvals")["approvals"]
        addresses = [each["address"] for each in asked]
        if step is None:
            if len(addresses) != 1:
                known = f"name one: {', '.join(addresses)}" if addresses else "see `sagad why`"
                raise Failed(f"{len(addresses)} steps of the execution wait for a decision", hint=known)
            step = addresses[0]
        question = next((each["question"] for each in asked if each["address"] == step), None)
        path = f"/executions/{found}/approvals/{quote(step, safe='')}"
        headers = {"Sagad-Actor": who or _user()}
        view: dict[str, Any] = connection.post(path, {**body, "question": question}, headers=headers)
    return view


def _print(view: dict[str, Any], done: str, *, as_json: bool) -> None:
    if as_json:
        output.print_json(view)
        return
    word = done if view["changed"] else f"was {done} before"
    waits = f", waits for {view['waits_for']}" if view["waits_for"] else ""
    output.console().print(f"{view['execution_id']} {word}; {view['status']}{waits}", markup=False)


def _user() -> str:
    try:
        return getpass.getuser()
    except (OSError, KeyError):
        raise BadUsage("this user has no name", hint="say who decides with --as") from None
