"""An execution shown as it went: its events, with the pauses that there were between them, or shorter ones.

Comes from: daemon/cli/replaying. Goes to: the terminal.
"""

from __future__ import annotations

from datetime import timedelta
from typing import TYPE_CHECKING, Any

import msgspec
from msgspec import Struct

from daemon.core.events import Event

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Iterable, Iterator

    from daemon.runtime.clock import Clock

_TOLD_BESIDE = ("at", "address", "execution_id", "definition")


class Played(Struct, frozen=True):
    """One event, when it is its turn."""

    version: int
    since_start: timedelta
    event: Event

    @property
    def address(self) -> str:
        """The step that it is about; empty for none."""
        found: str = getattr(self.event, "address", "")
        return found

    @property
    def data(self) -> dict[str, Any]:
        """What else it says; what is as it is by default is left out."""
        plain: dict[str, Any] = msgspec.json.decode(msgspec.json.encode(self.event))
        return {name: value for name, value in plain.items() if name not in _TOLD_BESIDE}


async def play(
    recorded: Iterable[tuple[int, Event]], clock: Clock, *, speed: float | None, longest: timedelta | None = None
) -> AsyncIterator[Played]:
    """Give the events, with their versions, each when it is its turn: `speed` 10 is ten times as fast as it went.

    None is as fast as can be. No pause is longer than `longest`.
    """
    shown = timedelta(0)
    for each in _events(recorded):
        pause = (each.since_start - shown) / speed if speed is not None else timedelta(0)
        pause = pause if longest is None else min(pause, longest)
        if pause > timedelta(0):
            await clock.sleep(pause.total_seconds())
        shown = max(shown, each.since_start)
        yield each


def _events(recorded: Iterable[tuple[int, Event]]) -> Iterator[Played]:
    start = None
    for version, event in recorded:
        start = start or event.at
        yield Played(version, event.at - start, event)
