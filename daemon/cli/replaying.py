"""`replay`: an execution shown as it went, or a part of the log lived again in shadow.

Comes from: the shell. Goes to: daemon/debugger/playing, `shadowing`.
"""

from __future__ import annotations

import asyncio
import os
from datetime import timedelta
from pathlib import Path  # noqa: TC003  typer resolves the annotations
from typing import TYPE_CHECKING, Annotated

import typer
from rich.text import Text

from daemon.cli import output
from daemon.cli.debugging import recorded
from daemon.cli.faults import BadUsage
from daemon.cli.options import Config, Json, Url, settings_of
from daemon.cli.remotes import recorded_there
from daemon.cli.shadowing import Shown, shadow
from daemon.debugger.playing import Played, play
from daemon.debugger.viewing import played_view
from daemon.runtime.clock import SystemClock

if TYPE_CHECKING:
    from contextlib import AbstractAsyncContextManager

    from daemon.debugger.debuggee import Debuggee

FAST = "max"
_HINT = "write `sagad replay ID`, or `sagad replay --from POSITION|TIME --definition FILE`"
_STYLES = {"Failed": "red", "Succeeded": "green", "Completed": "green", "Cancelled": "yellow", "Skipped": "dim"}


def replay(
    execution_id: Annotated[
        str | None, typer.Argument(metavar="[ID]", help="The execution to show.", show_default=False)
    ] = None,
    *,
    speed: Annotated[str, typer.Option(help=f"1 as it went, 10 ten times as fast, `{FAST}` as fast as can be.")] = FAST,
    longest: Annotated[
        float | None, typer.Option("--longest-pause", min=0, help="No pause is longer, in seconds.", show_default=False)
    ] = None,
    first: Annotated[
        str | None, typer.Option("--from", help="Live again what has started from this POSITION|TIME on.")
    ] = None,
    last: Annotated[str | None, typer.Option("--to", help="Up to this POSITION, or before this TIME.")] = None,
    definition: Annotated[Path | None, typer.Option(help="The file with the other definitions.")] = None,
    workflow: Annotated[str | None, typer.Option(help="Only executions of this workflow.")] = None,
    trigger: Annotated[str | None, typer.Option(help="Only started by this trigger: workflow/name.")] = None,
    limit: Annotated[int, typer.Option(min=1, max=1_000_000, help="The newest so many.")] = 10_000,
    missing: Annotated[
        str, typer.Option(help="What a step does whose result is not recorded: `stop`, `fail`, `null`.")
    ] = "stop",
    processes: Annotated[int, typer.Option(min=1, help="How many processes decide.")] = os.cpu_count() or 1,
    allow: Annotated[str, typer.Option(help="The worst that is no failure: none, minor, major, critical.")] = "none",
    junit_file: Annotated[Path | None, typer.Option("--junit", help="Write a JUnit report too.")] = None,
    as_json: Json = False,
    config: Config = None,
    url: Url = None,
) -> None:
    """Show an execution as it went; or, with --definition and --from, live a part of the log again in shadow.

    With ID: its events, of a fork those of its source before. With --from: executions that have started there get again
    what came from outside, under the other definition; steps are given their recorded results, nothing is sent. What
    would have been different is told; exit code 1 beyond --allow. Neither changes anything.
    """
    settings = settings_of(config)
    if execution_id is not None:
        if definition is not None or first is not None or last is not None:
            raise BadUsage("an execution is shown, a part of the log lived again: not both", hint=_HINT)
        opening = recorded(settings, execution_id) if url is None else recorded_there(settings, execution_id, url)
        asyncio.run(_replay(opening, factor(speed), longest, as_json=as_json))
        return
    if definition is None or first is None:
        raise BadUsage("say what is to be replayed", hint=_HINT)
    shown = Shown(allow, junit_file, as_json)
    shadow(
        settings,
        definition,
        (first, last),
        workflow=workflow,
        trigger=trigger,
        limit=limit,
        missing=missing,
        processes=processes,
        shown=shown,
    )


def factor(speed: str) -> float | None:
    """Return how many times as fast; None for as fast as can be. Raises BadUsage."""
    if speed == FAST:
        return None
    try:
        found = float(speed.removeprefix("x").removeprefix("×").removesuffix("x"))
    except ValueError:
        found = 0
    if not 0 < found < float("inf"):
        raise BadUsage(f"{speed!r} is no speed", hint=f"write 1, 10, 0.5, or {FAST}")
    return found


async def _replay(
    opening: AbstractAsyncContextManager[Debuggee],
    speed: float | None,
    longest: float | None,
    *,
    as_json: bool,
) -> None:
    async with opening as debuggee:
        most = None if longest is None else timedelta(seconds=longest)
        async for each in play(debuggee.session.events, SystemClock(), speed=speed, longest=most):
            if as_json:
                output.print_line(played_view(each))
            else:
                output.console().print(_line(each), soft_wrap=True)


def _line(each: Played) -> Text:
    name = each.event.NAME
    style = next((style for ending, style in _STYLES.items() if name.endswith(ending)), "")
    data = output.short(each.data, 80) if each.data else ""
    since = f"+{each.since_start.total_seconds():.3f}s"
    return Text.assemble(
        f"{since:>12} {each.version:>4} ", (name, style), f" {each.address}".rstrip(), f" {data}".rstrip()
    )
