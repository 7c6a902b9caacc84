"""What a durable function says of a call, read into the form that is recorded. Raises TypeError and ValueError in it.

Comes from: `function_context`. Goes to: daemon/core/function_events.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from datetime import UTC, datetime, timedelta
from typing import Any

import msgspec

from daemon.core.address import NODE_ID
from daemon.core.durations import LONGEST, DurationError, parse_duration
from daemon.core.function_events import CallUndo
from daemon.core.retry import RetryPolicy
from daemon.core.templates import TemplateError, compile_template
from daemon.core.values import Json, bounded_json
from daemon.durable import Length, Retry, Undo
from daemon.runtime.signatures import encode_output

ON_CLOSE = ("cancel", "terminate", "abandon")
UNDO_KINDS = ("reversible", "idempotent", "eventual")

Naming = Callable[[Callable[..., Any]], str]
"""Gives the registered name of a handler's function; raises TypeError for one that has none."""


def name_of(handler: str | Callable[..., Any], naming: Naming) -> str:
    """Return the name of a handler that is given by it, or itself."""
    if callable(handler):
        return naming(handler)
    return text_of(handler, "the name of a handler")


def text_of(value: object, what: str) -> str:
    """Return a text that is not empty."""
    if not isinstance(value, str) or not value:
        raise TypeError(f"{what} is text, and is {value!r}")
    return value


def one_of(known: tuple[str, ...], value: str, what: str) -> str:
    """Return one of the words."""
    if value not in known:
        raise ValueError(f"{what} is one of {', '.join(known)}, and is {value!r}")
    return value


def label_of(name: str, given: str | None) -> str:
    """Return the word that names a call for people: what was given, or the last word of its handler or signal."""
    if given is not None and not NODE_ID.fullmatch(given):
        raise ValueError(f"the id of a call is a word of letters, digits and _, and is {given!r}")
    word = given or name.rpartition(".")[2]
    return word if NODE_ID.fullmatch(word) else ""


def json_of(value: object) -> Json:
    """Return the value's JSON form."""
    return bounded_json(encode_output(value))


def length_of(value: Length, what: str) -> timedelta:
    """Return a length of time; it must not be negative."""
    try:
        length = value if isinstance(value, timedelta) else _parsed(value)
    except (DurationError, OverflowError) as error:
        raise ValueError(f"{what}: {error}") from None
    if not timedelta() <= length <= LONGEST:
        raise ValueError(f"{what}: {length} is not from 0s to {LONGEST}")
    return length


def _parsed(value: object) -> timedelta:
    if isinstance(value, int | float) and not isinstance(value, bool):
        return timedelta(seconds=value)
    return parse_duration(value)


def due_of(until: Length | datetime, now: datetime) -> datetime:
    """Return when a sleep ends."""
    if isinstance(until, datetime):
        if until.tzinfo is None:
            raise ValueError(f"sleep: the time {until} has no offset from UTC")
        return until.astimezone(UTC)
    return now + length_of(until, "sleep")


def retry_of(given: Retry | None) -> RetryPolicy | None:
    """Return the policy; None for no retry."""
    match given:
        case None | RetryPolicy():
            return given
        case Mapping():
            read = {key: parse_duration(value) if key in {"initial", "max"} else value for key, value in given.items()}
            unknown = read.keys() - set(RetryPolicy.__struct_fields__)
            if unknown:
                known = ", ".join(RetryPolicy.__struct_fields__)
                raise ValueError(f"retry: there is no {', '.join(sorted(unknown))}; there are: {known}")
            return msgspec.convert(read, RetryPolicy)
        case _:
            return RetryPolicy(max_attempts=given)


def undo_of(given: str | Callable[..., Any] | Undo | None, naming: Naming) -> CallUndo | None:
    """Return what undoes a call; its template is checked now, lest it is found wrong when it is needed."""
    if given is None:
        return None
    undo = given if isinstance(given, Undo) else Undo(given)
    try:
        template = compile_template(undo.input)
    except TemplateError as error:
        raise ValueError(f"compensate: {error}") from None
    if strange := sorted(template.names - {"step"}):
        raise ValueError(f"compensate: its input sees `step`, and not {', '.join(strange)}")
    return CallUndo(
        handler=name_of(undo.handler, naming),
        input=json_of(undo.input),
        kind=one_of(UNDO_KINDS, undo.kind, "compensate: the kind"),
        retry=retry_of(undo.retry),
        timeout=length_of(undo.timeout, "timeout") if undo.timeout is not None else None,
    )
