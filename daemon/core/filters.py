"""The filters and tests of expressions: bounded, deterministic, strict about kinds of values.

None reads a Python attribute of a value. `_paid` lets an evaluation pay for all that they read and build.
"""

from __future__ import annotations

import base64
import hashlib
import operator
from collections.abc import Callable, Iterable, Mapping
from functools import partial, reduce, wraps
from typing import Any, TypeAlias
from urllib.parse import quote

import msgspec
from jinja2 import pass_context

from daemon.core.evaluation import (
    MAX_TEXT,
    EvaluationError,
    Missing,
    Run,
    as_json,
    as_text,
    kind_of,
    number,
    step,
    want,
)

MAX_DIGITS = 20  # precision of `round`

Function: TypeAlias = Callable[..., object]

_COMPARE: dict[str, Callable[..., object]] = {
    "eq ==": operator.eq,
    "ne !=": operator.ne,
    "lt <": operator.lt,
    "le <=": operator.le,
    "gt >": operator.gt,
    "ge >=": operator.ge,
}


def _picker(attribute: object) -> Callable[[object], Any]:
    """Give the function that reads a dotted path from an item; None reads the item itself."""
    keys = [] if attribute is None else as_text(attribute).split(".")
    return lambda item: reduce(step, keys, item)


def _sequence(value: object) -> str | list[object]:
    return value if isinstance(value, str) else want(value, list)


def joined(value: object, separator: object = "", attribute: object = None) -> str:
    """Join the texts of a list; also what `~` and `+` of texts do."""
    pick, between, texts, room = _picker(attribute), as_text(separator), list[str](), MAX_TEXT
    for item in want(value, list):
        texts.append(as_text(pick(item)))
        room -= len(texts[-1]) + len(between)
        if room < 0:
            raise EvaluationError(f"the text is longer than {MAX_TEXT} characters")
    return between.join(texts)


def _replace(value: object, old: object, new: object, count: object = -1) -> str:
    text, was, becomes = want(value, str), want(old, str), as_text(new)
    if len(text) + text.count(was) * max(len(becomes) - len(was), 0) > MAX_TEXT:
        raise EvaluationError(f"the text is longer than {MAX_TEXT} characters")
    return text.replace(was, becomes, want(count, int))


def _round(value: object, precision: object = 0) -> int | float:
    digits = want(precision, int)
    if abs(digits) > MAX_DIGITS:
        raise EvaluationError(f"the precision {digits} is too large; at most {MAX_DIGITS}")
    return round(want(value, float), digits or None)


def _parse(kind: type[int | float], value: object, *default: object) -> object:
    try:
        return number(kind(value if isinstance(value, str) else want(value, float)))
    except ValueError:
        if default:
            return default[0]
        raise


def _one(value: object, choose: Callable[..., object]) -> object:
    items = _sequence(value)
    return choose(items) if items else Missing("nothing is in the list")


def _unique(value: object, attribute: object = None) -> list[object]:
    pick, first, room = _picker(attribute), dict[str, object](), [MAX_TEXT]
    for item in want(value, list):
        first.setdefault(as_json(pick(item), room), item)
    return list(first.values())


def _sort(value: object, reverse: object = None, attribute: object = None) -> list[object]:
    return sorted(want(value, list), key=_picker(attribute), reverse=bool(reverse))


def _default(_: Run, value: object, other: object = "", boolean: object = None) -> object:
    return other if isinstance(value, Missing) or (boolean and not value) else value


def _applied(table: Mapping[str, Function], name: object) -> Function:
    if name is None:
        return lambda _, item: item
    if not isinstance(name, str) or name not in table:
        raise EvaluationError(f"there is no {name!r} to apply", hint=f"there are: {', '.join(sorted(table))}")
    return table[name]


def _map(run: Run, value: object, name: object = None, *more: object, attribute: object = None) -> list[object]:
    run.spend(value)
    pick, function = _picker(attribute), _applied(FILTERS, name)
    return [function(run, pick(item), *more) for item in want(value, list)]


def _filter(run: Run, value: object, attribute: object, test: object, more: Iterable[object], *, keep: bool) -> object:
    run.spend(value)
    pick, holds = _picker(attribute), _applied(TESTS, test)
    return [item for item in want(value, list) if bool(holds(run, pick(item), *more)) is keep]


