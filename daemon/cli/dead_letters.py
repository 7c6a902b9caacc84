"""`dead-letters`: messages that could not be processed; looked at, edited, given in again. The daemon is asked."""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from daemon.cli import output
from daemon.cli.connection import Connection
from daemon.cli.faults import BadUsage, NotFound
from daemon.cli.options import Config, Json, Url, settings_of
from daemon.cli.reading import read_moment

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

PAGE = 1000
SHOWN = 8
"""Characters by which a letter is named in the table."""

dead_letters = typer.Typer(
    name="dead-letters", help="List messages that could not be processed, and give them in again.", no_args_is_help=True
)
LetterIds = Annotated[list[str] | None, typer.Argument(metavar="ID", help="The letters, or how their ids begin.")]


@dead_letters.callback()
def _dead_letters() -> None:
    """List messages that could not be processed, and give them in again."""


@dead_letters.command("list")
def list_letters(
    *,
    trigger: Annotated[str | None, typer.Option(help="Only of this trigger: workflow/name.")] = None,
    state: Annotated[str, typer.Option(help="waiting, redriven, discarded, or all.")] = "waiting",
    since: Annotated[str | None, typer.Option(help="Set aside last at or after: 2026-01-31T12:00, or 1h.")] = None,
    reason: Annotated[str | None, typer.Option(help="Part of the reason, or of its code.")] = None,
    limit: Annotated[int, typer.Option(min=1, max=100_000, help="At most so many.")] = 100,
    as_json: Json = False,
    config: Config = None,
    url: Url = None,
) -> None:
    """List messages that could not be processed, those set aside last first."""
    which = {
        "trigger": trigger,
        "state": None if state == "all" else state,
        "since": None if since is None else read_moment(since).isoformat(),
        "reason": reason,
    }
    with Connection(settings_of(config), url) as connection:
        rows = _letters(connection, which, limit)
    if as_json:
        output.print_json(rows)
        return
    output.print_table(
        ["LETTER", "TRIGGER", "FROM", "SET ASIDE (UTC)", "TIMES", "STATE", "WHY"],
        (
            (
                row["id"][:SHOWN],
                row["trigger"],
                row["source"],
                output.moment(row["last_at"]),
                str(row["times"]),
                row["state"],
                output.short(f"{row['code']}: {row['reason']}", 80),
            )
            for row in rows
        ),
    )


@dead_letters.command()
def show(
    letter: Annotated[str, typer.Argument(metavar="ID", help="The letter, or how its id begins.")],
    *,
    as_json: Json = False,
    config: Config = None,
    url: Url = None,
) -> None:
    """Show a message: what it holds, why it could not be processed, when, and from where it came."""
    with Connection(settings_of(config), url) as connection:
        view = connection.get(f"/dead-letters/{_found(connection, letter)}")
    if as_json:
        output.print_json(view)
        return
    names = ("id", "trigger", "state", "times", "source", "place", "key", "identity", "traceparent", "outcome")
    output.print_pairs(
        [
            *((name.replace("_", " "), view[name]) for name in names),
            ("why", f"{view['code']}: {view['reason']}"),
            ("received", output.moment(view["received_at"])),
            ("set aside", output.moment(view["last_at"])),
            ("settled", _settled(view)),
            ("execution", view["execution_id"]),
            ("headers", output.short(view["headers"], 200) if view["headers"] else None),
        ]
    )
    output.console().print(view["text"], markup=False, soft_wrap=True)
    if view["edited"] is not None:
        output.console().print("\nedited:", style="bold")
        output.console().print(view["edited"], markup=False, soft_wrap=True)


