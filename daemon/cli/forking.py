"""Forks of many executions: those that match, each at the same place, with the same edits.

Comes from: `branching`. Goes to: `asking`, `bulk`.
"""

from __future__ import annotations

import json
from hashlib import sha256
from typing import TYPE_CHECKING, Any

from daemon.cli.asking import matching
from daemon.cli.bulk import Asked, each_of, end, print_done
from daemon.cli.connection import Connection

if TYPE_CHECKING:
    from daemon.cli.output import Row
    from daemon.settings import Settings

COLUMNS = ("EXECUTION", "AT VERSION", "FORK")


def fork_many(
    settings: Settings, url: str | None, where: str, body: dict[str, Any], *, dry_run: bool, as_json: bool
) -> None:
    """Fork all that match now, and print what became of each; exit code 1 when one could not be forked.

    The same call again makes no fork twice: its key follows from what is asked.
    """
    found = [row["execution_id"] for row in matching(settings, url, where, quiet=as_json)]
    key = "many/" + sha256(json.dumps([where, body], sort_keys=True).encode()).hexdigest()[:32]
    with Connection(settings, url) as connection:

        def ask(execution_id: str) -> Asked:
            made = connection.post(f"/executions/{execution_id}/fork", {"key": key, **body, "dry_run": dry_run})
            if dry_run:
                return _told(execution_id, at_version=made["version"])
            return _told(execution_id, fork=made["execution_id"], at_version=made["at_version"])

        def show(done: list[Asked]) -> None:
            verb = "could be forked" if dry_run else "forked"
            print_done(done, verb, fault="error", columns=COLUMNS, row=_row, as_json=as_json)

        def refused(execution_id: str, error: str) -> Asked:
            return _told(execution_id, error=error)

        done = each_of(found, ask, refused, show, quiet=as_json)
    show(done)
    end(done, fault="error")


def _told(execution_id: str, **known: Any) -> Asked:
    return {"execution_id": execution_id, "fork": None, "at_version": None, "error": None} | known


def _row(told: Asked) -> Row:
    return told["execution_id"], told["at_version"] or "", told["fork"] or told["error"] or ""
