"""`stream`: what a step gives out while it is at work, from the daemon."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Annotated, Any
from urllib.parse import quote

import typer

from daemon.cli import output
from daemon.cli.connection import Connection
from daemon.cli.faults import Failed, NoAnswer
from daemon.cli.options import Config, ExecutionIdArgument, Json, Url, settings_of
from daemon.cli.sources import DaemonSource, find

if TYPE_CHECKING:
    from collections.abc import Iterator


def stream(
    execution_id: ExecutionIdArgument,
    address: Annotated[str, typer.Argument(help="The step's address: charge, each[3].charge.", show_default=False)],
    *,
    after: Annotated[
        str | None, typer.Option(help="Only chunks after this one: 17, or 2-17 with its run.", show_default=False)
    ] = None,
    as_json: Json = False,
    config: Config = None,
    url: Url = None,
) -> None:
    """Print the chunks of a step's stream as they come, up to its end.

    Chunks that are text are printed one after the other, others one a line. Exit code 1 when the step does not succeed.
    """
    status = ""
    with Connection(settings_of(config), url) as connection:
        found = find(DaemonSource(connection), execution_id)
        path = f"/executions/{found}/steps/{quote(address, safe='')}/stream"
        for entry in _followed(connection, path, after):
            if as_json:
                output.print_line(entry)
            else:
                _print(entry)
            if entry["type"] == "end":
                status = entry["data"]["status"]
    if status != "succeeded":
        raise Failed(f"the step is {status}")


def _followed(connection: Connection, path: str, after: str | None) -> Iterator[dict[str, Any]]:
    """Yield entries; a connection that is cut is taken up where it was."""
    while True:
        began = after
        try:
            for line in connection.lines(path, "application/x-ndjson", after=after):
                if line.strip():
                    entry: dict[str, Any] = json.loads(line)
                    after = entry["id"]
                    yield entry
                    if entry["type"] == "end":
                        return
        except NoAnswer:
            if after == began:
                raise


def _print(entry: dict[str, Any]) -> None:
    data = entry["data"]
    match entry["type"]:
        case "chunk":
            typer.echo(
                data if isinstance(data, str) else json.dumps(data, ensure_ascii=False), nl=not isinstance(data, str)
            )
        case "restart":
            typer.echo(f"\n-- the step runs again; what came before is void (run {data['run']}) --", err=True)
        case _:
            typer.echo()
