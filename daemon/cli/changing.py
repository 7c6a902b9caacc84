"""`start`, `signal`, `cancel`: commands that change something, by way of the daemon."""

from __future__ import annotations

import asyncio
import sys
import time
from typing import TYPE_CHECKING, Annotated, Any
from urllib.parse import quote

import msgspec
import typer

from daemon.cli import output
from daemon.cli.connection import Connection
from daemon.cli.faults import BadUsage, NoAnswer
from daemon.cli.options import Config, ExecutionIdArgument, Json, Url, settings_of
from daemon.cli.sources import DaemonSource, find, source_of
from daemon.cli.stores import is_memory
from daemon.core.durations import DurationError, parse_duration
from daemon.runtime.views import plain, summary_view

if TYPE_CHECKING:
    from collections.abc import Iterable

    from daemon.settings import Settings

WAIT_STEP_S = 60.0
"""The longest single request of `start --wait`; it is repeated."""

Data = Annotated[str, typer.Option(help="JSON; `-` reads it from the standard input, `@file` from a file.")]
Key = Annotated[str | None, typer.Option(help="Calls with the same key act once.", show_default=False)]


def start(
    workflow: Annotated[str, typer.Argument(help="The workflow's name.", show_default=False)],
    *,
    input_text: Annotated[
        str, typer.Option("--input", "-i", help="JSON; `-` reads it from the standard input, `@file` from a file.")
    ] = "null",
    wait: Annotated[bool, typer.Option("--wait", "-w", help="Wait for the end and print the output.")] = False,
    timeout: Annotated[str | None, typer.Option(help="How long to wait: 30s.", show_default=False)] = None,
    key: Key = None,
    break_at: Annotated[
        list[str] | None,
        typer.Option("--break-at", help="Stop before this node's step: `charge`, `charge if input.amount > 100`."),
    ] = None,
    break_at_errors: Annotated[bool, typer.Option("--break-at-errors", help="Stop where a step fails.")] = False,
    as_json: Json = False,
    config: Config = None,
    url: Url = None,
) -> None:
    """Start an execution of a workflow. `sagad debug --live` goes through one that has breakpoints.

    With --wait the exit code is 1 when it failed or was cancelled, 4 when it has not ended in time.
    """
    value = read_data(input_text, "--input")
    limit_s = _seconds(timeout)
    with Connection(settings_of(config), url) as connection:
        headers = {"Idempotency-Key": key} if key is not None else None
        path = f"/workflows/{quote(workflow, safe='')}/executions"
        body = {"input": value} | _breakpoints(break_at or (), errors=break_at_errors)
        view = connection.post(path, body, headers=headers)
        if wait:
            view = _wait(connection, view, limit_s)
    _print_started(view, waited=wait, as_json=as_json)


def _breakpoints(places: Iterable[str], *, errors: bool) -> dict[str, Any]:
    """Return what a start says of breakpoints; nothing for none."""
    points: list[dict[str, Any]] = [{"errors": True}] if errors else []
    for place in places:
        node, _, condition = f" {place} ".partition(" if ")
        points.append({"node": node.strip(), "condition": condition.strip()})
    return {"breakpoints": points} if points else {}


def signal(
    execution_id: ExecutionIdArgument,
    name: Annotated[str, typer.Argument(help="The signal's name.", show_default=False)],
    *,
    data: Data = "null",
    key: Key = None,
    before_start: Annotated[bool, typer.Option(help="Keep it for an execution that does not exist yet.")] = False,
    as_json: Json = False,
    config: Config = None,
    url: Url = None,
) -> None:
    """Give an execution a signal. It waits there until a step takes it."""
    value = read_data(data, "--data")
    with Connection(settings_of(config), url) as connection:
        found = find(DaemonSource(connection), execution_id)
        headers = {"Idempotency-Key": key} if key is not None else None
        path = f"/executions/{found}/signals/{quote(name, safe='')}"
        view = connection.post(path, value, headers=headers, before_start=before_start or None)
    print_changed(view, as_json=as_json, done=f"signalled {name}", before="had this signal already")


def update(
    execution_id: ExecutionIdArgument,
    name: Annotated[str, typer.Argument(help="The update's name.", show_default=False)],
    *,
    data: Data = "null",
    key: Key = None,
    config: Config = None,
    url: Url = None,
) -> None:
    """Give an execution an update, and print its result as JSON. One that is refused has had no effect."""
    value = read_data(data, "--data")
    with Connection(settings_of(config), url) as connection:
        found = find(DaemonSource(connection), execution_id)
        headers = {"Idempotency-Key": key} if key is not None else None
        view = connection.post(f"/executions/{found}/updates/{quote(name, safe='')}", value, headers=headers)
    output.print_json(view["result"])


