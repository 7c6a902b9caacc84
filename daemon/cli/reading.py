"""`list`, `show`, `events`, `state`, `why`, `daemons`."""

from __future__ import annotations

import re
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Annotated, Any

import typer

from daemon.cli import output
from daemon.cli.faults import BadUsage
from daemon.cli.options import Config, ExecutionIdArgument, Json, Url, settings_of
from daemon.cli.sources import find, source_of
from daemon.core.durations import DurationError, parse_duration
from eventstore.index import ExecutionFilter

if TYPE_CHECKING:
    from collections.abc import Iterable

STATUSES = ("pending", "running", "paused", "compensating", "completed", "failed", "cancelled")


def list_executions(
    *,
    workflow: Annotated[str | None, typer.Option(help="Only of this workflow.")] = None,
    status: Annotated[str | None, typer.Option(help=f"Only with this status: {', '.join(STATUSES)}.")] = None,
    trigger: Annotated[str | None, typer.Option(help="Only started by this trigger: workflow/name.")] = None,
    since: Annotated[str | None, typer.Option(help="Started at or after: 2026-01-31T12:00, or 1h ago.")] = None,
    limit: Annotated[int, typer.Option(min=1, max=100_000, help="At most so many.")] = 20,
    as_json: Json = False,
    config: Config = None,
    url: Url = None,
) -> None:
    """List executions, newest first."""
    if status is not None and status not in STATUSES:
        raise BadUsage(f"there is no status {status!r}", hint=f"there are: {', '.join(STATUSES)}")
    moment = read_moment(since) if since is not None else None
    which = ExecutionFilter(workflow=workflow, status=status, trigger=trigger, since=moment, limit=limit)
    with source_of(settings_of(config), url) as source:
        rows = source.executions(which)
    if as_json:
        output.print_json(rows)
        return
    output.print_table(
        ["ID", "WORKFLOW", "STATUS", "WAITS FOR", "STARTED (UTC)", "FINISHED (UTC)", "ERROR"],
        (
            (
                row["execution_id"],
                row["workflow"],
                output.status(row["status"]) + (" pinned" if row["pin"] else ""),
                row["waits_for"] or "",
                output.moment(row["started_at"]),
                output.moment(row["finished_at"]),
                output.short(row["error"] or ""),
            )
            for row in rows
        ),
    )


def show(execution_id: ExecutionIdArgument, *, as_json: Json = False, config: Config = None, url: Url = None) -> None:
    """Show an execution with its steps."""
    with source_of(settings_of(config), url) as source:
        view = source.execution(find(source, execution_id))
    if as_json:
        output.print_json(view)
        return
    _print_summary(view)
    output.console().print()
    output.print_table(
        ["STEP", "STATUS", "ATTEMPTS", "BEGAN (UTC)", "TOOK", "RESULT"],
        (
            (
                step["address"],
                output.status(step["status"]),
                len(step["attempts"]) or "",
                output.moment(step["started_at"]),
                _took(step["attempts"]),
                _result(step),
            )
            for step in view["steps"]
        ),
    )


def events(
    execution_id: ExecutionIdArgument,
    *,
    after: Annotated[int, typer.Option(min=0, help="Only events after this version.")] = 0,
    follow: Annotated[bool, typer.Option("--follow", "-f", help="Go on until the execution has ended.")] = False,
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON, one event a line.")] = False,
    config: Config = None,
    url: Url = None,
) -> None:
    """Show the events of an execution."""
    with source_of(settings_of(config), url) as source:
        found = find(source, execution_id)
        _print_events(source.follow(found, after) if follow else source.events(found, after), as_json=as_json)


def state(
    execution_id: ExecutionIdArgument,
    *,
    version: Annotated[int | None, typer.Option(min=1, help="After the event of this number.")] = None,
    at: Annotated[str | None, typer.Option(help="At this time: 2026-01-31T12:00, or 1h ago.")] = None,
    as_json: Json = False,
    config: Config = None,
    url: Url = None,
) -> None:
    """Show the state of an execution, now or in the past."""
    if version is not None and at is not None:
        raise BadUsage("give either --version or --at")
    moment = read_moment(at) if at is not None else None
    with source_of(settings_of(config), url) as source:
        view = source.state(find(source, execution_id), version=version, at=moment)
    if as_json:
        output.print_json(view)
        return
    _print_summary(view)
    output.console().print()
    steps = view.get("steps", {}).values()
    rows = ((step["address"], output.status(step["status"]), _result(step)) for step in steps)
    output.print_table(["STEP", "STATUS", "RESULT"], rows)
    for timer_id, timer in view.get("timers", {}).items():
        output.console().print(f"timer {timer_id}: due {output.moment(timer['due'])} UTC")
    for signal_id, signal in view.get("signals", {}).items():
        output.console().print(f"signal {signal_id}: {signal['name']} {output.short(signal['data'])}", markup=False)


def why(execution_id: ExecutionIdArgument, *, as_json: Json = False, config: Config = None, url: Url = None) -> None:
    """Say what an execution waits for, or how it ended."""
    with source_of(settings_of(config), url) as source:
        view = source.why(find(source, execution_id))
    if as_json:
        output.print_json(view)
        return
    console = output.console()
    console.print(view["summary"], style="bold red" if view["alarm"] else "", markup=False)
    for cause in view["causes"]:
        console.print(f"- {cause['sentence']}", markup=False, soft_wrap=not console.is_terminal)


