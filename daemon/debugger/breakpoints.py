"""Breakpoints of a debugger: where one fits, at which of its hits it stops, and what it says instead of stopping. Pure.

Comes from: `session`. Goes to: `looking`.
"""

from __future__ import annotations

import json
import re
from bisect import bisect_right
from typing import TYPE_CHECKING

from msgspec import Struct

from daemon.core.evaluation import EvaluationError, ExpressionError
from daemon.core.expressions import compile_expression

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

_HITS = re.compile(r"(>=|<=|==?|>|<|%)?\s*(\d{1,9})")
_COMPARED: dict[str, Callable[[int, int], bool]] = {
    "": lambda hit, number: hit == number,
    "=": lambda hit, number: hit == number,
    "==": lambda hit, number: hit == number,
    ">": lambda hit, number: hit > number,
    ">=": lambda hit, number: hit >= number,
    "<": lambda hit, number: hit < number,
    "<=": lambda hit, number: hit <= number,
    "%": lambda hit, number: hit % number == 0,
}
_HOLE = re.compile(r"\{\{(.+?)\}\}|\{([^{}]+)\}")


class Breakpoint(Struct, frozen=True):
    """Where to stop. All that is given must fit; a condition alone fits where it becomes true."""

    node: str = ""
    """Id of a node, or the address of one of its steps."""
    condition: str = ""
    """Expression over what a template sees there; one that has no value does not fit."""
    errors: str = ""
    """`failed` fits where a step or the execution has failed for good, `attempt` where any attempt has."""
    hits: str = ""
    """At which of the moments that fit, counted from the execution's first: `3`, `> 3`, `<= 3`, `% 3`; empty for all.

    So it is the same moment whichever way the debugger moves.
    """
    log: str = ""
    """What is said there, expressions in braces; it does not stop then."""


class Fitting:
    """Which moments a breakpoint fits, as far as they were looked at."""

    def __init__(self) -> None:
        self._numbers: list[int] = []
        self._looked_to = 0

    def place_of(self, number: int, fits: Callable[[int], bool]) -> int:
        """Return the how many-th of those that fit the moment is."""
        self._numbers += [each for each in range(self._looked_to, number + 1) if fits(each)]
        self._looked_to = max(self._looked_to, number + 1)
        return bisect_right(self._numbers, number)


def counts(hits: str, place: int) -> bool:
    """Tell whether a hit is one that was asked for."""
    found = _HITS.fullmatch(hits.strip())
    return found is not None and _COMPARED[found[1] or ""](place, int(found[2]))


def mistake(each: Breakpoint) -> str:
    """Return what is wrong with a breakpoint; empty for nothing."""
    if each.hits and ((found := _HITS.fullmatch(each.hits.strip())) is None or int(found[2]) == 0):
        return f"{each.hits!r} counts no hits: write `3`, `> 3`, `>= 3`, `< 3`, `<= 3` or `% 3`"
    try:
        for text in (each.condition, *_expressions(each.log)):
            if text:
                compile_expression(text)
    except ExpressionError as error:
        return str(error)
    return ""


def said_at(log: str, value_of: Callable[[str], object]) -> str:
    """Return the text with the values of its expressions; of one that has none, why."""

    def value(found: re.Match[str]) -> str:
        try:
            given = value_of((found[1] or found[2]).strip())
        except EvaluationError as error:
            return f"{{{error}}}"
        return given if isinstance(given, str) else json.dumps(given, ensure_ascii=False, default=str)

    return _HOLE.sub(value, log)


def _expressions(log: str) -> Iterator[str]:
    return ((found[1] or found[2]).strip() for found in _HOLE.finditer(log))
