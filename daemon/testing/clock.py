"""A clock that stands still until somebody moves it."""

from __future__ import annotations

import asyncio
import heapq
from datetime import UTC, datetime, timedelta
from itertools import count

_TURNS = 20
"""Rounds of the event loop that tasks get after each step of time: enough for a chain of this many awaits."""


class FakeClock:
    """Implements `daemon.runtime.clock.Clock`. Belongs to one event loop; `now` may be asked in any thread."""

    def __init__(self, now: datetime = datetime(2026, 1, 1, tzinfo=UTC)) -> None:
        self._now = now
        self._order = count()
        self._sleepers: list[tuple[datetime, int, asyncio.Future[None]]] = []
        self._watchers: list[tuple[int, asyncio.Future[None]]] = []

    def now(self) -> datetime:
        """Return the time that was set."""
        return self._now

    async def sleep(self, seconds: float) -> None:
        """Return when the time has been moved so far; at once for nothing or less."""
        if seconds <= 0:
            await asyncio.sleep(0)
            return
        woken: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        heapq.heappush(self._sleepers, (self._now + timedelta(seconds=seconds), next(self._order), woken))
        self._tell_watchers()
        await woken

    async def advance(self, seconds: float) -> None:
        """Move the time. Who is due meanwhile wakes in order, at its own time, and goes on before the next one wakes.

        Tasks that wait for nothing but this clock and each other have come to rest when this returns; what depends on
        threads or sockets has not.
        """
        end = self._now + timedelta(seconds=seconds)
        await settle()
        while self._sleepers and self._sleepers[0][0] <= end:
            due, _, woken = heapq.heappop(self._sleepers)
            if not woken.done():
                self._now = due
                woken.set_result(None)
                await settle()
        self._now = end
        await settle()

    def leap(self, to: datetime) -> None:
        """Move the time at once: whoever is due until then wakes at the end of the leap, as after a machine's sleep."""
        self._now = max(self._now, to)
        while self._sleepers and self._sleepers[0][0] <= self._now:
            _, _, woken = heapq.heappop(self._sleepers)
            if not woken.done():
                woken.set_result(None)

    def next_due(self) -> datetime | None:
        """Return when the first sleeper wakes; None when nobody sleeps."""
        return min((due for due, _, woken in self._sleepers if not woken.done()), default=None)

    @property
    def sleeping(self) -> int:
        """How many tasks sleep."""
        return sum(not woken.done() for _, _, woken in self._sleepers)

    def pauses(self) -> list[float]:
        """Return how long each sleeper has still to sleep, in seconds, in order of waking."""
        waiting = sorted((due, number) for due, number, woken in self._sleepers if not woken.done())
        return [(due - self._now).total_seconds() for due, _ in waiting]

    async def until_sleeping(self, tasks: int = 1) -> None:
        """Return when so many tasks sleep."""
        if self.sleeping < tasks:
            reached: asyncio.Future[None] = asyncio.get_running_loop().create_future()
            self._watchers.append((tasks, reached))
            await reached

    def _tell_watchers(self) -> None:
        for tasks, reached in self._watchers:
            if self.sleeping >= tasks and not reached.done():
                reached.set_result(None)


async def settle() -> None:
    """Let tasks go on that need no more than the event loop's turn."""
    for _ in range(_TURNS):
        await asyncio.sleep(0)
