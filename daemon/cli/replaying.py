"""`replay`: an execution shown as it went.

Comes from: the shell. Goes to: daemon/debugger/playing.
"""

from __future__ import annotations

import asyncio
from datetime import timedelta
from typing import TYPE_CHECKING, Annotated

import typer
from rich.text import Text

from daemon.cli import output
from daemon.cli.debugging import recorded
from daemon.cli.faults import BadUsage
from daemon.cli.options import Config, ExecutionIdArgument, Json, Url, settings_of
from daemon.cli.remotes import recorded_there
from daemon.debugger.playing import Played, play
from daemon.debugger.viewing import played_view
from daemon.runtime.clock import SystemClock

if TYPE_CHECKING:
    from contextlib import AbstractAsyncContextManager

    from daemon.debugger.debuggee import Debuggee

FAST = "max"
_STYLES = {"Failed": "red", "Succeeded": "green", "Completed": "green", "Cancelled": "yellow", "Skipped": "dim"}


def replay(
    execution_id: ExecutionIdArgument,
    *,
    speed: Annotated[str, typer.Option(help=f"1 as it went, 10 ten times as fast, `{FAST}` as fast as can be.")] = FAST,
    longest: Annotated[
        float | None, typer.Option("--longest-pause", min=0, help="No pause is longer, in seconds.", show_default=False)
    ] = None,
    as_json: Json = False,
    config: Config = None,
    url: Url = None,
) -> None:
    """Show an execution as it went: its events, of a fork those of its source before. Changes nothing."""
    settings = settings_of(config)
    opening = recorded(settings, execution_id) if url is None else recorded_there(settings, execution_id, url)
    asyncio.run(_replay(opening, factor(speed), longest, as_json=as_json))


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
        async for each in play(debuggee.session.taken, SystemClock(), speed=speed, longest=most):
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
