"""What an evaluation meets beside the tables of filters: its errors, what is missing, its budget, its values.

Values are JSON: null, true and false, numbers, text, lists, maps. Messages speak of them in these words.
"""

from __future__ import annotations

import math
import re
from collections.abc import Mapping
from difflib import get_close_matches
from itertools import islice
from typing import TYPE_CHECKING, Any, NoReturn, TypeAlias, TypeVar, cast

import msgspec
from jinja2 import StrictUndefined
from jinja2.utils import missing

if TYPE_CHECKING:
    from collections.abc import Iterable

MAX_DEPTH = 64  # levels of a syntax tree, and of a result
MAX_TEXT = 1_000_000  # characters of one text that an expression builds
MAX_WORK = 1_000_000  # items that one evaluation reads or builds; 16 characters of text count as one
MAX_RESULT = 4_000_000  # characters of text in one result; each value in it counts as 8 more
MAX_NAMES = 20  # names that a message lists
MAX_NAME = 40  # characters of each
MAX_MESSAGE = 400  # characters of a message that quotes data

JsonValue: TypeAlias = "bool | int | float | str | list[JsonValue] | dict[str, JsonValue] | None"
Path: TypeAlias = tuple[str, ...]
_T = TypeVar("_T")

_KINDS = {bool: "true or false", int: "a number", float: "a number", str: "text", list: "a list", tuple: "a list"}
_TYPE_NAMES = {f"'{kind.__name__}'": name for kind, name in _KINDS.items()} | {"'dict'": "a map", "'NoneType'": "null"}
_LISTS = (list, tuple)
_SURROGATE = re.compile("[\ud800-\udfff]")
_encode = msgspec.json.Encoder(order="deterministic").encode


class ExpressionError(ValueError):
    """An expression cannot be compiled: a mistake in the definition. `offset` counts characters of `source` from 0."""

    def __init__(self, message: str, source: str = "", offset: int | None = None, hint: str | None = None) -> None:
        super().__init__(message, source, offset, hint)
        self.message, self.source, self.offset, self.hint = message, source, offset, hint

    def __str__(self) -> str:
        return f"{self.message} ({self.hint})" if self.hint else self.message


class EvaluationError(ExpressionError):
    """An expression has no value for this data. The same data gives the same error: repeating does not help."""


class AbsentError(Exception):
    """Something used a value that is missing; becomes an `EvaluationError` where the paths are known."""

    def __init__(self, value: Missing) -> None:
        super().__init__()
        self.value = value


class Missing(StrictUndefined):
    """What is not there. It may be asked whether it is defined, and given a default; any other use raises."""

    __slots__ = ()

    @property
    def _undefined_message(self) -> NoReturn:  # StrictUndefined reads it in order to raise
        raise AbsentError(self)

    def explain(self, paths: Iterable[Path], roots: Mapping[str, object], scope: Iterable[str]) -> tuple[str, str]:
        """Say what is missing, where (if one of the constant `paths` leads there), and what to write."""
        holder, key, hint = self._undefined_obj, str(self._undefined_name), "`| default(x)` gives a value instead"
        if self._undefined_hint:
            return self._undefined_hint, hint
        names = scope if holder is missing else holder if isinstance(holder, Mapping) else ()
        known = [str(name)[:MAX_NAME] for name in islice(names, MAX_NAMES)]
        if close := get_close_matches(key[:MAX_NAME], known, 1):
            hint = f"did you mean {close[0]!r}?"
        there = ", ".join(known) or "nothing"
        if holder is missing:
            return f"{key!r} is not defined; there is: {there}", hint
        path = next((found for path in sorted(paths) if (found := _path_to(holder, key, path, roots))), None)
        where, owner = (f"{'.'.join(path)}: ", repr(path[-2])) if path else ("", "the value")
        if isinstance(holder, Mapping):
            return f"{where}{owner} has no {key!r}; it has: {there}", hint
        size = f" of {len(holder)}" if isinstance(holder, list | tuple) else ""
        return f"{where}{owner} is {kind_of(holder)}{size}, it has no {key!r}", hint


def _path_to(holder: object, key: str, path: Path, roots: Mapping[str, object]) -> Path | None:
    value = roots[path[0]]
    for length, part in enumerate(path[1:], start=2):
        if value is holder and part == key:
            return path[:length]
        value = step(value, part)
    return None


