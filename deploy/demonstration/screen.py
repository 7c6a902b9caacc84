"""What is seen: live in a terminal, line by line elsewhere."""

from __future__ import annotations

import time
from contextlib import contextmanager
from typing import TYPE_CHECKING

from rich.console import Group
from rich.live import Live
from rich.progress_bar import ProgressBar
from rich.rule import Rule
from rich.table import Table
from rich.text import Text

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from rich.console import Console

    from deploy.demonstration.checks import Check
    from deploy.demonstration.watching import Progress

REFRESH_PER_S = 8
LINE_EVERY_S = 1.0
RATE_OVER_S = 1.0
STYLES = {"running": "cyan", "completed": "green", "failed": "bold red", "cancelled": "yellow"}


class Screen:
    """Shows the progress of one run."""

    def __init__(self, console: Console, progress: Progress, total: int) -> None:
        self._console = console
        self._progress = progress
        self._total = total
        self._began = time.monotonic()
        self._counted: list[tuple[float, int]] = []
        self._last_line = 0.0
        self._live: Live | None = None
        self.daemon = Text("")

    def say(self, text: str) -> None:
        """Print a line that stays; rich's markup is allowed."""
        self._console.print(f"[dim]{self._elapsed():5.1f} s[/]  {text}", soft_wrap=True)

    @contextmanager
    def live(self) -> Iterator[None]:
        """Show the progress for the block."""
        if not self._console.is_terminal:
            yield
            self._line()
            return
        with Live(self, console=self._console, refresh_per_second=REFRESH_PER_S, transient=True) as self._live:
            yield
        self._live = None

    def tick(self) -> None:
        """Take note of the time; to be called often."""
        now = time.monotonic()
        self._counted = [(at, events) for at, events in self._counted if now - at < RATE_OVER_S]
        self._counted.append((now, self._progress.events))
        if not self._console.is_terminal and now - self._last_line >= LINE_EVERY_S:
            self._last_line = now
            self._line()

    def __rich__(self) -> Group:
        """Draw it all."""
        progress = self._progress
        bars = Table.grid(padding=(0, 2))
        bars.add_row("executions", ProgressBar(self._total, len(progress.ended), width=40), self._counts())
        numbers = f"{progress.steps} steps done, {len(progress.steps_in_flight)} in flight · {progress.events} events"
        return Group(
            Rule(style="dim"),
            Text.assemble("daemon      ", self.daemon),
            bars,
            Text(f"log         {numbers}, {self._rate():.0f}/s"),
            *(Text(line, style="dim", no_wrap=True, overflow="ellipsis") for line in self._latest()),
        )

    def checks(self, checks: Sequence[Check]) -> None:
        """Print what holds and what does not."""
        self._console.print()
        for check in checks:
            mark = "[green]✓[/]" if check.holds else "[bold red]✗[/]"
            detail = f" [red]({check.detail})[/]" if check.detail else ""
            self._console.print(f"  {mark} {check.claim}{detail}")
        self._console.print()

    def commands(self, title: str, commands: Sequence[tuple[str, str]]) -> None:
        """Print commands, each with what it is for, so that they can be copied."""
        self._console.print(f"[bold]{title}[/]")
        width = max(len(command) for command, _ in commands)
        for command, meaning in commands:
            line = Text.assemble("  ", command.ljust(width), ("  # " + meaning, "dim"))
            self._console.print(line, soft_wrap=True)

    def _line(self) -> None:
        progress = self._progress
        counts = f"{progress.started}/{self._total} started, {len(progress.ended)} ended"
        self.say(f"{counts}, {progress.steps} steps done, {progress.events} events, {self._rate():.0f}/s")

    def _counts(self) -> Text:
        parts = [(f"{count} {status}  ", STYLES[status]) for status, count in self._progress.statuses().items()]
        return Text.assemble(*parts, f"of {self._total}")

    def _latest(self) -> Iterator[str]:
        for recorded in self._progress.latest:
            order = self._progress.order_of[recorded.execution_id]
            yield f"  {order}  {recorded.version:>2}  {recorded.event.NAME} {getattr(recorded.event, 'address', '')}"

    def _rate(self) -> float:
        if len(self._counted) < 2:  # noqa: PLR2004  a rate needs two points
            return 0.0
        (then, before), (now, after) = self._counted[0], self._counted[-1]
        return (after - before) / max(now - then, 0.1)

    def _elapsed(self) -> float:
        return time.monotonic() - self._began
