"""Timers: durable due times, kept as rows, fired when they have come.

Nothing is held in memory but the earliest due time that is known: a million sleepers cost rows. The service sleeps
until then (or for `poll_interval_s`, in case another process has set an earlier one), reads what is due, and fires it.

Comes from: `engine` (ArmTimer), the index. Goes to: `engine` (FireTimer).
"""

from __future__ import annotations

import asyncio
from datetime import timedelta
from typing import TYPE_CHECKING, Protocol

import structlog

from daemon.core.commands import FireTimer
from daemon.core.errors import Rejected
from eventstore.errors import Conflict, StoreError, Unavailable

if TYPE_CHECKING:
    from datetime import datetime
    from uuid import UUID

    from daemon.core.commands import Command
    from daemon.core.effects import ArmTimer
    from daemon.runtime.clock import Clock
    from eventstore.index import DueTimer, Index

BATCH = 500
"""Timers read and fired at a time."""

_logger = structlog.get_logger(__name__)


class Sends(Protocol):
    """What timers need of the engine."""

    async def send(self, execution_id: UUID, command: Command) -> object:
        """Handle the command; see `engine.Engine.send`."""


class Timers:
    """Fires the timers of one log."""

    def __init__(self, index: Index, engine: Sends, clock: Clock, *, poll_interval_s: float = 10.0) -> None:
        self._index = index
        self._engine = engine
        self._clock = clock
        self._poll_interval_s = poll_interval_s
        self._next: datetime | None = None
        self._earlier = asyncio.Event()
        self._parked: set[tuple[UUID, str]] = set()

    def arm(self, timer: ArmTimer) -> None:
        """Wake the service in time for this one."""
        if self._next is None or timer.due < self._next:
            self._next = timer.due
            self._earlier.set()

    async def run(self) -> None:
        """Fire timers until cancelled. While the store is away, ask again."""
        while True:
            self._earlier.clear()
            self._next = None
            try:
                if await self._fire_due():
                    continue
                self._learn(await self._index.next_due())
            except (Unavailable, Conflict) as error:
                _logger.warning("timers_wait_for_store", error=str(error))
            await self._sleep()

    def _learn(self, due: datetime | None) -> None:
        """Keep the earlier of the two: a timer may have been armed while the index was asked."""
        if due is not None and (self._next is None or due < self._next):
            self._next = due

    async def _fire_due(self) -> int:
        """Fire one batch; return how many were newly fired."""
        now = self._clock.now()
        rows = await self._index.due_timers(now, limit=BATCH + len(self._parked))
        due = [row for row in rows if (row.execution_id, row.timer_id) not in self._parked]
        await asyncio.gather(*(self._fire(row, now) for row in due))
        return len(due)

    async def _fire(self, row: DueTimer, now: datetime) -> None:
        """Fire one; one that cannot be (its execution is unreadable) is left alone until the next start."""
        try:
            await self._engine.send(row.execution_id, FireTimer(timer_id=row.timer_id, at=now))
        except (Unavailable, Conflict):
            raise
        except (Rejected, StoreError) as error:
            self._parked.add((row.execution_id, row.timer_id))
            told = {"execution_id": str(row.execution_id), "timer_id": row.timer_id, "error": str(error)}
            _logger.error("timer_parked", **told)  # noqa: TRY400  foreseen: the message says all

    async def _sleep(self) -> None:
        """Sleep until the earliest known timer, an earlier one, or the next poll."""
        pause = timedelta(seconds=self._poll_interval_s)
        if self._next is not None:
            pause = min(pause, max(self._next - self._clock.now(), timedelta(0)))
        nap = asyncio.ensure_future(self._clock.sleep(pause.total_seconds()))
        earlier = asyncio.ensure_future(self._earlier.wait())
        try:
            await asyncio.wait({nap, earlier}, return_when=asyncio.FIRST_COMPLETED)
        finally:
            nap.cancel()
            earlier.cancel()
