"""The clock, as a value that is passed in: production reads the machine's, tests move their own."""

from __future__ import annotations

import asyncio
from datetime import UTC, datetime, timedelta
from typing import Protocol

import structlog

TOLERATED = timedelta(seconds=0.5)
"""Clocks that are less apart count as equal: correcting them would only bring in how long an answer took."""

_logger = structlog.get_logger(__name__)


class Clock(Protocol):
    """Gives the time and lets tasks wait for one."""

    def now(self) -> datetime:
        """Return the time, aware, in UTC."""

    async def sleep(self, seconds: float) -> None:
        """Return after so many seconds, whatever happens to the time meanwhile."""


class SystemClock:
    """The machine's clock."""

    def now(self) -> datetime:
        """Return the time, aware, in UTC."""
        return datetime.now(UTC)

    async def sleep(self, seconds: float) -> None:
        """Return after so many seconds."""
        await asyncio.sleep(seconds)


class SharedClock:
    """The time that all daemons of one store agree on: a machine's clock, put right by the store's.

    Due times are made by one daemon and kept by another, so a wrong clock must not matter. Nothing is corrected before
    the first `compare`.
    """

    def __init__(self, inner: Clock) -> None:
        self._inner = inner
        self._offset: timedelta | None = None

    def now(self) -> datetime:
        """Return the store's time as this machine can tell it, aware, in UTC."""
        now = self._inner.now()
        return now if self._offset is None else now + self._offset

    async def sleep(self, seconds: float) -> None:
        """Return after so many seconds."""
        await self._inner.sleep(seconds)

    def compare(self, asked_at: datetime, theirs: datetime) -> None:
        """Take the store's time, read between `asked_at`, by this clock, and now."""
        now = self.now()
        apart = theirs - now if theirs > now else min(theirs - asked_at, timedelta(0))
        if abs(apart) <= TOLERATED:
            return
        self._offset = (self._offset or timedelta(0)) + apart
        _logger.warning("clock_corrected", by_s=apart.total_seconds(), offset_s=self._offset.total_seconds())
