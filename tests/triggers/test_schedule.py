"""Ticks: time zones, clock changes, catching up, and verdicts obeyed."""

import asyncio
from datetime import UTC, datetime, timedelta
from typing import Any, Literal
from zoneinfo import ZoneInfo

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.triggers.sinks import QUICK, STARTED, RecordingSink, eventually
from triggers.message import DeadLetter, Inbound, Retry
from triggers.schedule import ScheduleSettings, ScheduleTrigger, missed, ticks

BERLIN = "Europe/Berlin"


def at(text: str) -> datetime:
    return datetime.fromisoformat(text).astimezone(UTC)


def between(settings: ScheduleSettings, after: str, until: str) -> list[str]:
    zone = ZoneInfo(settings.timezone)
    return [tick.astimezone(zone).isoformat(timespec="minutes") for tick in ticks(settings, at(after), at(until))]


def test_a_daily_job_keeps_its_local_time_over_the_year() -> None:
    daily = ScheduleSettings(cron="0 3 * * *", timezone=BERLIN)
    assert between(daily, "2026-01-01T00:00+01:00", "2026-01-02T00:00+01:00") == ["2026-01-01T03:00+01:00"]
    assert between(daily, "2026-07-01T00:00+02:00", "2026-07-02T00:00+02:00") == ["2026-07-01T03:00+02:00"]


def test_a_fixed_time_that_comes_twice_runs_once() -> None:
    job = ScheduleSettings(cron="30 2 * * *", timezone=BERLIN)
    assert between(job, "2026-10-25T00:00+02:00", "2026-10-26T00:00+01:00") == ["2026-10-25T02:30+02:00"]


def test_asked_in_the_second_of_two_equal_hours_nothing_comes_again() -> None:
    job = ScheduleSettings(cron="30 2 * * *", timezone=BERLIN)
    assert between(job, "2026-10-25T02:10+01:00", "2026-10-26T00:00+01:00") == []


def test_a_fixed_time_that_does_not_come_runs_after_the_gap() -> None:
    job = ScheduleSettings(cron="30 2 * * *", timezone=BERLIN)
    assert between(job, "2026-03-29T00:00+01:00", "2026-03-30T00:00+02:00") == ["2026-03-29T03:00+02:00"]


@pytest.mark.parametrize(("day", "hours"), [("2026-03-29", 23), ("2026-10-25", 25), ("2026-06-01", 24)])
def test_an_hourly_job_follows_the_real_hours(day: str, hours: int) -> None:
    job = ScheduleSettings(cron="0 * * * *", timezone=BERLIN)
    begin = datetime.fromisoformat(day).replace(tzinfo=ZoneInfo(BERLIN))
    end = begin + timedelta(days=1)
    assert len(list(ticks(job, begin, end))) == hours


def test_seconds_come_first_in_six_fields() -> None:
    job = ScheduleSettings(cron="*/20 * * * * *")
    assert len(list(ticks(job, at("2026-01-01T00:00Z"), at("2026-01-01T00:01Z")))) == 3


def test_intervals_are_aligned_whenever_one_asks() -> None:
    job = ScheduleSettings(every=timedelta(minutes=10))
    assert between(job, "2026-01-01T00:03Z", "2026-01-01T00:30Z") == [
        "2026-01-01T00:10+00:00",
        "2026-01-01T00:20+00:00",
        "2026-01-01T00:30+00:00",
    ]


@pytest.mark.parametrize(
    "settings",
    [
        {},
        {"cron": "0 3 * * *", "every": timedelta(minutes=1)},
        {"every": timedelta(0)},
        {"cron": "0 25 * * *"},
        {"cron": "hourly"},
        {"cron": "0 0 30 2 *"},
        {"cron": "0 3 * * *", "timezone": "Berlin"},
        {"cron": "0 3 * * *", "timezone": "../etc/passwd"},
        {"cron": "0 3 * * *", "catch_up": "some"},
    ],
)
def test_settings_that_can_never_work(settings: dict[str, Any]) -> None:
    with pytest.raises(msgspec.ValidationError):
        msgspec.convert(settings, ScheduleSettings)