def daemons(*, as_json: Json = False, config: Config = None, url: Url = None) -> None:
    """Show the daemons that work on the store, and how many executions each has work in flight for."""
    with source_of(settings_of(config), url) as source:
        view = source.daemons()
    if as_json:
        output.print_json(view)
        return
    output.print_table(
        ["ID", "NAME", "RANK", "JOINED (UTC)", "LAST SIGN (UTC)", "EXECUTIONS"],
        (
            (
                each["id"],
                each["name"],
                str(each["rank"]),
                output.moment(each["joined_at"]),
                output.moment(each["beat_at"]),
                str(each["executions"]),
            )
            for each in view["daemons"]
        ),
    )
    if view["orphans"]:
        output.console().print(f"executions with work in flight that no daemon has: {view['orphans']}")


def read_moment(text: str) -> datetime:
    """Return a time: ISO 8601, in UTC where it names no zone, or how long ago: `90s`, `1h`, `7d`.

    `14:05` is that time today, `now` is now.
    """
    if text == "now":
        return datetime.now(UTC)
    try:
        return datetime.now(UTC) - parse_duration(text.removesuffix("ago").strip())
    except (DurationError, OverflowError):
        pass
    try:
        today = f"{datetime.now(UTC).date()}T" if re.fullmatch(r"\d\d:\d\d(:\d\d)?", text) else ""
        moment = datetime.fromisoformat(today + text)
        return moment.replace(tzinfo=UTC) if moment.tzinfo is None else moment.astimezone(UTC)
    except (ValueError, OverflowError):
        raise BadUsage(
            f"{text!r} is not a time", hint="write 2026-01-31T12:00:00, 14:05, now, or 1h for an hour ago"
        ) from None


def _print_summary(view: dict[str, Any]) -> None:
    output.print_pairs(
        [
            ("execution", view["execution_id"]),
            ("workflow", view["workflow"]),
            ("status", output.status(view["status"])),
            ("waits for", view["waits_for"]),
            ("version", view["version"]),
            ("definition", (view["definition"] or "")[:12]),
            ("started", output.moment(view["started_at"])),
            ("finished", output.moment(view["finished_at"])),
            ("trigger", (view["trigger"] or {}).get("source") if isinstance(view["trigger"], dict) else None),
            ("key", view["dedupe_key"]),
            ("input", output.short(view["input"], 400)),
            ("output", output.short(view["output"], 400) if view["status"] == "completed" else None),
            ("error", output.error_text(view["error"])),
            ("failed step", view["failed_step"]),
            ("reason", view["reason"]),
            ("pinned", _pinned(view.get("pin"))),
        ]
    )


def _pinned(pin: dict[str, Any] | None) -> str | None:
    if pin is None:
        return None
    why = f": {pin['reason']}" if pin["reason"] else ""
    return f"by {pin['by']}, {output.moment(pin['at'])} UTC{why}"


def _print_events(found: Iterable[dict[str, Any]], *, as_json: bool) -> None:
    console = output.console()
    for event in found:
        if as_json:
            output.print_line(event)
            continue
        data = {name: value for name, value in event["data"].items() if value not in (None, [], "")}
        subject = data.pop("address", "")
        line = f"{event['version']:>5}  {output.moment(event['at'])}  {event['type']:<18} {subject:<20}"
        console.print(f"{line} {output.short(data, 120)}".rstrip(), markup=False, soft_wrap=True)


def _turns(turns: dict[str, Any]) -> str:
    ended = turns["succeeded"] + turns["failed"]
    of_all = "" if turns["total"] is None else f" of {turns['total']}"
    failed = f", {turns['failed']} failed" if turns["failed"] else ""
    return f"{ended}{of_all} turns ended, {turns['running']} under way{failed}"


def _took(attempts: list[dict[str, Any]]) -> str:
    last = attempts[-1]["duration_ms"] if attempts else None
    if last is None:
        return ""
    return f"{last:.0f}ms" if last < 1000 else f"{last / 1000:.1f}s"  # noqa: PLR2004  milliseconds in a second


def _result(step: dict[str, Any]) -> str:
    match step["status"]:
        case "succeeded":
            way = ", ".join(step["to"]) if "to" in step else step["port"]
            source = "cached: " if step.get("cached") else ""
            return source + ("" if way == "out" else f"{way or 'end'}: ") + output.short(step["output"])
        case "failed":
            return output.short(output.error_text(step["error"]))
        case "retrying":
            return f"next at {output.moment(step['due'])}: {output.short(output.error_text(step['error']))}"
        case "postponed":
            return f"called again at {output.moment(step['due'])}"
        case "sleeping":
            return f"until {output.moment(step['due'])}"
        case "awaiting":
            end = f" until {output.moment(step['due'])}" if step["due"] else ""
            return f"signal {step['signal']}{end}"
        case "running" if step.get("progress") is not None:
            return output.short(step["progress"])
        case "running" if "turns" in step:
            return _turns(step["turns"])
        case _:
            return ""
