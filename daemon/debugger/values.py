"""Places of values that a debugger shows, and another value put into one of them. Pure.

Comes from: `showing`, `debuggee`. Goes to: nobody.
"""

from __future__ import annotations

import re
from typing import Any

from daemon.core.errors import Rejected

Place = tuple[str | int, ...]
"""Names and numbers that lead to a value from a root: `("vars", "rate")`, `("step", "input", "items", 0)`."""
VARIABLES, STEP = "vars", "step"
INPUT: Place = (STEP, "input")
"""What the handler of the step is sent."""
ANSWER: Place = (STEP, "answer")
"""What it has given, before that is recorded."""
_PART = re.compile(
    r"""\.?(?P<name>[A-Za-z_]\w*)|\[(?P<number>\d{1,9})\]|\[(?P<quote>['"])(?P<key>[^'"]*)(?P=quote)\]"""
)


def replaced(value: Any, place: Place, new: Any) -> Any:
    """Return the value with another at a place in it; the value itself stays. Raises Rejected for no such place."""
    if not place:
        return new
    first, rest = place[0], place[1:]
    if isinstance(value, dict) and first in value:
        return {**value, first: replaced(value[first], rest, new)}
    if isinstance(value, list) and isinstance(first, int) and first < len(value):
        return [*value[:first], replaced(value[first], rest, new), *value[first + 1 :]]
    raise Rejected(f"there is no {first!r} in it")


def place_in(expression: str) -> Place | None:
    """Return the place that an expression names, `vars.order.items[0]`; None for any other expression."""
    text, at, found = expression.strip(), 0, []
    while at < len(text):
        part = _PART.match(text, at)
        if part is None or (at == 0) != (text[at] not in ".["):
            return None
        found.append(int(part["number"]) if part["number"] else part["key"] if part["quote"] else part["name"])
        at = part.end()
    return tuple(found) or None


def expression_of(place: Place) -> str:
    """Return the expression that names a place."""
    text = ""
    for part in place:
        if isinstance(part, int):
            text += f"[{part}]"
        elif part.isidentifier():
            text += f".{part}" if text else part
        else:
            text += f"[{part!r}]"
    return text
