"""`limits`: who holds the limits that executions share, and who waits."""

from __future__ import annotations

from typing import Annotated

import typer

from daemon.cli import output
from daemon.cli.options import Config, Json, Url, settings_of
from daemon.cli.sources import source_of

Name = Annotated[str | None, typer.Argument(metavar="[LIMIT]", help="One limit, with its holders and its queue.")]


def limits(name: Name = None, *, as_json: Json = False, config: Config = None, url: Url = None) -> None:
    """Show the limits that executions share, by key; of one, who holds it and who waits, in the order of service."""
    with source_of(settings_of(config), url) as source:
        view = source.limits(name)
    if as_json:
        output.print_json(view)
        return
    output.print_table(
        ["LIMIT", "KEY", "MOST", "HELD", "WAITING", "OLDEST (UTC)"],
        (
            (
                each["limit"],
                each["key"],
                "" if each["most"] is None else str(each["most"]),
                str(each["held"]),
                str(each["waiting"]),
                output.moment(each["oldest"]),
            )
            for each in view["limits"]
        ),
    )
    if name is None:
        return
    for each in view["limits"]:
        people = [("holds", one) for one in each["holders"]] + [("waits", one) for one in each["queue"]]
        output.print_table(
            ["", "EXECUTION", "STEP", "KEY", "SINCE (UTC)", "PRIORITY", "FAIR"],
            (
                (
                    what,
                    one["execution_id"],
                    one["address"],
                    each["key"],
                    output.moment(one["since"]),
                    str(one.get("priority", "")),
                    one.get("fair", ""),
                )
                for what, one in people
            ),
        )
