"""sagad beside its peers and the limits: the figures of the same name, with the ratio of the medians of one run.

Comes from: every benchmark's figures, by contender. Goes to: the terminal, and rows of Markdown.
"""

from __future__ import annotations

import statistics
from collections import defaultdict
from typing import TYPE_CHECKING

from rich import box
from rich.table import Table

from tests.bench.peers.driver import AS_SHIPPED, STEPS_A_SECOND
from tests.bench.report import EVENTS_WRITTEN, cells, number

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence

    from tests.bench.figures import Benchmark, Figure, StoreKind

SAGAD = "sagad"
SHIPPED = "as shipped"
LESS_IS_BETTER = frozenset({"ms", "s", "µs/step"})
LIMITS: Mapping[str, tuple[str, str]] = {
    "raw limit: one INSERT of unnest, 100 in a commit": (EVENTS_WRITTEN, "raw limit, 100 rows a commit"),
    "raw limit: one INSERT of unnest, 500 in a commit": (EVENTS_WRITTEN, "raw limit, 500 rows a commit"),
    "single-row commits, 1 client": (STEPS_A_SECOND, "raw limit, a commit a step, 1 client"),
    "single-row commits, 8 clients": (STEPS_A_SECOND, "raw limit, a commit a step, 8 clients"),
    "single-row commits, 32 clients": (STEPS_A_SECOND, "raw limit, a commit a step, 32 clients"),
}
"""A figure that others are held against -> in which row it stands, and under what name."""


class Comparison:
    """All figures of a run that more than one contender has."""

    def __init__(self) -> None:
        self._units: dict[str, str] = {}
        self._rows: defaultdict[str, dict[str, list[float]]] = defaultdict(dict)

    def add(self, benchmark: Benchmark, store: StoreKind, figures: Sequence[Figure]) -> None:
        """Take the figures of one run."""
        for figure in figures:
            name, contender = LIMITS.get(figure.name, (figure.name, benchmark.contender))
            if name.endswith(AS_SHIPPED) and store == "postgres":
                name, contender = name.removesuffix(AS_SHIPPED), f"{SAGAD}, {SHIPPED}"
            if contender == SAGAD and store == "sqlite":
                contender = "sagad on SQLite"
            if figure.name not in LIMITS or store == "postgres":
                self._units.setdefault(name, figure.unit)
                self._rows[name].setdefault(contender, []).append(figure.value)

    def table(self) -> Table | None:
        """Return the table for the terminal; None when there is nothing to compare."""
        table = Table(
            "figure", "of", title="Beside others, in one run on Postgres", title_justify="left", title_style="bold",
            box=box.SIMPLE_HEAD,
        )  # fmt: skip
        for header in ("median", "min .. max", "unit", "sagad is"):
            table.add_column(header, justify="left" if header == "unit" else "right")
        for name, row in self._compared():
            for place, (contender, values) in enumerate(row.items()):
                ratio = "" if contender == SAGAD else times(_ours(contender, row), values, self._units[name])
                table.add_row("" if place else name, contender, *cells(values), self._units[name], ratio)
            table.add_section()
        return table if table.row_count else None

    def markdown(self) -> str:
        """Return a table with a column for sagad and one for each other: as tuned best, then as shipped."""
        rows = dict(self._compared())
        engines = list(dict.fromkeys(_engine(contender) for row in rows.values() for contender in row))
        engines.sort(key=lambda engine: (engine != SAGAD, engine.startswith("raw")))
        lines = ["| | " + " | ".join(engines) + " |", "|---" * (len(engines) + 1) + "|"]
        for name, row in rows.items():
            unit = self._units[name]
            found = [_cell(engine, row, unit) for engine in engines]
            lines.append(f"| {f'{name}, {unit}' if unit else name} | " + " | ".join(found) + " |")
        return "\n".join(lines) + "\n"

    def _compared(self) -> Iterator[tuple[str, dict[str, list[float]]]]:
        for name, row in self._rows.items():
            if len(row) > 1 and any(not contender.startswith(SAGAD) for contender in row):
                yield name, dict(sorted(row.items(), key=lambda item: not item[0].startswith(SAGAD)))


def times(ours: Sequence[float] | None, theirs: Sequence[float], unit: str) -> str:
    """Say how many times better sagad's median is: more, or less where less is better; "" without a figure of ours."""
    if not ours or not unit:
        return ""
    mine, other = statistics.median(ours), statistics.median(theirs)
    better, worse = (other, mine) if unit in LESS_IS_BETTER else (mine, other)
    return f"{better / worse:,.3g} x" if worse else ""


def _ours(contender: str, row: Mapping[str, Sequence[float]]) -> Sequence[float] | None:
    """Return the figures of sagad's to hold against a contender's: those as shipped against as shipped, if any."""
    shipped = row.get(f"{SAGAD}, {SHIPPED}") if contender.endswith(SHIPPED) and _engine(contender) != SAGAD else None
    return shipped or row.get(SAGAD)


def _engine(contender: str) -> str:
    return contender.partition(", ")[0]


def _cell(engine: str, row: Mapping[str, Sequence[float]], unit: str) -> str:
    """Say an engine's medians, tuned / as shipped, and in brackets sagad's ratio to each.

    sagad's own is that without limits, with the least and the greatest; behind it the median with limits as shipped.
    """
    found = {contender: values for contender, values in row.items() if _engine(contender) == engine}
    if engine == SAGAD and found:
        median, spread = cells(found[SAGAD])
        shipped = row.get(f"{SAGAD}, {SHIPPED}")
        tuned = f"**{median}** ({spread})" if spread else f"**{median}**"
        return tuned if shipped is None else f"{tuned} / {number(statistics.median(shipped))}"
    medians = " / ".join(number(statistics.median(values)) for values in found.values())
    ratios = [times(_ours(contender, row), values, unit) for contender, values in found.items()]
    return f"{medians} ({' / '.join(ratios)})" if any(ratios) else medians or "-"