crons = st.sampled_from(
    ["*/15 * * * *", "30 2 * * *", "0,30 1-3 * * *", "59 23 L * *", "0 0 * * MON#1", "15 */2 * * *", "0 2,3 * * *"]
)
zones = st.sampled_from(["UTC", BERLIN, "America/New_York", "Australia/Lord_Howe", "Asia/Kathmandu", "Africa/Cairo"])
moments = st.datetimes(datetime(2026, 1, 1), datetime(2027, 1, 1), timezones=st.just(UTC))  # noqa: DTZ001  the zone follows


@given(crons, zones, moments, st.integers(0, 4 * 24 * 60))
def test_looking_back_finds_the_same_ticks_as_looking_forward(
    cron: str, zone: str, after: datetime, minutes: int
) -> None:
    settings = ScheduleSettings(cron=cron, timezone=zone, catch_up="all", max_catch_up=10_000)
    until = after + timedelta(minutes=minutes)
    forward = list(ticks(settings, after, until))
    assert missed(settings, after, until) == forward
    assert forward == sorted(set(forward))
    assert all(after < tick <= until for tick in forward)


@pytest.mark.parametrize(("catch_up", "hours"), [("none", []), ("last", [12]), ("all", [10, 11, 12])])
def test_catching_up(catch_up: Literal["none", "last", "all"], hours: list[int]) -> None:
    settings = ScheduleSettings(cron="0 * * * *", catch_up=catch_up, max_catch_up=3)
    found = missed(settings, at("2026-01-01T00:30Z"), at("2026-01-01T12:30Z"))
    assert [tick.hour for tick in found] == hours


def test_catching_up_years_of_seconds_takes_no_time() -> None:
    settings = ScheduleSettings(every=timedelta(seconds=1), catch_up="last")
    assert missed(settings, at("1980-01-01T00:00Z"), at("2026-01-01T00:00Z")) == [at("2026-01-01T00:00Z")]


class Clock:
    """A clock that moves only while somebody sleeps."""

    def __init__(self, start: str) -> None:
        self.time = at(start)
        self.end: datetime | None = None

    def now(self) -> datetime:
        return self.time

    async def sleep(self, seconds: float) -> None:
        if self.end is not None and self.time >= self.end:
            await asyncio.Event().wait()
        self.time += timedelta(seconds=max(seconds, 0.001))
        await asyncio.sleep(0)


async def ran(
    settings: ScheduleSettings, sink: RecordingSink, clock: Clock, until: str, *, last: str | None = None, **more: Any
) -> list[Inbound]:
    """Run a schedule until this time; return what the sink has seen."""
    clock.end = at(until)

    async def last_tick() -> datetime | None:
        return at(last) if last is not None else None

    trigger = ScheduleTrigger(
        "shop/nightly", settings, sink=sink, retry=QUICK, last_tick=last_tick, now=clock.now, sleep=clock.sleep, **more
    )
    task = asyncio.create_task(trigger.run())
    await eventually(lambda: task.done() or (clock.end is not None and clock.time >= clock.end))
    await trigger.stop()
    await task
    return sink.seen


def ids(seen: list[Inbound]) -> list[str | None]:
    return [message.identity for message in seen]


HOURLY = ScheduleSettings(cron="0 * * * *", timezone=BERLIN)


async def test_a_new_schedule_begins_now() -> None:
    seen = await ran(HOURLY, RecordingSink(), Clock("2026-01-01T10:30Z"), "2026-01-01T13:10Z")
    assert ids(seen) == ["2026-01-01T11:00:00Z", "2026-01-01T12:00:00Z", "2026-01-01T13:00:00Z"]
    assert seen[0].trigger == "shop/nightly"
    assert msgspec.json.decode(seen[0].body) == {
        "tick": "2026-01-01T11:00:00Z",
        "scheduled_at": "2026-01-01T12:00:00+01:00",
    }


