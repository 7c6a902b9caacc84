"""`diff`: what differs between two versions of an execution, or between two executions."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Annotated, Any

import typer
from rich.text import Text

from daemon.cli import output
from daemon.cli.faults import BadUsage
from daemon.cli.options import Config, Json, Url, settings_of
from daemon.cli.past import past_of
from daemon.cli.reading import read_moment
from daemon.cli.sources import find
from daemon.runtime.moments import Moment

if TYPE_CHECKING:
    from collections.abc import Sequence
    from uuid import UUID

    from daemon.cli.sources import Source

SIGNS = {"add": ("+", "green"), "remove": ("-", "red"), "replace": ("~", "yellow")}
LONGEST = 100
MOST_TIMES = 10
"""Steps whose durations are shown: those that differ most."""


def diff(
    one: Annotated[str, typer.Argument(metavar="ID[@WHEN]", help="An execution, as it is or was.", show_default=False)],
    other: Annotated[
        str | None,
        typer.Argument(
            metavar="[ID][@WHEN]",
            help="What to compare with: another one, or the same at another time.",
            show_default=False,
        ),
    ] = None,
    *,
    patch: Annotated[
        bool, typer.Option("--patch", help="Print a JSON Patch (RFC 6902) of `sagad state --json`.")
    ] = False,
    as_json: Json = False,
    config: Config = None,
    url: Url = None,
) -> None:
    """Show what differs between two versions of an execution, or between two executions.

    WHEN is a version (`@12`), a time (`@2026-01-31T12:00`, `@1h`), or the name of a checkpoint (`@charge`); without it,
    now. With one execution it is compared with what it is now. Exit code 1 when something differs.
    """  # fmt: skip
    with past_of(settings_of(config), url) as past:
        before = _read(past.source, one)
        after = _read(past.source, other, before[0]) if other is not None else (before[0], Moment())
        view = past.diff(before, after, patch=patch)
    if patch or as_json:
        output.print_json(view)
    else:
        print_diff(view)
    if view if patch else not view["same"]:
        raise typer.Exit(1)


def read_when(text: str) -> Moment:
    """Return the moment that a text names: a version, a time, or else a checkpoint."""
    if re.fullmatch(r"[0-9]+", text):
        return Moment(version=int(text))
    try:
        return Moment(at=read_moment(text))
    except BadUsage:
        return Moment(checkpoint=text)


def _read(source: Source, text: str, same: UUID | None = None) -> tuple[UUID, Moment]:
    name, _, when = text.partition("@")
    if not name and same is None:
        raise BadUsage(f"{text!r} names no execution", hint="write ID@12, ID@1h or ID@name")
    execution_id = same if same is not None and not name else find(source, name)
    return execution_id, read_when(when) if when else Moment()


def print_diff(view: dict[str, Any]) -> None:
    """Print what differs, for people."""
    console = output.console()
    for word, side in (("from", view["from"]), ("to", view["to"])):
        at = f", {output.moment(side['at'])} UTC" if side["at"] else ""
        line = f"{word:<5}{side['execution_id']} version {side['version']}: {side['status']}{at}"
        console.print(line, markup=False, style="bold")
    if view["same"]:
        console.print("no difference, but perhaps of times", markup=False)
    for title, changes in (("execution", view["execution"]), ("variables", view["variables"])):
        _print_part(title, [_line(change) for change in changes])
    steps = view["steps"]
    lines = [_step("add", step) for step in steps["added"]] + [_step("remove", step) for step in steps["removed"]]
    for step in steps["changed"]:
        lines += [_signed("replace", step["address"]), *(_line(change, "    ") for change in step["changes"])]
    _print_part("steps", lines)
    _print_part("timers and signals", [_line(change) for change in view["waiting"]])
    times = sorted(view["timing"], key=lambda took: -abs(took["to_ms"] - took["from_ms"]))
    _print_part("durations", [_took(took) for took in times[:MOST_TIMES]])
    if len(times) > MOST_TIMES:
        console.print(f"  … and {len(times) - MOST_TIMES} more", markup=False)


def _print_part(title: str, lines: Sequence[Text]) -> None:
    if lines:
        console = output.console()
        console.print(f"\n{title}", style="bold", markup=False)
        for line in lines:
            console.print(Text("  ").append_text(line), soft_wrap=True)


def _line(change: dict[str, Any], indent: str = "") -> Text:
    values = [output.short(change[name], LONGEST) for name in ("from", "to") if name in change]
    return _signed(change["change"], f"{change['field']}: {' → '.join(values)}", indent)


def _step(change: str, step: dict[str, Any]) -> Text:
    result = output.short(step["output"]) if step.get("output") is not None else ""
    return _signed(change, f"{step['address']}: {step['status']} {result}".rstrip())


def _signed(change: str, text: str, indent: str = "") -> Text:
    sign, style = SIGNS[change]
    return Text(f"{indent}{sign} {text}", style=style)


def _took(took: dict[str, Any]) -> Text:
    longer = took["to_ms"] - took["from_ms"]
    name = took["address"] or "all of it"
    return Text(f"{name}: {took['from_ms']:.0f}ms → {took['to_ms']:.0f}ms ({longer:+.0f}ms)")
