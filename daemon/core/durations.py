"""Durations as text: `200ms`, `10s`, `5m`, `24h`, `7d`, `1h30m`."""

from __future__ import annotations

import re
from datetime import timedelta

PATTERN = r"^([0-9]+(\.[0-9]+)?(ms|s|m|h|d))+$"
"""For the JSON Schema; `parse_duration` reads exactly this."""

_UNITS = {
    "d": timedelta(days=1),
    "h": timedelta(hours=1),
    "m": timedelta(minutes=1),
    "s": timedelta(seconds=1),
    "ms": timedelta(milliseconds=1),
}
_WHOLE = re.compile(PATTERN, re.ASCII)
_PART = re.compile(r"([0-9]+(?:\.[0-9]+)?)(ms|s|m|h|d)", re.ASCII)
_ONE_PART = re.compile(r"\s*([0-9]+(?:\.[0-9]+)?)\s*([A-Za-zµ]*)\s*")
_WORDS = {
    "ms": ("msec", "msecs", "millisecond", "milliseconds", "millis"),
    "s": ("sec", "secs", "second", "seconds"),
    "m": ("min", "mins", "minute", "minutes"),
    "h": ("hr", "hrs", "hour", "hours"),
    "d": ("day", "days"),
}
_UNIT_OF = {word: unit for unit, words in _WORDS.items() for word in (unit, *words)}
_LONGEST_TEXT = 64
LONGEST = timedelta(days=365_000)
"""So that every time of ours plus a duration is still a time."""


class DurationError(ValueError):
    """The value is no duration; `hint` says what to write."""

    def __init__(self, message: str, hint: str) -> None:
        super().__init__(f"{message} ({hint})")
        self.message, self.hint = message, hint


def parse_duration(value: object) -> timedelta:
    """Read a duration. Raises `DurationError`, for a number too: its unit would be a guess."""
    if isinstance(value, bool) or not isinstance(value, str | int | float):
        raise DurationError(f"a duration is text, not {_kind(value)}", "write it like 200ms, 10s, 5m, 24h, 7d or 1h30m")
    if not isinstance(value, str):
        raise DurationError(
            f"the duration {value} has no unit", f"write {value}s for seconds, {value}ms for milliseconds"
        )
    if len(value) > _LONGEST_TEXT or not _WHOLE.match(value) or value.endswith("\n"):
        raise DurationError(f"{value[:_LONGEST_TEXT]!r} is not a duration", _suggestion(value))
    try:
        duration = sum((float(count) * _UNITS[unit] for count, unit in _PART.findall(value)), timedelta())
    except OverflowError:
        duration = timedelta.max
    if duration > LONGEST:
        raise DurationError(f"the duration {value} is too long", f"at most {format_duration(LONGEST)}")
    return duration


def format_duration(duration: timedelta) -> str:
    """Write a duration so that `parse_duration` gives it back, down to a millisecond: `1h30m`, `0s`."""
    milliseconds = duration // _UNITS["ms"]
    if milliseconds < 0:
        raise ValueError(f"a duration is not negative: {duration}")
    text = ""
    for unit, length in _UNITS.items():
        count, milliseconds = divmod(milliseconds, length // _UNITS["ms"])
        text += f"{count}{unit}" if count else ""
    return text or "0s"


def _suggestion(value: str) -> str:
    match = _ONE_PART.fullmatch(value)
    if match is not None and len(value) <= _LONGEST_TEXT:
        count, word = match[1], match[2]
        unit = _UNIT_OF.get(word) or _UNIT_OF.get(word.lower(), "")
        return f"write {count}{unit}" if unit else f"write {count}s for seconds, {count}ms for milliseconds"
    return "write it like 200ms, 10s, 5m, 24h, 7d or 1h30m"


def _kind(value: object) -> str:
    match value:
        case bool():
            return "true or false"
        case None:
            return "nothing"
        case list() | tuple():
            return "a list"
        case _:
            return "a mapping"
