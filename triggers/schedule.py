"""Messages from the clock: cron expressions with time zones, and intervals.

Cron is Debian's (cronsim), in five fields, or six with seconds first. When clocks change, a job at a fixed time runs
once all the same: on the day that has its hour twice the first time, on the day that lacks it at the first minute after
the gap. Jobs with `*` in hours or minutes, and six-field ones, follow the real hours. Intervals are aligned to
1970-01-01 00:00 UTC, so that every daemon has the same ticks.

A tick's identity is its time, so several daemons and restarts start each execution once.

Comes from: the clock. Goes to: `routing`, by way of daemon/runtime/intake.
"""

from __future__ import annotations

import asyncio
from datetime import UTC, datetime, timedelta
from itertools import islice, takewhile
from typing import TYPE_CHECKING, Literal
from zoneinfo import ZoneInfo, ZoneInfoNotFoundError

import msgspec
import structlog
from cronsim import CronSim, CronSimError
from msgspec import Struct

from triggers.delivery import Delivery
from triggers.link import Link, Reconnect
from triggers.message import ConnectionStatus, DeadLetter, Inbound

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Iterator

    from triggers.message import Aside, RetryPolicy, Sink

log = structlog.get_logger(__name__)

LONGEST_SLEEP_S = 30.0
"""The clock is read again at least this often: it may be set, and machines are suspended."""
_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)


class ScheduleSettings(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """What a definition says under `schedule:`; either `cron` or `every`."""

    cron: str | None = None
    every: timedelta | None = None
    """At least a second."""
    timezone: str = "UTC"
    catch_up: Literal["none", "last", "all"] = "last"
    """Which of the ticks that fell while no daemon ran are made up for at the start."""
    max_catch_up: int = 100
    """At most so many, the newest."""

    def __post_init__(self) -> None:
        """Raise `ValueError` for what can never work."""
        if (self.cron is None) == (self.every is None):
            raise ValueError("a schedule needs either `cron` or `every`")
        if self.every is not None and self.every < timedelta(seconds=1):
            raise ValueError("`every` must be at least 1s")
        try:
            zone = ZoneInfo(self.timezone)
        except (ZoneInfoNotFoundError, ValueError, OSError):
            raise ValueError(f"unknown time zone {self.timezone!r}; it should be like Europe/Berlin") from None
        if self.cron is not None:
            try:
                CronSim(self.cron, datetime.now(zone))
            except CronSimError as error:
                raise ValueError(f"cron {self.cron!r}: {error}") from None


def ticks(settings: ScheduleSettings, after: datetime, until: datetime) -> Iterator[datetime]:
    """Yield the ticks with `after` < tick <= `until`, in UTC, oldest first."""
    return takewhile(lambda tick: tick <= until, _from(settings, after))


def missed(settings: ScheduleSettings, after: datetime, until: datetime) -> list[datetime]:
    """Return the ticks of that time that `catch_up` asks for, oldest first."""
    most = {"none": 0, "last": 1, "all": settings.max_catch_up}[settings.catch_up]
    newest_first = takewhile(lambda tick: tick > after, _back_from(settings, until))
    return list(islice(newest_first, most))[::-1]


def _from(settings: ScheduleSettings, after: datetime) -> Iterator[datetime]:
    after = after.astimezone(UTC)
    if settings.every is not None:
        tick = _EPOCH + (after - _EPOCH) // settings.every * settings.every
        while True:
            tick += settings.every
            yield tick
    for local in CronSim(settings.cron or "", after.astimezone(ZoneInfo(settings.timezone))):
        # Asked in the second of two equal hours, cronsim begins with the first one.
        if (tick := local.astimezone(UTC)) > after:
            yield tick


def _back_from(settings: ScheduleSettings, until: datetime) -> Iterator[datetime]:
    until = until.astimezone(UTC)
    if settings.every is not None:
        tick = _EPOCH + (until - _EPOCH) // settings.every * settings.every
        while True:
            yield tick
            tick -= settings.every
    begin = (until + timedelta(seconds=1)).replace(microsecond=0)
    for local in CronSim(settings.cron or "", begin.astimezone(ZoneInfo(settings.timezone)), reverse=True):
        if (tick := local.astimezone(UTC)) <= until:
            yield tick


class ScheduleTrigger:
    """Hands a message to the sink at each tick, and makes up for missed ones at the start.

    A schedule that has never ticked begins now. Ticks that pass while the daemon runs and the machine is suspended are
    made up for like those missed, but at least the newest. One with the verdict Retry does not hold up the next ones.
    """

    def __init__(
        self,
        name: str,
        settings: ScheduleSettings,
        *,
        sink: Sink,
        retry: RetryPolicy,
        last_tick: Callable[[], Awaitable[datetime | None]],
        now: Callable[[], datetime] = lambda: datetime.now(UTC),
        sleep: Callable[[float], Awaitable[None]] = asyncio.sleep,
        aside: Aside | None = None,
    ) -> None:
        """`last_tick` gives the newest tick in the log; `aside` keeps refused ones, which are logged too."""
        self.name = name
        self._settings = settings
        self._last_tick = last_tick
        self._now = now
        self._sleep = sleep
        self._link = Link(name, Reconnect())
        self._delivery = Delivery[datetime](
            sink=sink, retry=retry, dead_letter=_log_refused, aside=aside, now_s=lambda: now().timestamp()
        )

    @property
    def status(self) -> ConnectionStatus:
        """How it is; a clock is always there."""
        return self._link.status

    async def run(self) -> None:
        """Tick until stopped."""
        await self._link.run(self._session, ())

    async def stop(self) -> None:
        """Tick no more; what waits to be tried again is made up for at the next start."""
        await self._link.stop()

    async def _session(self) -> None:
        self._link.up()
        started = self._now()
        last = await self._link.unless_stopped(self._last_tick()) or started
        for tick in missed(self._settings, last, started):
            self._add(tick)
        last = started
        while not self._link.stopping.is_set():
            last = self._add_due(last)
            if self._delivery.wait_s() == 0:
                await self._delivery.turn()
            else:
                await self._link.unless_stopped(self._sleep(self._pause_s(last)))

    def _add_due(self, last: datetime) -> datetime:
        now = self._now()
        first = next(ticks(self._settings, last, now), None)
        if first is None:
            return last
        due = missed(self._settings, last, now) or list(islice(_back_from(self._settings, now), 1))
        for tick in due:
            self._add(tick)
        return due[-1]

    def _pause_s(self, last: datetime) -> float:
        waits = [LONGEST_SLEEP_S]
        upcoming = next(_from(self._settings, last), None)
        if upcoming is not None:
            waits.append((upcoming - self._now()).total_seconds())
        again_s = self._delivery.wait_s()
        if again_s is not None:
            waits.append(again_s)
        return max(0.0, min(waits))

    def _add(self, tick: datetime) -> None:
        at = tick.isoformat().replace("+00:00", "Z")
        local = tick.astimezone(ZoneInfo(self._settings.timezone)).isoformat()
        inbound = Inbound(
            trigger=self.name,
            source=f"schedule:{self.name}",
            identity=at,
            body=msgspec.json.encode({"tick": at, "scheduled_at": local}),
            content_type="application/json",
            received_at=self._now(),
        )
        self._delivery.add(tick, inbound)


async def _log_refused(_tick: datetime, inbound: Inbound, verdict: DeadLetter) -> None:
    log.error("schedule.refused", trigger=inbound.trigger, tick=inbound.identity, reason=verdict.reason)
