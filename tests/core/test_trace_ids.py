"""Trace ids follow from the log; `traceparent` is read and written as W3C Trace Context level 1 says."""

from uuid import UUID

import pytest
from hypothesis import given
from hypothesis import strategies as st

from daemon.core.trace_ids import (
    TraceParent,
    execution_span_id,
    parse_traceparent,
    step_span_id,
    step_traceparent,
    trace_id,
    traceparent_of,
)

TRACE = "0af7651916cd43dd8448eb211c80319c"
SPAN = "b7ad6b7169203331"
EXECUTION = UUID("5f0c5d8e-6f2b-5a53-9d5e-3c0a3d1e9a11")


@pytest.mark.parametrize(
    ("text", "flags"),
    [
        (f"00-{TRACE}-{SPAN}-01", 1),
        (f"00-{TRACE}-{SPAN}-00", 0),
        (f"00-{TRACE}-{SPAN}-ff", 255),
        (f"cc-{TRACE}-{SPAN}-01", 1),
        (f"cc-{TRACE}-{SPAN}-01-what-the-future-will-be-like", 1),
        (f"cc-{TRACE}-{SPAN}-01-", 1),
    ],
)
def test_a_valid_traceparent_is_read(text: str, flags: int) -> None:
    assert parse_traceparent(text) == TraceParent(TRACE, SPAN, flags)


@pytest.mark.parametrize(
    "text",
    [
        "",
        f"ff-{TRACE}-{SPAN}-01",
        f"00-{'0' * 32}-{SPAN}-01",
        f"00-{TRACE}-{'0' * 16}-01",
        f"00-{TRACE.upper()}-{SPAN}-01",
        f"00-{TRACE}-{SPAN.upper()}-01",
        f"00-{TRACE}-{SPAN}-0A",
        f"00-{TRACE}-{SPAN}-01-extra",
        f"00-{TRACE}-{SPAN}-01-",
        f"00-{TRACE}-{SPAN}-01\n",
        f"cc-{TRACE}-{SPAN}-01.later",
        f"cc-{TRACE}-{SPAN}-012",
        f"0-{TRACE}-{SPAN}-01",
        f".0-{TRACE}-{SPAN}-01",
        f"00-.{TRACE[1:]}-{SPAN}-01",
        f"00-{TRACE}-.{SPAN[1:]}-01",
        f"00-{TRACE}-{SPAN}-.0",
        f"00-{TRACE[:-1]}-{SPAN}-01",
        f"00-{TRACE}0-{SPAN}-01",
        f"00-{TRACE}-{SPAN}0-01",
        f"00-{TRACE}-{SPAN}-1",
        f"00-{TRACE}-{SPAN}",
        f"00-{TRACE}-{SPAN}-٠١",
        f" 00-{TRACE}-{SPAN}-01",
    ],
)
def test_an_invalid_traceparent_is_ignored(text: str) -> None:
    assert parse_traceparent(text) is None


@given(st.text())
def test_any_text_can_be_asked_about(text: str) -> None:
    parsed = parse_traceparent(text)
    assert parsed is None or len(parsed.trace_id) == 32


def test_what_is_written_can_be_read() -> None:
    assert parse_traceparent(traceparent_of(TRACE, SPAN)) == TraceParent(TRACE, SPAN, 1)
    assert traceparent_of(TRACE, SPAN, 0xFE) == f"00-{TRACE}-{SPAN}-00"


def test_an_execution_stays_in_the_trace_that_started_it() -> None:
    assert trace_id(EXECUTION, f"00-{TRACE}-{SPAN}-01") == TRACE


@pytest.mark.parametrize("traceparent", [None, "nonsense"])
def test_an_execution_without_a_trace_makes_its_own(traceparent: str | None) -> None:
    assert trace_id(EXECUTION, traceparent) == EXECUTION.hex


def test_span_ids_are_those_of_the_log_for_ever() -> None:
    """They were written into traces; a change would tear them apart."""
    assert execution_span_id(EXECUTION) == "c9f3a136b0189938"
    assert step_span_id(EXECUTION, "each[3].charge", 2) == "d108448910e7b423"


def test_attempts_and_steps_have_spans_of_their_own() -> None:
    spans = {step_span_id(EXECUTION, address, attempt) for address in ("a", "b") for attempt in (1, 2)}
    assert len(spans | {execution_span_id(EXECUTION)}) == 5


@pytest.mark.parametrize(
    ("started_in", "trace", "flags"),
    [(None, EXECUTION.hex, "01"), (f"00-{TRACE}-{SPAN}-00", TRACE, "00"), (f"00-{TRACE}-{SPAN}-01", TRACE, "01")],
)
def test_an_attempt_hands_on_its_own_span_and_the_decision_to_sample(
    started_in: str | None, trace: str, flags: str
) -> None:
    span = step_span_id(EXECUTION, "charge", 1)
    assert step_traceparent(EXECUTION, "charge", 1, started_in) == f"00-{trace}-{span}-{flags}"