def _paid(function: Function) -> Function:
    @pass_context
    @wraps(function)
    def paid(run: Run, *values: object, **options: object) -> object:
        run.spend(*values, *options.values())
        result = function(*values, **options)
        if not isinstance(result, Missing):
            run.spend(result)
        return result

    return paid


def _table(functions: Mapping[str, Function], with_run: Mapping[str, Function]) -> dict[str, Function]:
    """Make a table whose functions all take the run first; those of `with_run` pay for themselves."""
    paid = {name: _paid(function) for name, function in functions.items()}
    return paid | {name: pass_context(function) for name, function in with_run.items()}


FILTERS: dict[str, Function] = _table(
    {
        "abs": lambda value: abs(want(value, float)),
        "b64decode": lambda value: base64.b64decode(want(value, str), validate=True).decode(),
        "b64encode": lambda value: base64.b64encode(as_text(value).encode()).decode(),
        "count": lambda value: len(value if isinstance(value, Mapping) else _sequence(value)),
        "dictsort": lambda value: sorted(want(value, dict).items()),
        "first": lambda value: _one(value, operator.itemgetter(0)),
        "float": lambda value, *default: _parse(float, value, *default),
        "fromjson": lambda value: msgspec.json.decode(want(value, str)),
        "int": lambda value, *default: _parse(int, value, *default),
        "items": lambda value: list(want(value, dict).items()),
        "join": joined,
        "keys": lambda value: list(want(value, dict)),
        "last": lambda value: _one(value, operator.itemgetter(-1)),
        "length": lambda value: len(value if isinstance(value, Mapping) else _sequence(value)),
        "list": lambda value: list(value if isinstance(value, Mapping) else _sequence(value)),
        "lower": lambda value: as_text(value).lower(),
        "max": lambda value, attribute=None: _one(value, partial(max, key=_picker(attribute))),
        "min": lambda value, attribute=None: _one(value, partial(min, key=_picker(attribute))),
        "replace": _replace,
        "round": _round,
        "sha256": lambda value: hashlib.sha256(as_text(value).encode()).hexdigest(),
        "slice": lambda value, start=None, stop=None, step=None: _sequence(value)[start:stop:step],
        "sort": _sort,
        "split": lambda value, separator=None: want(value, str).split(separator),
        "string": as_text,
        "sum": lambda value, attribute=None: sum(want(_picker(attribute)(item), float) for item in want(value, list)),
        "tojson": as_json,
        "trim": lambda value: as_text(value).strip(),
        "unique": _unique,
        "upper": lambda value: as_text(value).upper(),
        "urlencode": lambda value: quote(as_text(value), safe=""),
        "values": lambda value: list(want(value, dict).values()),
    },
    with_run={
        "d": _default,
        "default": _default,
        "map": _map,
        "reject": lambda run, value, test=None, *more: _filter(run, value, None, test, more, keep=False),
        "rejectattr": lambda run, value, name, test=None, *more: _filter(run, value, name, test, more, keep=False),
        "select": lambda run, value, test=None, *more: _filter(run, value, None, test, more, keep=True),
        "selectattr": lambda run, value, name, test=None, *more: _filter(run, value, name, test, more, keep=True),
    },
)

TESTS: dict[str, Function] = _table(
    {
        "boolean": lambda value: isinstance(value, bool),
        "contains": operator.contains,
        "divisibleby": lambda value, by: want(value, int) % want(by, int) == 0,
        "endswith": lambda value, end: want(value, str).endswith(want(end, str)),
        "even": lambda value: want(value, int) % 2 == 0,
        "false": lambda value: value is False,
        "float": lambda value: isinstance(value, float),
        "in": lambda value, where: value in where,
        "integer": lambda value: isinstance(value, int) and not isinstance(value, bool),
        "mapping": lambda value: isinstance(value, Mapping),
        "none": lambda value: value is None,
        "number": lambda value: kind_of(value) == "a number",
        "odd": lambda value: want(value, int) % 2 == 1,
        "sequence": lambda value: isinstance(value, list | tuple),
        "startswith": lambda value, start: want(value, str).startswith(want(start, str)),
        "string": lambda value: isinstance(value, str),
        "true": lambda value: value is True,
        **{sign: compare for signs, compare in _COMPARE.items() for sign in signs.split()},
    },
    with_run={
        "defined": lambda _, value: not isinstance(value, Missing),
        "undefined": lambda _, value: isinstance(value, Missing),
    },
)
