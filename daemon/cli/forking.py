"""Forks of many executions: those that match, each at the same place, with the same edits.

Comes from: `branching`. Goes to: `asking`, `connection`.
"""

from __future__ import annotations

import json
from hashlib import sha256
from typing import TYPE_CHECKING, Any

import typer

from daemon.cli import output
from daemon.cli.asking import matching
from daemon.cli.connection import Connection
from daemon.cli.faults import CommandError

if TYPE_CHECKING:
    from daemon.settings import Settings


def fork_many(
    settings: Settings, url: str | None, where: str, body: dict[str, Any], *, dry_run: bool, as_json: bool
) -> None:
    """Fork all that match now, and print what became of each; exit code 1 when one could not be forked.

    The same call again makes no fork twice: its key follows from what is asked.
    """
    found = [row["execution_id"] for row in matching(settings, url, where, quiet=as_json)]
    key = "many/" + sha256(json.dumps([where, body], sort_keys=True).encode()).hexdigest()[:32]
    done: list[dict[str, Any]] = []
    with (
        Connection(settings, url) as connection,
        output.progress(quiet=as_json) as progress,
    ):
        for execution_id in progress.track(found, description="executions"):
            told = {"execution_id": execution_id, "fork": None, "at_version": None, "error": None}
            try:
                if dry_run:
                    past = connection.get(f"/executions/{execution_id}/past", at=body["at"])
                    told["at_version"] = past["version"]
                else:
                    made = connection.post(f"/executions/{execution_id}/fork", {"key": key, **body})
                    told |= {"fork": made["execution_id"], "at_version": made["at_version"]}
            except CommandError as error:
                told["error"] = str(error)
            done.append(told)
    _print(done, dry_run=dry_run, as_json=as_json)
    if any(each["error"] for each in done):
        raise typer.Exit(1)


def _print(done: list[dict[str, Any]], *, dry_run: bool, as_json: bool) -> None:
    if as_json:
        output.print_json({"executions": done})
        return
    failed = sum(1 for each in done if each["error"])
    verb = "could be forked" if dry_run else "forked"
    output.console().print(f"{len(done) - failed} {verb}, {failed} not.", markup=False)
    output.print_table(
        ["EXECUTION", "AT VERSION", "FORK"],
        ((each["execution_id"], str(each["at_version"] or ""), each["fork"] or each["error"] or "") for each in done),
    )
