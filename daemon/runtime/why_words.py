"""One cause of waiting, and moments and lengths of time in words.

Comes from: `why`, `why_limits`.
"""

from __future__ import annotations

from datetime import datetime, timedelta
from uuid import UUID

from msgspec import Struct

from daemon.core.durations import format_duration


class Cause(Struct, frozen=True, kw_only=True):
    """One thing that an execution waits for."""

    kind: str
    """`step` | `retry` | `postponed` | `timer` | `signal` | `child` | `slot` | `limit` | `start` | `person` |
    `pause` | `breakpoint`."""
    sentence: str
    address: str | None = None
    since: datetime | None = None
    due: datetime | None = None
    attempt: int | None = None
    max_attempts: int | None = None
    """Those of the retry policy, and one for each that was postponed; None when the definition is not at hand."""
    signal: str | None = None
    child: UUID | None = None
    """The execution whose end is waited for."""
    place: int | None = None
    """Place in the queue for a slot or a limit, from 1."""
    limit: str | None = None
    key: str | None = None
    """Of the limit."""
    holders: tuple[str, ...] = ()
    """Some of those that hold it, as `execution/step`."""


def time(moment: datetime) -> str:
    """Return a moment to the second."""
    return moment.strftime("%Y-%m-%d %H:%M:%S UTC")


def ago(moment: datetime, now: datetime) -> str:
    """Return a moment that has passed, and how long ago it was."""
    return f"{time(moment)} ({span(now - moment)})"


def until(moment: datetime, now: datetime) -> str:
    """Return a moment to come, and how far it is."""
    if moment <= now:
        return f"now (since {time(moment)})"
    return f"at {time(moment)} (in {span(moment - now)})"


def span(length: timedelta) -> str:
    """Return a length in two units at most: `3h20m`, `1m5s`, `250ms`."""
    length = max(length, timedelta(0))
    for unit in (timedelta(days=1), timedelta(hours=1), timedelta(minutes=1)):
        if length >= unit:
            smaller = {86400: timedelta(hours=1), 3600: timedelta(minutes=1), 60: timedelta(seconds=1)}
            step = smaller[int(unit.total_seconds())]
            return format_duration(length // step * step)
    return format_duration(
        length if length < timedelta(seconds=1) else length // timedelta(seconds=1) * timedelta(seconds=1)
    )