class Run:
    """One evaluation. Compiled code takes it for its context and writes its result to `vars`."""

    __slots__ = ("exported_vars", "resolve_or_missing", "vars", "work")

    def __init__(self, roots: dict[str, object]) -> None:
        self.resolve_or_missing = roots.__getitem__
        self.vars: dict[str, object] = {}
        self.exported_vars: set[str] = set()
        self.work = MAX_WORK

    def spend(self, *values: Any) -> None:
        """Pay for reading or building values. A missing one raises, as it is asked for its length."""
        for value in values:
            size = len(value) if hasattr(value, "__len__") else 0
            self.work -= 1 + (size // 16 if isinstance(value, str) else size)
        if self.work < 0:
            raise EvaluationError("the expression does too much work", hint="do it in a task or a transform node")


def kind_of(value: object) -> str:
    """Name the kind of a value in the words of messages: `a map`, `text`, ..."""
    if value is None:
        return "null"
    return "a map" if isinstance(value, Mapping) else _KINDS.get(type(value), f"a {type(value).__name__}")


def in_our_words(error: Exception) -> str:
    """Give Python's message for a wrong operation without Python's names of types and functions."""
    if isinstance(error, RecursionError | MemoryError):
        return "the values are too large or nested too deeply"
    text = re.sub(r"^\S+\(\) ", "", str(error))
    return re.sub(r"'\w+'", lambda name: _TYPE_NAMES.get(name[0], name[0]), text)


def number(value: object) -> int | float:
    """Give a number that JSON and every reader of it can hold: finite, integers of 64 bits."""
    if isinstance(value, int) and -(2**63) <= value < 2**64:
        return value
    if isinstance(value, float) and math.isfinite(value):
        return value
    raise EvaluationError("the number is not finite, not real, or longer than 64 bits")


def plain(value: Any, room: list[int], depth: int = 0) -> JsonValue:
    """Copy a value to plain JSON, or say why it is none. `room[0]` counts down from the size allowed."""
    kind = type(value)
    room[0] -= 8 + len(value) if kind is str else 8
    if room[0] < 0 or depth > MAX_DEPTH:
        raise EvaluationError("the result is too large or nested too deeply")
    if kind is str and not value.isascii() and _SURROGATE.search(value):
        raise EvaluationError("the text holds a lone surrogate, which JSON cannot")
    if kind is str or kind is bool or value is None:
        return cast("JsonValue", value)
    if kind is int or kind is float:
        return number(value)
    if isinstance(value, _LISTS):
        return [plain(item, room, depth + 1) for item in value]
    if isinstance(value, Mapping):
        copy: dict[str, JsonValue] = {}
        for key, item in value.items():
            if type(key) is str and key.isascii():  # nearly all; the item's turn sees to what is left of the room
                room[0] -= 8 + len(key)
                copy[key] = plain(item, room, depth + 1)
            else:
                copy[cast("str", plain(want(key, str), room))] = plain(item, room, depth + 1)
        return copy
    if isinstance(value, Missing):
        raise AbsentError(value)
    raise EvaluationError(f"the result holds {kind_of(value)}, which is not JSON")


def as_text(value: object) -> str:
    """Give text as it is, numbers and true/false as in JSON, lists and maps as compact JSON; null has no text."""
    if isinstance(value, str):
        return value
    if value is None:
        raise EvaluationError("null has no text", hint="write `| default('', true)`")
    return as_json(value)


def as_json(value: object, room: list[int] | None = None) -> str:
    """Give compact JSON with sorted keys; `room` is as for `plain`."""
    return _encode(plain(value, room or [MAX_TEXT])).decode()


def want(value: object, kind: type[_T]) -> _T:
    """Give a value of this kind, or refuse it. `float` takes every number, `list` tuples, `dict` other mappings."""
    if (kind is list and isinstance(value, tuple)) or (kind is dict and isinstance(value, Mapping)):
        return kind(value)  # type: ignore[call-arg]
    if isinstance(value, int | float if kind is float else kind) and not isinstance(value, bool):
        return cast("_T", value)
    if isinstance(value, Missing):
        raise AbsentError(value)
    raise EvaluationError(f"{_KINDS.get(kind, 'a map')} is needed here, not {kind_of(value)}")


def item_of(holder: Any, key: Any) -> object:
    """Give the item of a map, list or text, or a `Missing`; from one, the same again: the first that was missing."""
    try:
        if isinstance(holder, Mapping) or (isinstance(holder, list | tuple | str) and type(key) is int):
            item: object = holder[key]
            return item
    except LookupError:
        pass
    return holder if isinstance(holder, Missing) else Missing(obj=holder, name=key)


def step(holder: object, key: str) -> object:
    """Give the item of one part of a dotted path, where an index is written in digits."""
    return item_of(holder, int(key) if key.isdecimal() and isinstance(holder, list | tuple | str) else key)
