"""Drops what is kept for a time only: chunks of streams, results that have expired, executions that the rules let go.

Nothing is asked of the store while there is nothing to drop: a stream that ends here, or was there at the start, sets
the time. What another daemon has left is found at its next start, or by whoever drops something anyway.

Comes from: daemon/main. Goes to: eventstore/streams, eventstore/results, `expiry`.
"""

from __future__ import annotations

import asyncio
from datetime import timedelta
from typing import TYPE_CHECKING

import structlog

from daemon.runtime.leases import first_of
from eventstore.errors import StoreError

if TYPE_CHECKING:
    from collections.abc import Callable

    from daemon.runtime.clock import Clock
    from daemon.runtime.expiry import Expiry
    from eventstore.results import Results
    from eventstore.streams import Streams

LEAST_PAUSE_S = 60.0
"""Between two times of dropping: what has to go may go together."""
AGAIN_S = 60.0
"""Before the next try, when the store or the archive was away."""

_logger = structlog.get_logger(__name__)


class Retention:
    """A follower; see the module."""

    def __init__(self, streams: Streams, results: Results, clock: Clock, *, keep_s: float) -> None:
        """Keep chunks for so long after their stream's end."""
        self._streams = streams
        self._results = results
        self._clock = clock
        self._keep = timedelta(seconds=keep_s)
        self._more = asyncio.Event()
        self._more.set()
        self._stopping = asyncio.Event()

    def wanted(self) -> None:
        """Note that there is something to drop some time."""
        self._more.set()

    async def run(self) -> None:
        """Drop what is over until stopped or cancelled."""
        while not self._stopping.is_set():
            await first_of(self._more.wait(), self._stopping.wait())
            self._more.clear()
            pause_s = await self._drop()
            if pause_s is not None:
                self._more.set()
            await first_of(self._clock.sleep(max(pause_s or 0.0, LEAST_PAUSE_S)), self._stopping.wait())

    async def stop(self) -> None:
        """Come to an end soon."""
        self._stopping.set()

    async def _drop(self) -> float | None:
        """Drop what is over; return after how many seconds there will be more, None when nothing is left."""
        now = self._clock.now()
        try:
            dropped = await self._streams.prune(ended_before=now - self._keep)
            expired = await self._results.prune(now=now)
            oldest = await self._streams.oldest_end()
        except StoreError as error:
            _logger.warning("nothing_dropped", error=str(error))
            return LEAST_PAUSE_S
        if dropped or expired:
            _logger.info("dropped", streams=dropped, results=expired)
        return None if oldest is None else max((oldest + self._keep - now).total_seconds(), 0.0)


class ExecutionRetention:
    """A follower that lets executions go, now and then; of several daemons one does it."""

    def __init__(
        self,
        expiry: Expiry,
        clock: Clock,
        *,
        leads: Callable[[], bool],
        interval_s: float,
        pause_s: float,
    ) -> None:
        """`leads` tells whether this is the daemon that does it; `pause_s` is the pause after each batch."""
        self._expiry = expiry
        self._clock = clock
        self._leads = leads
        self._interval_s = interval_s
        self._pause_s = pause_s
        self._stopping = asyncio.Event()

    async def run(self) -> None:
        """Let go what may go until stopped or cancelled."""
        while not self._stopping.is_set():
            next_s = self._interval_s
            if self._leads():
                work = asyncio.ensure_future(self._once())
                try:
                    await first_of(_done(work), self._stopping.wait())
                finally:
                    work.cancel()  # nothing, when it is done
                    await asyncio.wait({work})
                if work.cancelled():
                    return
                next_s = work.result()
            await first_of(self._clock.sleep(next_s), self._stopping.wait())

    async def stop(self) -> None:
        """Come to an end soon: an execution that is on its way is there, or gone whole."""
        self._stopping.set()

    async def _once(self) -> float:
        """Do it once; return in how many seconds to look again."""
        try:
            done = await self._expiry.run(pause_s=self._pause_s)
        except StoreError as error:
            _logger.warning("retention_waits", error=str(error))
            return min(AGAIN_S, self._interval_s)
        if done.seen:
            _logger.info("executions_deleted", deleted=done.deleted, archived=done.archived, kept=dict(done.kept))
        return self._interval_s


async def _done(work: asyncio.Future[float]) -> None:
    await asyncio.wait({work})
