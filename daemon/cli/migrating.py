"""`migrate-executions`: executions under way go on under another definition."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated, Any

import typer

from daemon.cli import output
from daemon.cli.asking import matching
from daemon.cli.connection import Connection
from daemon.cli.faults import BadUsage, CommandError
from daemon.cli.options import Config, Json, Url, settings_of
from daemon.cli.sources import DaemonSource, find

if TYPE_CHECKING:
    from collections.abc import Iterable

    from daemon.settings import Settings

ACCEPTED = ("none", "minor", "major")


def migrate_executions(
    execution_ids: Annotated[
        list[str] | None, typer.Argument(metavar="ID", help="Executions; or give --where.", show_default=False)
    ] = None,
    *,
    where: Annotated[
        str | None, typer.Option(help="Instead of ids: all open ones that match, \"workflow == 'orders'\".")
    ] = None,
    to: Annotated[str, typer.Option("--to", help="The definition: a hash, how it begins, or `current`.")] = "current",
    rename: Annotated[
        list[str] | None, typer.Option("--rename", metavar="OLD=NEW", help="A node that has another id there.")
    ] = None,
    accept: Annotated[
        str, typer.Option(help=f"The worst that may be another until now: {', '.join(ACCEPTED)}.")
    ] = "minor",
    reason: Annotated[str, typer.Option(help="Why; it is recorded.")] = "",
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Only show what would be.")] = False,
    as_json: Json = False,
    config: Config = None,
    url: Url = None,
) -> None:
    """Let executions under way go on under another definition of their workflow.

    What was done stays done, what is open goes on, and what is new begins where its time has come. Before, what was
    decided is decided again under the other definition: one that would have gone another way by more than --accept
    stays as it is, and so does one with an open step that is not there any more. Exit code 1 when one stays.
    """
    if accept not in ACCEPTED:
        raise BadUsage(f"--accept is one of {', '.join(ACCEPTED)}, not {accept!r}")
    if bool(execution_ids) == (where is not None):
        raise BadUsage("name executions, or give --where", hint="one of the two")
    body = {"version": to, "names": _names(rename or ()), "accept": accept, "dry_run": dry_run, "reason": reason}
    settings = settings_of(config)
    chosen = _chosen(settings, url, where, quiet=as_json) if where is not None else list(execution_ids or ())
    with (
        Connection(settings, url) as connection,
        output.progress(quiet=as_json) as progress,
    ):
        done = [_one(connection, each, body) for each in progress.track(chosen, description="executions")]
    _print(done, dry_run=dry_run, as_json=as_json)
    if any(each["refused"] for each in done):
        raise typer.Exit(1)


def _names(given: Iterable[str]) -> dict[str, str]:
    pairs = [text.partition("=") for text in given]
    for old, sign, new in pairs:
        if not (old and sign and new):
            raise BadUsage(f"--rename is OLD=NEW, not {old + sign + new!r}")
    return {old: new for old, _, new in pairs}


def _chosen(settings: Settings, url: str | None, where: str, *, quiet: bool) -> list[str]:
    """Return the executions that match now and have not ended."""
    rows = matching(settings, url, where, quiet=quiet)
    return [row["execution_id"] for row in rows if row["status"] not in ("completed", "failed", "cancelled")]


def _one(connection: Connection, execution_id: str, body: dict[str, Any]) -> dict[str, Any]:
    found = str(find(DaemonSource(connection), execution_id))
    try:
        view: dict[str, Any] = connection.post(f"/executions/{found}/migrate", body)
    except CommandError as error:
        return {"execution_id": found, "severity": "", "target": "", "refused": str(error)}
    return view


def _print(done: list[dict[str, Any]], *, dry_run: bool, as_json: bool) -> None:
    if as_json:
        output.print_json({"executions": done})
        return
    stay = sum(1 for each in done if each["refused"])
    verb = "could be migrated" if dry_run else "migrated"
    output.console().print(f"{len(done) - stay} {verb}, {stay} not.", markup=False)
    output.print_table(
        ["EXECUTION", "SEVERITY", "TO", "STAYS BECAUSE"],
        ((each["execution_id"], each["severity"], each["target"][:12], each["refused"]) for each in done),
    )
