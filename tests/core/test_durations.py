from __future__ import annotations

import re
from datetime import timedelta
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from daemon.core.durations import PATTERN, DurationError, format_duration, parse_duration


@pytest.mark.parametrize(
    ("text", "duration"),
    [
        ("200ms", timedelta(milliseconds=200)),
        ("10s", timedelta(seconds=10)),
        ("5m", timedelta(minutes=5)),
        ("24h", timedelta(days=1)),
        ("7d", timedelta(days=7)),
        ("1h30m", timedelta(minutes=90)),
        ("1.5h", timedelta(minutes=90)),
        ("30m1h", timedelta(minutes=90)),
        ("0s", timedelta()),
    ],
)
def test_text_with_units_is_a_duration(text: str, duration: timedelta) -> None:
    assert parse_duration(text) == duration


@pytest.mark.parametrize(
    ("value", "message", "hint"),
    [
        (3, "the duration 3 has no unit", "write 3s for seconds, 3ms for milliseconds"),
        (1.5, "the duration 1.5 has no unit", "write 1.5s for seconds, 1.5ms for milliseconds"),
        ("10", "'10' is not a duration", "write 10s for seconds, 10ms for milliseconds"),
        ("10 seconds", "'10 seconds' is not a duration", "write 10s"),
        ("5 Min", "'5 Min' is not a duration", "write 5m"),
        ("3 fortnights", "'3 fortnights' is not a duration", "write 3s for seconds, 3ms for milliseconds"),
        ("soon", "'soon' is not a duration", "write it like 200ms, 10s, 5m, 24h, 7d or 1h30m"),
        ("", "'' is not a duration", "write it like 200ms, 10s, 5m, 24h, 7d or 1h30m"),
        ("1s\n", "'1s\\n' is not a duration", "write 1s"),
        ("-1s", "'-1s' is not a duration", "write it like 200ms, 10s, 5m, 24h, 7d or 1h30m"),
        ("1s" * 40, f"{'1s' * 32!r} is not a duration", "write it like 200ms, 10s, 5m, 24h, 7d or 1h30m"),
        ("999999999999d", "the duration 999999999999d is too long", "at most 365000d"),
        ("365001d", "the duration 365001d is too long", "at most 365000d"),
        (True, "a duration is text, not true or false", "write it like 200ms, 10s, 5m, 24h, 7d or 1h30m"),
        (None, "a duration is text, not nothing", "write it like 200ms, 10s, 5m, 24h, 7d or 1h30m"),
        ([1], "a duration is text, not a list", "write it like 200ms, 10s, 5m, 24h, 7d or 1h30m"),
        ({}, "a duration is text, not a mapping", "write it like 200ms, 10s, 5m, 24h, 7d or 1h30m"),
    ],
)
def test_anything_else_is_refused_with_what_to_write(value: Any, message: str, hint: str) -> None:
    with pytest.raises(DurationError) as refused:
        parse_duration(value)
    assert (refused.value.message, refused.value.hint) == (message, hint)


@pytest.mark.parametrize("text", ["0s", "200ms", "10s", "5m", "1d", "1h30m", "1d2h3m4s5ms"])
def test_a_duration_is_written_in_its_shortest_form(text: str) -> None:
    assert format_duration(parse_duration(text)) == text


def test_a_negative_duration_is_not_written() -> None:
    with pytest.raises(ValueError, match="not negative"):
        format_duration(timedelta(seconds=-1))


@given(st.integers(min_value=0, max_value=10**13))
def test_what_is_written_reads_as_it_was(milliseconds: int) -> None:
    duration = timedelta(milliseconds=milliseconds)
    text = format_duration(duration)
    assert parse_duration(text) == duration
    assert re.match(PATTERN, text)


@given(st.text(max_size=80) | st.from_regex(PATTERN))
def test_any_text_is_a_duration_or_a_clear_error(text: str) -> None:
    try:
        duration = parse_duration(text)
    except DurationError as error:
        duration, hint = timedelta(), error.hint
    else:
        hint = "none needed"
    assert duration >= timedelta()
    assert hint
