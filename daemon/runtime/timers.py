"""Timers: durable due times, kept as rows, fired when they have come.

Nothing is held in memory but due times that are near: a million sleepers cost rows. The service sleeps until the next
one (or for `poll_interval_s`, in case another daemon has set an earlier one), reads what is due, and fires it. It reads
on from where it was, so what is being fired is not read again, and fires many at once, so nothing waits for the
slowest. Now and then, and after a failure, it begins from the first row.

Of several daemons each fires its share. It also fires what it has set itself and is due before the others look next,
and, whosever it is, what is overdue by more than a lease lasts. To fire twice is harmless: the second decides nothing.

Comes from: `engine` (ArmTimer), the index. Goes to: `engine` (FireTimer).
"""

from __future__ import annotations

import asyncio
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Protocol

import structlog

from daemon.core.commands import FireTimer
from daemon.core.errors import Rejected
from daemon.runtime.leases import Share, first_of
from eventstore.errors import Conflict, StoreError, Unavailable

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence
    from typing import TypeAlias
    from uuid import UUID

    from daemon.core.commands import Command
    from daemon.core.effects import ArmTimer
    from daemon.runtime.clock import Clock
    from eventstore.index import DueTimer, Index

    Key: TypeAlias = tuple[UUID, str]

BATCH = 500
"""Timers read at a time."""
MAX_FIRING = 1000
"""Timers that are being fired at once."""
GRAIN_S = 0.005
"""The least pause between two readings: what comes due meanwhile is read together."""
RETRY_S = 1.0
"""Pause before what could not be fired is read again."""
LATE = timedelta(seconds=10)

_NEVER = datetime.max.replace(tzinfo=UTC)
_logger = structlog.get_logger(__name__)


class Sends(Protocol):
    """What timers need of the engine."""

    @property
    def parked(self) -> Mapping[UUID, str]:
        """Executions that cannot be worked on; see `engine.Engine.parked`."""

    async def send(self, execution_id: UUID, command: Command) -> object:
        """Handle the command; see `engine.Engine.send`."""


class Timers:
    """Fires the timers of one log, or this daemon's share of them."""

    def __init__(
        self,
        index: Index,
        engine: Sends,
        clock: Clock,
        *,
        share: Callable[[], Share] = lambda: Share(0, 1),
        late: timedelta = LATE,
        poll_interval_s: float = 10.0,
    ) -> None:
        """`late` is after how long a timer of another daemon's share is fired here too."""
        self._index = index
        self._engine = engine
        self._clock = clock
        self._share = share
        self._late = late
        self._poll_interval = timedelta(seconds=poll_interval_s)
        self._wake = asyncio.Event()
        self._next = _NEVER
        self._read_up_to: DueTimer | None = None
        """The last row read; what sorts before it is being fired, or is somebody else's."""
        self._armed = _NEVER
        """The earliest time that was armed since the last page was asked for: that page may not have it."""
        self._again_at: datetime | None = None
        """When to read from the first row on."""
        self._set_here: set[datetime] = set()
        self._firing: set[Key] = set()
        self._parked: set[Key] = set()
        self._free = asyncio.Semaphore(MAX_FIRING)

    def arm(self, timer: ArmTimer) -> None:
        """Wake the service in time for this one, which the index holds."""
        self._armed = min(self._armed, timer.due)
        if self._read_up_to is not None and timer.due <= self._read_up_to.due_at:
            self._read_up_to = None
        if self._share().daemons > 1 and timer.due <= self._clock.now() + self._poll_interval:
            self._set_here.add(timer.due)
        if timer.due < self._next:
            self._next = timer.due
            self._wake.set()

    def share_changed(self) -> None:
        """Look again at what others were to fire."""
        self._read_up_to = None
        self._wake.set()

    async def run(self) -> None:
        """Fire timers until cancelled. While the store is away, ask again."""
        async with asyncio.TaskGroup() as tasks:
            while True:
                self._wake.clear()
                self._next = _NEVER
                try:
                    pause = await self._fire_due(tasks)
                except (Unavailable, Conflict) as error:
                    _logger.warning("timers_wait_for_store", error=str(error))
                    pause = timedelta(seconds=RETRY_S)
                await first_of(self._clock.sleep(pause.total_seconds()), self._wake.wait())

    async def _fire_due(self, tasks: asyncio.TaskGroup) -> timedelta:
        """Begin to fire all that is due by now; return how long to sleep."""
        now = self._clock.now()
        if self._again_at is None or not timedelta(0) < self._again_at - now <= self._poll_interval:
            self._read_up_to, self._again_at = None, now + self._poll_interval
            self._set_here = {due for due in self._set_here if due > now - self._late}
        found = 0
        while page := await self._page(now):
            found += len(page)
            for row in page:
                if self._is_ours(row, now):
                    await self._free.acquire()
                    self._firing.add((row.execution_id, row.timer_id))
                    tasks.create_task(self._fire(row, now))
            if len(page) < BATCH:
                break
        if found:
            return timedelta(seconds=GRAIN_S)
        self._next = min(self._next, await self._index.next_due(after=now) or _NEVER)
        return max(min(self._next, self._again_at) - self._clock.now(), timedelta(0))

    async def _page(self, now: datetime) -> Sequence[DueTimer]:
        """Return the rows that come next, and note how far that is, but for what was armed while they were read."""
        self._armed = _NEVER
        page = await self._index.due_timers(now, after=self._read_up_to, limit=BATCH)
        if page:
            self._read_up_to = page[-1] if self._armed > page[-1].due_at else None
        return page

    def _is_ours(self, row: DueTimer, now: datetime) -> bool:
        key = row.execution_id, row.timer_id
        if key in self._firing or key in self._parked or row.execution_id in self._engine.parked:
            return False
        share = self._share()
        return share.has(row.execution_id) or row.due_at in self._set_here or row.due_at + self._late <= now

    async def _fire(self, row: DueTimer, now: datetime) -> None:
        """Fire one; one that cannot be is left alone: until its execution is resumed, or for good if there is none."""
        key = row.execution_id, row.timer_id
        try:
            await self._engine.send(row.execution_id, FireTimer(timer_id=row.timer_id, at=now))
        except (Unavailable, Conflict) as error:
            _logger.warning("timer_waits_for_store", execution_id=str(row.execution_id), error=str(error))
            self._set_here.add(row.due_at)
            self._again_at = self._clock.now() + timedelta(seconds=RETRY_S)
            self._wake.set()
        except (Rejected, StoreError) as error:
            if row.execution_id not in self._engine.parked:
                self._parked.add(key)
            told = {"execution_id": str(row.execution_id), "timer_id": row.timer_id, "error": str(error)}
            _logger.error("timer_parked", **told)  # noqa: TRY400  foreseen: the message says all
        finally:
            self._firing.discard(key)
            self._free.release()
