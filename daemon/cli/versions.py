"""`versions`: which definitions of a workflow still have executions."""

from __future__ import annotations

from typing import Annotated

import typer

from daemon.cli import output
from daemon.cli.faults import NotFound
from daemon.cli.options import Config, Json, Url, settings_of
from daemon.cli.sources import source_of

Workflow = Annotated[str, typer.Argument(metavar="WORKFLOW", help="Name of the workflow.", show_default=False)]


def versions(workflow: Workflow, *, as_json: Json = False, config: Config = None, url: Url = None) -> None:
    """Show the definitions that a workflow's executions are pinned to, the last used first.

    One without open executions has drained: nothing goes on under it any more.
    """
    with source_of(settings_of(config), url) as source:
        view = source.versions(workflow)
    if as_json:
        output.print_json(view)
        return
    if not view["versions"]:
        raise NotFound(f"there is no execution of a workflow {workflow!r}")
    output.print_table(
        ["DEFINITION", "FIRST SEEN (UTC)", "OPEN", "EXECUTIONS", "OLDEST OPEN (UTC)", "LAST START (UTC)", ""],
        (
            (
                each["definition"][:12],
                output.moment(each["first_seen_at"]),
                str(each["open"]),
                str(each["executions"]),
                output.moment(each["oldest_open_at"]),
                output.moment(each["last_started_at"]),
                "current" if each["current"] else "",
            )
            for each in view["versions"]
        ),
    )
