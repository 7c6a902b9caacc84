"""`fork`, `rewind`, `lineage`: going on from an execution's past."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Annotated, Any

import typer

from daemon.cli import output
from daemon.cli.connection import Connection
from daemon.cli.faults import BadUsage
from daemon.cli.forking import fork_many
from daemon.cli.options import Config, ExecutionIdArgument, Json, Url, settings_of
from daemon.cli.reading import read_moment
from daemon.cli.sources import DaemonSource, find

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

WHERE = "A version, a time, before:STEP, after:STEP or checkpoint:NAME."
MODES = ("automatic", "manual", "confirm_each", "none")

Reason = Annotated[str, typer.Option(help="Why; it is recorded.")]
DryRun = Annotated[bool, typer.Option("--dry-run", help="Only show what it would go on from, or why not.")]


def fork(
    execution_id: Annotated[
        str | None,
        typer.Argument(metavar="ID", help="The execution's id, or the beginning of a recent one.", show_default=False),
    ] = None,
    *,
    where: Annotated[
        str | None,
        typer.Option(help="Instead of an id: fork all that match, \"status == 'failed' and failed_step == 'charge'\"."),
    ] = None,
    at: Annotated[str, typer.Option("--at", help=WHERE, show_default=False)],
    input_: Annotated[str | None, typer.Option("--input", help="Another input, as JSON.", show_default=False)] = None,
    variables: Annotated[
        list[str] | None, typer.Option("--set", metavar="NAME=JSON", help="Another value of a variable.")
    ] = None,
    steps: Annotated[
        list[str] | None,
        typer.Option("--step", metavar="ADDRESS=JSON", help="Another result of a step, or the end of one at work."),
    ] = None,
    port: Annotated[str, typer.Option(help="By which port the steps are left that are ended by --step.")] = "out",
    version: Annotated[
        str | None,
        typer.Option(help="Another definition: a hash, how it begins, or `current`.", show_default=False),
    ] = None,
    accept_undone: Annotated[
        bool, typer.Option("--accept-undone", help="Also from a past of which something was undone since.")
    ] = False,
    key: Annotated[str | None, typer.Option(help="The same key gives the same fork.", show_default=False)] = None,
    reason: Reason = "",
    dry_run: DryRun = False,
    as_json: Json = False,
    config: Config = None,
    url: Url = None,
) -> None:
    """Begin an execution that goes on from a place in the past of another, with edits if you like.

    The other stays as it is. What was done before that place is not done again. With --where many are forked at once;
    the expression is as in `as-of`, and the same call again makes no fork twice.
    """
    body: dict[str, Any] = {"at": _place(at), "accept_undone": accept_undone, "reason": reason}
    body |= _edits(input_, variables or (), steps or (), port)
    body |= {name: value for name, value in (("version", version), ("key", key)) if value is not None}
    settings = settings_of(config)
    if (execution_id is None) == (where is None):
        raise BadUsage("name an execution, or give --where", hint="one of the two")
    if where is not None:
        fork_many(settings, url, where, body, dry_run=dry_run, as_json=as_json)
        return
    with Connection(settings, url) as connection:
        found = find(DaemonSource(connection), execution_id or "")
        view = connection.post(f"/executions/{found}/fork", {**body, "dry_run": dry_run})
    if dry_run:
        _print_past(view, as_json=as_json, rewinds=False)
    else:
        _print_fork(view, as_json=as_json)


def _place(text: str) -> str:
    """Return the place as the daemon reads it; versions and times may be written as for `diff` and `as-of`."""
    text = text.removeprefix("@")
    if text.isdecimal() or text.startswith(("before:", "after:", "checkpoint:")):
        return text
    try:
        return read_moment(text).isoformat()
    except BadUsage:
        return text  # the daemon says what a place is


def _edits(given: str | None, variables: Iterable[str], steps: Iterable[str], port: str) -> dict[str, Any]:
    """Return the part of the body that says what is different."""
    edits: dict[str, Any] = {} if given is None else {"input": _json(given, "--input")}
    edits["variables"] = dict(_pairs(variables, "--set"))
    edits["steps"] = {name: {"output": value, "port": port} for name, value in _pairs(steps, "--step")}
    return edits


def _print_fork(view: dict[str, Any], *, as_json: bool) -> None:
    if as_json:
        output.print_json(view)
        return
    text = f"{view['execution_id']} {view['status']}, forked from {view['source']} at version {view['at_version']}"
    output.console().print(text, markup=False)


def rewind(
    execution_id: ExecutionIdArgument,
    *,
    to: Annotated[str, typer.Option("--to", help=WHERE, show_default=False)],
    undo: Annotated[str, typer.Option(help=f"How what was done since is undone: {', '.join(MODES)}.")] = "automatic",
    drop_signals: Annotated[
        bool, typer.Option("--drop-signals", help="Forget signals and inputs that came since.")
    ] = False,
    key: Annotated[str | None, typer.Option(help="The same key is done once.", show_default=False)] = None,
    reason: Reason = "",
    dry_run: DryRun = False,
    as_json: Json = False,
    config: Config = None,
    url: Url = None,
) -> None:
    """Let an execution go on from a place in its past; what it has done since is undone first, newest first."""
    if undo not in MODES:
        raise BadUsage(f"there is no way {undo!r} to undo", hint=f"there are: {', '.join(MODES)}")
    with Connection(settings_of(config), url) as connection:
        found = find(DaemonSource(connection), execution_id)
        body = {"to": _place(to), "undo": undo, "keep_signals": not drop_signals, "reason": reason, "dry_run": dry_run}
        headers = {} if key is None else {"Idempotency-Key": key}
        view = connection.post(f"/executions/{found}/rewind", body, headers=headers)
    if dry_run:
        _print_past(view, as_json=as_json, rewinds=True)
    elif as_json:
        output.print_json(view)
    else:
        text = f"{view['execution_id']} {view['status']}, goes on from version {view['to_version']}"
        output.console().print(text, markup=False)


def lineage(
    execution_id: ExecutionIdArgument, *, as_json: Json = False, config: Config = None, url: Url = None
) -> None:
    """Show what an execution was forked from, and its own forks."""
    with Connection(settings_of(config), url) as connection:
        found = find(DaemonSource(connection), execution_id)
        view = connection.get(f"/executions/{found}/lineage")
    if as_json:
        output.print_json(view)
        return
    source = view["source"]
    told = "It is no fork."
    if source is not None:
        told = f"Forked from {source['execution_id']} at version {source['at_version']}."
    output.console().print(told, markup=False)
    if view["forks"]:
        output.print_table(
            ["FORK", "AT VERSION", "FORKED (UTC)"],
            ((row["execution_id"], str(row["at_version"]), output.moment(row["forked_at"])) for row in view["forks"]),
        )


def _pairs(given: Iterable[str], option: str) -> Iterator[tuple[str, Any]]:
    for each in given:
        name, equals, value = each.partition("=")
        if not equals or not name:
            raise BadUsage(f"{option} {each}: write NAME=JSON")
        yield name, _json(value, f"{option} {name}")


def _json(text: str, what: str) -> Any:
    try:
        return json.loads(text)
    except ValueError as error:
        raise BadUsage(f"{what} is not JSON: {error}", hint="texts are in double quotes, within the shell's") from None


def _print_past(view: dict[str, Any], *, as_json: bool, rewinds: bool) -> None:
    if as_json:
        output.print_json(view)
        return
    for line in _told(view, rewinds=rewinds):
        output.console().print(line, markup=False)


def _told(view: dict[str, Any], *, rewinds: bool) -> Iterator[str]:
    yield f"Version {view['version']} of {view['execution_id']}, {output.moment(view['at'])} UTC, {view['status']}."
    if view["again"]:
        yield f"What was decided next is decided again: {view['again']}."
    for step in view["under_way"]:
        yield f"Begins again: {step['address']}, by the key {step['key']}."
    for address in view["undone"]:
        yield f"Was undone since: {address}."
    for each in view["to_undo"] if rewinds else ():
        yield f"Is undone first: {each['address']} ({each['kind']}{', in doubt' if each['unknown'] else ''})."
    for address in view["left"] if rewinds else ():
        yield f"Was done since, and stays as it is: {address}, which has no compensation."