@dead_letters.command()
def redrive(
    letters: LetterIds = None,
    *,
    where: Annotated[
        str | None, typer.Option(help="An expression: \"code == 'invalid' and value.total == 'many'\".")
    ] = None,
    trigger: Annotated[str | None, typer.Option(help="With --where: only of this trigger.")] = None,
    edit: Annotated[
        str | None,
        typer.Option(help="Another body: '{…}', or the file that has it; or a JSON Patch: '[{\"op\": …}]'."),
    ] = None,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Only say which.")] = False,
    limit: Annotated[int, typer.Option(min=1, max=PAGE, help="With --where: at most so many.")] = PAGE,
    as_json: Json = False,
    config: Config = None,
    url: Url = None,
) -> None:
    """Give messages in again, as fresh ones, edited or as they came. What is given in twice starts one execution.

    Expressions read id, trigger, source, code, reason, times, key, headers and value. Exit code 1 when one goes on
    waiting.
    """
    if bool(letters) == (where is not None):
        raise BadUsage("say which: some ids, or --where")
    body: dict[str, Any] = {"dry_run": dry_run, "limit": limit, **_edit(edit)}
    with Connection(settings_of(config), url) as connection:
        which = {"ids": [_found(connection, each) for each in letters or ()]} if letters else {"where": where}
        given = {**body, **which, **({"trigger": trigger} if trigger is not None else {})}
        told: list[dict[str, Any]] = connection.post("/dead-letters/redrive", given, wait_s=60)["letters"]
    if as_json:
        output.print_json(told)
    else:
        for each in told:
            line = " ".join(filter(None, (each["id"], each["outcome"], each["execution_id"], each["reason"])))
            output.console().print(line, markup=False, soft_wrap=True)
        if not told:
            output.console().print("No dead letter matches.")
    if any(each["outcome"] in {"refused", "later"} for each in told):
        raise typer.Exit(1)


@dead_letters.command()
def discard(
    letters: Annotated[list[str], typer.Argument(metavar="ID", help="The letters, or how their ids begin.")],
    *,
    as_json: Json = False,
    config: Config = None,
    url: Url = None,
) -> None:
    """Let messages wait no longer. They stay to be looked at, for as long as the settings say."""
    with Connection(settings_of(config), url) as connection:
        found = [_found(connection, each) for each in letters]
        told = [connection.post(f"/dead-letters/{letter_id}/discard") for letter_id in found]
    if as_json:
        output.print_json(told)
        return
    for view in told:
        output.console().print(f"{view['id']} {view['state']}", markup=False)


def _letters(connection: Connection, which: Mapping[str, Any], limit: int) -> list[dict[str, Any]]:
    rows: list[dict[str, Any]] = []
    cursor: str | None = None
    while len(rows) < limit:
        page = connection.get("/dead-letters", **which, limit=min(PAGE, limit - len(rows)), cursor=cursor)
        rows += page["letters"]
        cursor = page["next"]
        if cursor is None:
            break
    return rows


def _found(connection: Connection, text: str) -> str:
    """Return the letter's id; how the id of one of the newest begins will do."""
    if len(text) == 36:  # noqa: PLR2004  a whole id
        return text
    fitting = [row["id"] for row in _letters(connection, {}, PAGE) if row["id"].startswith(text.lower())]
    if not fitting:
        raise NotFound(
            f"there is no dead letter whose id begins with {text!r}", hint="`sagad dead-letters list` has them"
        )
    if len(fitting) > 1:
        raise BadUsage(f"there is more than one dead letter whose id begins with {text!r}", hint="write more of it")
    return str(fitting[0])


def _edit(text: str | None) -> Mapping[str, Any]:
    if text is None:
        return {}
    if text.lstrip().startswith("{"):
        return {"body": text}
    if text.lstrip().startswith("["):
        try:
            patch: Sequence[Any] = json.loads(text)
        except ValueError as error:
            raise BadUsage(f"--edit is no JSON Patch: {error}") from None
        return {"patch": patch}
    try:
        return {"body": Path(text).read_text(encoding="utf-8")}
    except (OSError, UnicodeDecodeError) as error:
        raise BadUsage(
            f"--edit: cannot read {text}: {error}", hint="name a file, write '{…}', or a JSON Patch"
        ) from None


def _settled(view: Mapping[str, Any]) -> str | None:
    return f"{output.moment(view['settled_at'])} by {view['settled_by']}" if view["settled_at"] else None
