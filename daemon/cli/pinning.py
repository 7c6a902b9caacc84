"""`pin`, `unpin`: by way of the daemon, which knows who asks."""

from __future__ import annotations

from typing import Annotated

import typer

from daemon.cli import output
from daemon.cli.connection import Connection
from daemon.cli.options import Config, ExecutionIdArgument, Json, Url, settings_of
from daemon.cli.sources import DaemonSource, find


def pin(
    execution_id: ExecutionIdArgument,
    *,
    reason: Annotated[str, typer.Option(help="Why; it is shown.")] = "",
    as_json: Json = False,
    config: Config = None,
    url: Url = None,
) -> None:
    """Keep an execution, and its payloads where they are, whatever the rules of retention and the quotas say."""
    with Connection(settings_of(config), url) as connection:
        found = find(DaemonSource(connection), execution_id)
        view = connection.put(f"/executions/{found}/pin", {"reason": reason})
    if as_json:
        output.print_json(view)
    else:
        output.console().print(f"{found} is pinned", markup=False)


def unpin(execution_id: ExecutionIdArgument, *, as_json: Json = False, config: Config = None, url: Url = None) -> None:
    """Let the rules of retention and the quotas count for an execution again."""
    with Connection(settings_of(config), url) as connection:
        found = find(DaemonSource(connection), execution_id)
        view = connection.delete(f"/executions/{found}/pin")
    if as_json:
        output.print_json(view)
    else:
        output.console().print(f"{found} {'is unpinned' if view['changed'] else 'was not pinned'}", markup=False)
