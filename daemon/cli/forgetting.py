"""`forget`, `subjects`: whose data executions hold, and making it unreadable; by way of the daemon."""

from __future__ import annotations

import time
from typing import Annotated, Any

import typer

from daemon.cli import output
from daemon.cli.connection import Connection
from daemon.cli.faults import Failed
from daemon.cli.options import Config, Json, Url, settings_of

PAUSE_S = 0.5


def forget(
    subject: Annotated[str, typer.Argument(help="As the workflow's `subject` gives it.")],
    *,
    reason: Annotated[str, typer.Option(help="Why; it is kept.")] = "",
    cancel: Annotated[
        bool, typer.Option("--cancel", help="Cancel executions of the subject that have not ended, and wait for them.")
    ] = False,
    wait_s: Annotated[float, typer.Option("--wait", min=0, help="With --cancel: how many seconds at most.")] = 60.0,
    yes: Annotated[bool, typer.Option("--yes", help="Do not ask.")] = False,
    as_json: Json = False,
    config: Config = None,
    url: Url = None,
) -> None:
    """Make all values of a subject unreadable, for ever: in events, payloads, snapshots, and exported files.

    What happened stays: steps, statuses, times. Nothing is done while an execution of the subject has not ended.
    """
    with Connection(settings_of(config), url) as connection:
        held = connection.post("/subjects/look", {"subject": subject})
        if held["keys"] and not yes:
            typer.echo(_told(held, "would be unreadable"), err=True)
            typer.confirm("Forget it? This cannot be undone.", abort=True, err=True)
        done = _forget(connection, {"subject": subject, "reason": reason, "cancel": cancel}, wait_s if cancel else 0.0)
    if as_json:
        output.print_json(done)
    elif done["keys"]:
        output.console().print(_told(done, "are unreadable from now on"), markup=False, soft_wrap=True)
    else:
        by, at = done["forgotten_by"], output.moment(done["forgotten_at"])
        output.console().print(f"it was forgotten at {at} by {by}, and has not come again", markup=False)


def subjects(
    *,
    rewrap: Annotated[
        bool, typer.Option("--rewrap", help="Wrap all keys by the first of `keys` in [encryption], to take others out.")
    ] = False,
    as_json: Json = False,
    config: Config = None,
    url: Url = None,
) -> None:
    """List the subjects whose data executions hold, and those that were forgotten."""
    with Connection(settings_of(config), url) as connection:
        if rewrap:
            done = connection.post("/subjects/rewrap")
            output.print_json(done) if as_json else output.console().print(f"wrapped anew: {done['rewrapped']}")
            return
        rows = _all(connection)
    if as_json:
        output.print_json(rows)
        return
    output.print_table(
        ["SUBJECT", "EXECUTIONS", "OPEN", "SINCE (UTC)", "FORGOTTEN (UTC)", "BY", "REASON"],
        (
            (
                row["subject"] if row["subject"] is not None else f"key {row['key']}",
                str(row["executions"]),
                str(row["open"]),
                output.moment(row["created_at"]),
                output.moment(row["forgotten_at"]) if row["forgotten_at"] else "",
                row["forgotten_by"] or "",
                row["reason"] or "",
            )
            for row in rows
        ),
    )


def _forget(connection: Connection, body: dict[str, Any], wait_s: float) -> Any:
    """Ask, and again while executions are on their way to their end."""
    until = time.monotonic() + wait_s
    while True:
        try:
            return connection.post("/subjects/forget", body)
        except Failed:
            if time.monotonic() >= until:
                raise
        time.sleep(PAUSE_S)


def _all(connection: Connection) -> list[dict[str, Any]]:
    rows: list[dict[str, Any]] = []
    after = ""
    while after is not None:
        page = connection.get("/subjects", after=after, limit=1000)
        rows += page["subjects"]
        after = page["next"]
    return rows


def _told(held: dict[str, Any], what: str) -> str:
    sealed = held["sealed"]
    values = f"the values of {sealed['executions']} executions with {sealed['events']} events {what}"
    beside = f"{sealed['snapshots']} snapshots and {sealed['results']} cached results go"
    still = f"; {len(held['open'])} have not ended" if held["open"] else ""
    return f"{values}; {beside}{still}"
