"""Trace and span ids that follow from the log: the same execution, step and attempt give the same ids, in any process.

Written and read in the form of W3C Trace Context level 1.

Goes to: daemon/runtime/steps, which hands the context to handlers, and the exporter of traces.
"""

from __future__ import annotations

import re
from hashlib import sha256
from typing import TYPE_CHECKING, NamedTuple

if TYPE_CHECKING:
    from uuid import UUID

SAMPLED = 1

_TRACEPARENT = re.compile(r"([0-9a-f]{2})-([0-9a-f]{32})-([0-9a-f]{16})-([0-9a-f]{2})(-.*)?", re.ASCII | re.DOTALL)
_SPAN_ID_BYTES = 8


class TraceParent(NamedTuple):
    """A `traceparent` header taken apart. Ids are lower-case hex."""

    trace_id: str
    parent_span_id: str
    flags: int


def parse_traceparent(text: str) -> TraceParent | None:
    """Read a `traceparent`; None for one that the standard says to ignore.

    Fields that later versions append are ignored, as the standard asks.
    """
    match = _TRACEPARENT.fullmatch(text)
    if match is None:
        return None
    version, trace, span, flags, more = match.groups()
    known = version != "ff" and not (version == "00" and more is not None)
    if not known or not int(trace, 16) or not int(span, 16):
        return None
    return TraceParent(trace, span, int(flags, 16))


def traceparent_of(trace: str, span: str, flags: int = SAMPLED) -> str:
    """Write a `traceparent` of version 00. Only the flag `sampled` is passed on."""
    return f"00-{trace}-{span}-{flags & SAMPLED:02x}"


def trace_id(execution_id: UUID, traceparent: str | None) -> str:
    """Return the trace that the execution belongs to: the one it was started in, or one of its own."""
    parent = parse_traceparent(traceparent) if traceparent is not None else None
    return parent.trace_id if parent is not None else execution_id.hex


def execution_span_id(execution_id: UUID) -> str:
    """Return the id of the span of a whole execution."""
    return _span_id(str(execution_id))


def step_span_id(execution_id: UUID, address: str, attempt: int) -> str:
    """Return the id of the span of one attempt of a step."""
    return _span_id(f"{execution_id}/{address}/{attempt}")


def trigger_span_id(execution_id: UUID) -> str:
    """Return the id of the span of the message that started the execution."""
    return _span_id(f"{execution_id}/trigger")


def wait_span_id(execution_id: UUID, address: str, attempt: int, wait: str) -> str:
    """Return the id of the span of a wait before an attempt; `wait` is the kind of it, one word."""
    return _span_id(f"{execution_id}/{address}/{attempt}/{wait}")


def step_traceparent(execution_id: UUID, address: str, attempt: int, traceparent: str | None) -> str:
    """Return the context that an attempt hands on. `traceparent` is what the execution was started with."""
    parent = parse_traceparent(traceparent) if traceparent is not None else None
    flags = parent.flags if parent is not None else SAMPLED
    return traceparent_of(trace_id(execution_id, traceparent), step_span_id(execution_id, address, attempt), flags)


def _span_id(of: str) -> str:
    return sha256(of.encode()).hexdigest()[: 2 * _SPAN_ID_BYTES]
