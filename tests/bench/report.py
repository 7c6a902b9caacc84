"""The tables and the JSON file: for each figure the median of all runs, the least and the greatest."""

from __future__ import annotations

import json
import statistics
from collections import defaultdict
from dataclasses import asdict
from typing import TYPE_CHECKING, Any

from rich import box
from rich.table import Table

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence
    from pathlib import Path

    from rich.console import Console

    from tests.bench.figures import Benchmark, Figure, Sizes, StoreKind

LOG_ALONE = ("raw limit", "ours, events only")
LARGEST_COMMIT = "500 in a commit"
EVENTS_WRITTEN = "events written meanwhile"
FRACTION_BELOW = 1000
"""Smaller values are shown with decimals."""


class Report:
    """Everything measured so far."""

    def __init__(self, command: str, sizes: Sizes) -> None:
        self.command = command
        self.sizes = sizes
        self.facts: dict[str, str] = {}
        self.left_out: dict[str, str] = {}
        """Title of a benchmark -> why it was not run."""
        self._titles: dict[str, None] = {}
        self._units: dict[tuple[str, str], str] = {}
        self._values: defaultdict[tuple[str, str, StoreKind], list[float]] = defaultdict(list)

    def add(self, benchmark: Benchmark, store: StoreKind, figures: Sequence[Figure]) -> None:
        """Take the figures of one run."""
        title = self._title(benchmark)
        self._titles[title] = None
        for figure in figures:
            self._units[title, figure.name] = figure.unit
            self._values[title, figure.name, store].append(figure.value)

    def leave_out(self, benchmark: Benchmark, reason: str) -> None:
        """Say that a benchmark was not run."""
        self.left_out[self._title(benchmark)] = reason

    def show(self, console: Console, stores: Sequence[StoreKind]) -> None:
        """Print it all."""
        facts = Table(box=None, show_header=False, padding=(0, 2, 0, 0))
        for name, value in {"command": self.command, **self.facts}.items():
            facts.add_row(name, value)
        console.print(facts)
        for title in self._titles:
            console.print(self._table(title, stores))
        for store in stores:
            for line in self._shares(store):
                console.print(line)
        for title, reason in self.left_out.items():
            console.print(f"not measured: {title}: {reason}")

    def save(self, path: Path) -> None:
        """Write it all as JSON."""
        figures = [
            {
                "benchmark": title,
                "figure": name,
                "store": store,
                "unit": self._units[title, name],
                "median": statistics.median(values),
                "min": min(values),
                "max": max(values),
                "values": values,
            }
            for (title, name, store), values in self._values.items()
        ]
        document: dict[str, Any] = {
            "command": self.command,
            "machine": self.facts,
            "figures": figures,
            "left_out": self.left_out,
        }
        path.write_text(json.dumps(document, indent=2) + "\n")

    def _title(self, benchmark: Benchmark) -> str:
        return benchmark.title.format(**asdict(self.sizes))

    def _table(self, title: str, stores: Sequence[StoreKind]) -> Table:
        table = Table("figure", title=title, title_justify="left", title_style="bold", box=box.SIMPLE_HEAD)
        for store in stores:
            table.add_column(store, justify="right")
            table.add_column("min .. max", justify="right", style="dim")
        table.add_column("unit")
        for (found, name), unit in self._units.items():
            if found == title:
                row = [cell for store in stores for cell in cells(self._values.get((title, name, store), []))]
                table.add_row(name, *row, unit)
        return table

    def _shares(self, store: StoreKind) -> Iterator[str]:
        """Compare what the engine writes with what the log can do without it."""
        medians = {name: statistics.median(found) for (_, name, kind), found in self._values.items() if kind == store}
        written = medians.get(EVENTS_WRITTEN)
        for name, value in medians.items():
            if written and name.startswith(LOG_ALONE) and name.endswith(LARGEST_COMMIT):
                yield f"{store}: the engine writes {written / value:.1%} of: {name}"


def cells(values: Sequence[float]) -> tuple[str, str]:
    """Say the median, and the least and the greatest where there are several."""
    if not values:
        return "-", ""
    spread = f"{number(min(values))} .. {number(max(values))}" if len(values) > 1 else ""
    return number(statistics.median(values)), spread


def number(value: float) -> str:
    """Say it with three digits at least, and none that mean nothing."""
    return f"{value:,.0f}" if value >= FRACTION_BELOW or value == int(value) else f"{value:,.3g}"