async def test_missed_ticks_are_made_up_for_at_the_start() -> None:
    clock = Clock("2026-01-01T10:30Z")
    seen = await ran(HOURLY, RecordingSink(), clock, "2026-01-01T11:10Z", last="2026-01-01T05:00Z")
    assert ids(seen) == ["2026-01-01T10:00:00Z", "2026-01-01T11:00:00Z"]


async def test_a_last_tick_in_the_future_holds_nothing_up() -> None:
    """The clock had been set wrong, or `dedupe` gave another time than the tick's."""
    clock = Clock("2026-01-01T10:30Z")
    seen = await ran(HOURLY, RecordingSink(), clock, "2026-01-01T12:10Z", last="2027-01-01T05:00Z")
    assert ids(seen) == ["2026-01-01T11:00:00Z", "2026-01-01T12:00:00Z"]


async def test_without_catching_up_it_goes_on_with_the_next() -> None:
    settings = ScheduleSettings(cron="0 * * * *", catch_up="none")
    clock = Clock("2026-01-01T10:30Z")
    seen = await ran(settings, RecordingSink(), clock, "2026-01-01T11:10Z", last="2026-01-01T05:00Z")
    assert ids(seen) == ["2026-01-01T11:00:00Z"]


async def test_a_tick_is_not_early_and_at_most_a_moment_late() -> None:
    for message in await ran(HOURLY, RecordingSink(), Clock("2026-01-01T10:30:00.7Z"), "2026-01-01T20:10Z"):
        due = datetime.fromisoformat(message.identity or "")
        assert due <= message.received_at <= due + timedelta(seconds=1)


@pytest.mark.parametrize(("catch_up", "hours"), [("none", ["15"]), ("last", ["15"]), ("all", ["13", "14", "15"])])
async def test_after_the_machine_was_suspended(catch_up: Literal["none", "last", "all"], hours: list[str]) -> None:
    clock = Clock("2026-01-01T12:30Z")
    sleep = clock.sleep

    async def suspended(seconds: float) -> None:
        await sleep(seconds)
        clock.time = max(clock.time, at("2026-01-01T15:20Z"))

    clock.sleep = suspended  # type: ignore[method-assign]  # the machine sleeps longer than asked
    settings = ScheduleSettings(cron="0 * * * *", catch_up=catch_up)
    seen = await ran(settings, RecordingSink(), clock, "2026-01-01T15:30Z")
    assert [(message.identity or "")[11:13] for message in seen] == hours


async def test_a_tick_that_must_wait_does_not_hold_up_the_next() -> None:
    sink = RecordingSink()

    def decide(message: Inbound) -> Any:
        eleven = message.identity == "2026-01-01T11:00:00Z"
        return (
            Retry("busy", after=timedelta(hours=1, minutes=30), counted=True)
            if eleven and len(sink.seen) < 2
            else STARTED
        )

    sink.decide = decide
    seen = await ran(HOURLY, sink, Clock("2026-01-01T10:30Z"), "2026-01-01T12:50Z")
    assert ids(seen) == ["2026-01-01T11:00:00Z", "2026-01-01T12:00:00Z", "2026-01-01T11:00:00Z"]


async def test_a_refused_tick_is_handed_to_whoever_keeps_such() -> None:
    refused: list[tuple[str | None, str]] = []

    async def keep(inbound: Inbound, verdict: DeadLetter, place: str) -> None:
        assert place == ""
        refused.append((inbound.identity, verdict.code))

    sink = RecordingSink(lambda _: DeadLetter("no input", code="expression"))
    await ran(HOURLY, sink, Clock("2026-01-01T10:30Z"), "2026-01-01T11:10Z", aside=keep)
    await ran(HOURLY, sink, Clock("2026-01-01T10:30Z"), "2026-01-01T11:10Z")
    assert refused == [("2026-01-01T11:00:00Z", "expression")]
