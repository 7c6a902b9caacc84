"""`cache list`, `cache clear`: the results that are kept for other steps. The daemon is asked, which has them."""

from __future__ import annotations

import json
from typing import Annotated, Any

import typer

from daemon.cli import output
from daemon.cli.connection import Connection
from daemon.cli.faults import BadUsage
from daemon.cli.options import Config, Json, Url, settings_of

SHOWN = 12
"""Characters of a hash in the table."""

cache = typer.Typer(name="cache", help="Show or clear the results that are kept for other steps.", no_args_is_help=True)

CacheName = Annotated[
    str | None, typer.Option("--name", help="Only of this cache: workflow/node, or the name that nodes share.")
]
Workflow = Annotated[str | None, typer.Option(help="Only those that steps of this workflow have made.")]


@cache.callback()
def _cache() -> None:
    """Show or clear the results that are kept for other steps."""


@cache.command("list")
def list_results(
    *,
    name: CacheName = None,
    workflow: Workflow = None,
    limit: Annotated[int, typer.Option(min=1, max=100_000, help="At most so many.")] = 100,
    as_json: Json = False,
    config: Config = None,
    url: Url = None,
) -> None:
    """List the results that can be used now. Their values are in the executions that have made them."""
    rows: list[dict[str, Any]] = []
    cursor: str | None = None
    with Connection(settings_of(config), url) as connection:
        while len(rows) < limit:
            page = connection.get(
                "/cache", name=name, workflow=workflow, limit=min(1000, limit - len(rows)), cursor=cursor
            )
            rows += page["results"]
            cursor = page["next"]
            if cursor is None:
                break
    if as_json:
        output.print_json(rows)
        return
    output.print_table(
        ["CACHE", "HASH OF THE KEY", "BYTES", "MADE BY", "STEP", "STORED (UTC)", "UNTIL (UTC)"],
        (
            (
                row["name"],
                row["hash"][:SHOWN],
                str(row["bytes"]),
                row["execution_id"],
                row["address"],
                output.moment(row["stored_at"]),
                output.moment(row["expires_at"]),
            )
            for row in rows
        ),
    )


@cache.command()
def clear(
    *,
    name: CacheName = None,
    workflow: Workflow = None,
    key: Annotated[
        str | None, typer.Option(help="The key that its expression gives: JSON, or else text.", show_default=False)
    ] = None,
    hash_: Annotated[
        str | None, typer.Option("--hash", help="The key's whole hash, as `list --json` has it.", show_default=False)
    ] = None,
    everything: Annotated[bool, typer.Option("--all", help="Of all caches.")] = False,
    as_json: Json = False,
    config: Config = None,
    url: Url = None,
) -> None:
    """Drop results: those that all that is given holds for. The next step with such a key runs its handler."""
    given = {"name": name, "workflow": workflow, "hash": hash_}
    body: dict[str, Any] = {what: value for what, value in given.items() if value is not None}
    if key is not None:
        body["key"] = _value(key)
    if not body and not everything:
        raise BadUsage("say which: --name, --workflow, --key or --hash; or --all")
    if key is not None and hash_ is not None:
        raise BadUsage("give either --key or --hash")
    with Connection(settings_of(config), url) as connection:
        view = connection.post("/cache/clear", body)
    if as_json:
        output.print_json(view)
    else:
        output.console().print(f"cleared: {view['cleared']}")


def _value(text: str) -> Any:
    try:
        return json.loads(text)
    except ValueError:
        return text