def query(
    execution_id: ExecutionIdArgument,
    name: Annotated[str, typer.Argument(help="The query's name.", show_default=False)],
    *,
    data: Data = "null",
    config: Config = None,
    url: Url = None,
) -> None:
    """Ask an execution, going on or ended, and print the answer as JSON. Nothing is recorded."""
    value = read_data(data, "--data")
    with Connection(settings_of(config), url) as connection:
        found = find(DaemonSource(connection), execution_id)
        view = connection.post(f"/executions/{found}/queries/{quote(name, safe='')}", value)
    output.print_json(view["result"])


def cancel(
    execution_id: ExecutionIdArgument,
    *,
    reason: Annotated[str, typer.Option(help="Why; it is recorded.")] = "",
    undo: Annotated[bool, typer.Option(help="Undo first what it has done.")] = True,
    as_json: Json = False,
    config: Config = None,
    url: Url = None,
) -> None:
    """End an execution without a result; what it has done is undone first, where its workflow says how."""
    view = _post_reason("cancel", execution_id, reason, settings_of(config), url, **({} if undo else {"undo": False}))
    ended = view["finished_at"] is not None
    done = "cancelled" if ended else "is undone first, and cancelled then"
    before = f"had already {view['status']}" if ended else "is being undone already"
    print_changed(view, as_json=as_json, done=done, before=before)


def _post_reason(
    what: str, execution_id: str, reason: str, settings: Settings, url: str | None, **more: bool
) -> dict[str, Any]:
    with Connection(settings, url) as connection:
        found = find(DaemonSource(connection), execution_id)
        view: dict[str, Any] = connection.post(f"/executions/{found}/{what}", {"reason": reason, **more})
    return view


def read_data(text: str, option: str) -> Any:
    """Return the JSON value of an option. Raises BadUsage."""
    try:
        if text == "-":
            text = sys.stdin.read()
        elif text.startswith("@"):
            with open(text[1:], encoding="utf-8") as file:  # noqa: PTH123  the same thing
                text = file.read()
        return msgspec.json.decode(text)
    except OSError as error:
        raise BadUsage(f"{option}: {error}") from None
    except (ValueError, msgspec.DecodeError) as error:
        hint = f"""texts are quoted: {option} '{{"order_id": "7"}}'"""
        raise BadUsage(f"{option} is not JSON: {error}", hint=hint) from None


def _wait(connection: Connection, view: dict[str, Any], limit_s: float | None) -> dict[str, Any]:
    """Ask until the execution has ended; raise NoAnswer when that takes longer than allowed."""
    path, started = f"/executions/{view['execution_id']}", view["started"]
    deadline = None if limit_s is None else time.monotonic() + limit_s
    while view["finished_at"] is None:
        left_s = WAIT_STEP_S if deadline is None else min(WAIT_STEP_S, deadline - time.monotonic())
        if left_s <= 0:
            raise NoAnswer(
                f"execution {view['execution_id']} has not ended in time", hint="`sagad why` tells what it waits for"
            )
        view = connection.get(path, wait=f"{round(left_s * 1000)}ms", wait_s=left_s)
    return {**view, "started": started}


def resume_here(settings: Settings, execution_id: str) -> dict[str, Any]:
    """Carry out what is owed to an execution in this process, as no daemon answers; return it as it is then."""
    from daemon.cli.driving import drive  # noqa: PLC0415  all of the daemon, and seldom needed

    if is_memory(settings):
        raise BadUsage("a store in memory belongs to the daemon's process, and no daemon answers")
    with source_of(settings, None) as source:
        found = find(source, execution_id)
    state, daemon = asyncio.run(drive(settings, found))
    if daemon is not None:
        typer.echo(f"daemon {daemon} works on it, and was asked to look", err=True)
    view: dict[str, Any] = plain(summary_view(found, state))
    return view


def _seconds(timeout: str | None) -> float | None:
    try:
        return None if timeout is None else parse_duration(timeout).total_seconds()
    except DurationError as error:
        raise BadUsage(f"--timeout: {error}") from None


def _print_started(view: dict[str, Any], *, waited: bool, as_json: bool) -> None:
    if as_json:
        output.print_json(view)
    elif not waited:
        word = "started" if view["started"] else f"had been started before; it is {view['status']}"
        output.console().print(f"{view['execution_id']} {word}", markup=False)
    elif view["status"] == "completed":
        output.print_json(view["output"])
    if waited and view["status"] in ("failed", "cancelled"):
        raise typer.Exit(1)


def print_changed(view: dict[str, Any], *, as_json: bool, done: str, before: str) -> None:
    """Print what a command did to an execution: `done`, or `before` when it had been so already."""
    if as_json:
        output.print_json(view)
    else:
        word = done if view["changed"] else before
        output.console().print(f"{view['execution_id']} {word}", markup=False)
