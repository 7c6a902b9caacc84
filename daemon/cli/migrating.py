"""`migrate-executions`: executions under way go on under another definition."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated

import typer

from daemon.cli.asking import matching
from daemon.cli.bulk import Asked, each_of, end, print_done
from daemon.cli.connection import Connection
from daemon.cli.faults import BadUsage
from daemon.cli.options import Config, Json, Url, settings_of
from daemon.cli.sources import DaemonSource, find

if TYPE_CHECKING:
    from collections.abc import Iterable

    from daemon.cli.output import Row
    from daemon.settings import Settings

COLUMNS = ("EXECUTION", "SEVERITY", "TO", "STAYS BECAUSE")
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
    with Connection(settings, url) as connection:
        # all are found before the first is moved: a wrong id changes nothing
        found = chosen if where is not None else [str(find(DaemonSource(connection), each)) for each in chosen]

        def ask(execution_id: str) -> Asked:
            view: Asked = connection.post(f"/executions/{execution_id}/migrate", body)
            return view

        def show(done: list[Asked]) -> None:
            verb = "could be migrated" if dry_run else "migrated"
            print_done(done, verb, fault="refused", columns=COLUMNS, row=_row, same=_is_there, as_json=as_json)

        done = each_of(found, ask, _refused, show, quiet=as_json)
    show(done)
    end(done, fault="refused")


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


def _refused(execution_id: str, error: str) -> Asked:
    return {"execution_id": execution_id, "severity": "", "source": "", "target": "", "refused": error}


def _is_there(told: Asked) -> bool:
    return bool(told["source"] == told["target"])


def _row(told: Asked) -> Row:
    why = told["refused"] or ("it is there already" if _is_there(told) else "")
    return told["execution_id"], told["severity"], told["target"][:12], why
