"""Printing: JSON for programs, tables for people; colours only on terminals."""

from __future__ import annotations

import json
from datetime import datetime
from typing import TYPE_CHECKING, Any

import typer
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn
from rich.table import Table
from rich.text import Text

from daemon.runtime.views import plain

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    Row = Sequence[Any]
    """The cells of a table's line."""

STYLES = {
    "completed": "green",
    "succeeded": "green",
    "ok": "green",
    "failed": "bold red",
    "broken": "bold red",
    "cancelled": "yellow",
    "warning": "yellow",
    "retrying": "yellow",
    "running": "cyan",
    "compensating": "magenta",
    "paused": "yellow",
    "skipped": "dim",
    "pending": "dim",
}

LONGEST_CELL = 60


def progress(*, quiet: bool) -> Progress:
    """Return a bar of how many of how many, and how long it will take; none on what is no terminal."""
    columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeRemainingColumn())
    shown = console()
    return Progress(*columns, console=shown, disable=quiet or not shown.is_terminal, transient=True)


def console() -> Console:
    """Return the terminal, or a plain stream of wide lines where stdout is none."""
    found = Console(highlight=False)
    return found if found.is_terminal else Console(highlight=False, width=200, color_system=None)


def print_json(view: Any) -> None:
    """Print a view, indented."""
    typer.echo(json.dumps(plain(view), indent=2, ensure_ascii=False))


def print_line(view: Any) -> None:
    """Print a view in one line."""
    typer.echo(json.dumps(plain(view), ensure_ascii=False))


def print_table(columns: Sequence[str], rows: Iterable[Row]) -> None:
    """Print rows under headings."""
    table = Table(box=None, pad_edge=False, header_style="bold")
    for index, column in enumerate(columns):
        table.add_column(column, no_wrap=index == 0, overflow="fold")
    for row in rows:
        table.add_row(*(cell if isinstance(cell, Text) else Text(str(cell)) for cell in row))
    console().print(table)


def print_pairs(pairs: Iterable[tuple[str, Any]]) -> None:
    """Print names and values; those without a value are left out."""
    table = Table(box=None, pad_edge=False, show_header=False)
    table.add_column(style="bold", no_wrap=True)
    table.add_column(overflow="fold")
    for name, value in pairs:
        if value not in (None, ""):
            table.add_row(name, value if isinstance(value, Text) else Text(str(value)))
    console().print(table)


def status(word: str) -> Text:
    """Return a status in its colour."""
    return Text(word, style=STYLES.get(word, ""))


def moment(text: str | None) -> str:
    """Return a time of a view for people: UTC, to the second."""
    return "" if text is None else datetime.fromisoformat(text).strftime("%Y-%m-%d %H:%M:%S")


def short(value: Any, longest: int = LONGEST_CELL) -> str:
    """Return a JSON value in one line, cut where it is too long."""
    text = value if isinstance(value, str) else json.dumps(value, ensure_ascii=False)
    return text if len(text) <= longest else text[: longest - 1] + "…"


def error_text(error: Any) -> str:
    """Return an error of a view in one line."""
    return "" if error is None else f"{error['message']} ({error['code']})"
