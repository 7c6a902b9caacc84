"""From values of Python, with references in them, to values of a definition: JSON with `{{ }}` in its texts.

Structs, dataclasses, enums, dates and pydantic models become their JSON form. A text of the author's own is always that
text: braces in it are escaped.

Comes from: `nodes`, `steps`, `workflows`. Goes to: `wiring`.
"""

from __future__ import annotations

import re
from datetime import timedelta
from typing import TYPE_CHECKING, Any

import msgspec

from daemon.core.durations import format_duration
from daemon.flow import marks
from daemon.flow.mistakes import mistake
from daemon.flow.reference import APPLIED, Ref, literal, wrapped

if TYPE_CHECKING:
    from collections.abc import Callable

_OPENING = re.compile(r"\{(?=[{%#])")
_SECRET = "{{ secret."  # noqa: S105  how one is written
_AROUND_ONE = 2
"""Texts around one expression: that before it and that after it."""


def marked(value: object) -> Any:
    """Return the value in JSON types, its references as marked texts."""
    try:
        return msgspec.json.decode(msgspec.json.encode(value, enc_hook=_encode))
    except (TypeError, ValueError, OverflowError, RecursionError) as error:
        raise mistake(f"the value has no JSON form: {error}") from error


def template(value: Any, turn_name: Callable[[str], str]) -> Any:
    """Return what `marked` gave as a definition has it."""
    if isinstance(value, dict):
        return {_key(key): template(each, turn_name) for key, each in value.items()}
    if isinstance(value, list):
        return [template(each, turn_name) for each in value]
    return _text(value, turn_name) if isinstance(value, str) else value


def texts_in(value: Any) -> list[str]:
    """Return all texts in what `marked` gave."""
    if isinstance(value, dict):
        return [text for each in value.values() for text in texts_in(each)]
    if isinstance(value, list):
        return [text for each in value for text in texts_in(each)]
    return [value] if isinstance(value, str) else []


def fixed(value: object, what: str) -> Any:
    """Return a value in JSON types, in which there is no reference."""
    given = marked(value)
    if any(marks.holds_expression(text) for text in texts_in(given)):
        raise mistake(f"{what} must be known before the workflow runs")
    return given


def duration(value: Any) -> Any:
    """Return a length of time as text; a reference, or a text, as it is."""
    return format_duration(value) if isinstance(value, timedelta) else value


def _encode(value: object) -> object:
    if isinstance(value, Ref):
        return wrapped(value)
    dump = getattr(value, "model_dump", None)
    if dump is None:
        raise TypeError(f"{type(value).__name__} has none")
    return marked(dict(iter(value)))  # type: ignore[call-overload]  # a pydantic model gives its fields so


def _key(key: str) -> str:
    if marks.holds_expression(key):
        raise mistake("a key is a fixed text, and this one holds an expression")
    return key


def _text(text: str, turn_name: Callable[[str], str]) -> str:
    if not marks.holds_expression(text):
        return _OPENING.sub(r"\\{", text)
    between: list[str] = []

    def keep(part: str) -> str:
        between.append(part)
        part = _OPENING.sub(r"\\{", part)
        return f"{part[:-1]}{{{{ '{{' }}}}" if part.endswith("{") else part

    def put(inner: str, _binds: int) -> str:
        return f"{{{{ {marks.named(inner, turn_name)} }}}}"

    def put_as_text(inner: str, binds: int) -> str:
        return put(f"{inner if binds >= APPLIED else f'({inner})'} | string", APPLIED)

    written = marks.unwrapped(text, put, keep)
    if marks.is_whole(text) or len(between) != _AROUND_ONE or any(map(str.strip, between)) or _SECRET in written:
        return written
    return put(literal(text), APPLIED) if any(between) else marks.unwrapped(text, put_as_text)
