"""`wait`: sleep durably, for a while or until a time. A sleeping execution costs a row, no memory."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

from msgspec import Struct

from daemon.core.durations import DurationError, parse_duration
from daemon.core.events import StepError
from daemon.core.node import Begin, Beginning, Fail, NodeType, WaitUntil
from daemon.core.schema_parts import either, mapping, ref
from daemon.core.templates import Template
from daemon.nodes.reading import Reader, is_fixed

if TYPE_CHECKING:
    from collections.abc import Mapping


class WaitFor(Struct, frozen=True):
    """Sleep for a length of time."""

    length: Template


class WaitTill(Struct, frozen=True):
    """Sleep until a time."""

    time: Template


def parse(own: Mapping[str, Any]) -> WaitFor | WaitTill:
    """Check a fixed length or time now; one that is computed is checked when the step begins."""
    reader = Reader()
    match own["wait"]:
        case {"until": until}:
            time = reader.template(until, "wait", "until")
            if is_fixed(time) and isinstance(problem := _time(until), Fail):
                reader.refuse(problem.error.message, ("wait", "until"), "write it like 2031-05-01T08:00:00+02:00")
            return reader.finish(WaitTill(time))
        case {"for": length}:
            return reader.finish(WaitFor(reader.duration(length, "wait", "for")))
        case length:
            return reader.finish(WaitFor(reader.duration(length, "wait")))


def begin(config: WaitFor | WaitTill, beginning: Beginning) -> Begin:
    """Ask for a timer; a time in the past is over at once."""
    match config:
        case WaitTill(time=time):
            due = _time(time.render(beginning.scope).value)
            return due if isinstance(due, Fail) else WaitUntil(due)
        case WaitFor(length=length):
            try:
                return WaitUntil(beginning.at + parse_duration(length.render(beginning.scope).value))
            except DurationError as error:
                return _fail(str(error))


def _time(value: object) -> datetime | Fail:
    try:
        time = datetime.fromisoformat(value) if isinstance(value, str) else None
    except ValueError:
        time = None
    if time is None:
        return _fail(f"{str(value)[:80]!r} is not a time")
    if time.tzinfo is None:
        return _fail(f"the time {value} has no offset from UTC")
    try:
        return time.astimezone(UTC)
    except OverflowError:
        return _fail(f"the time {value} is too far away")


def _fail(message: str) -> Fail:
    return Fail(StepError(message, "wait"))


NODE_TYPE = NodeType(
    name="wait",
    summary="Sleeps for a length of time or until a time; its output is the time it was due.",
    schema=either(
        "A length of time, `{for: …}` or `{until: …}`.",
        ref("duration_template"),
        mapping("Sleep for a length of time.", {"for": ref("duration_template", "How long.")}, "for"),
        mapping(
            "Sleep until a time.",
            {"until": ref("template", "A time with its offset from UTC, in ISO 8601: `2031-05-01T08:00:00+02:00`.")},
            "until",
        ),
    ),
    parse=parse,
    templates=lambda config: (config.time if isinstance(config, WaitTill) else config.length,),
    begin=begin,
)
