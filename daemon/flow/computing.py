"""What Python's own operators cannot say of a value that is not there yet: `size(x)`, `given(x)`, `when(test, a, b)`.

Everything else the expression language has: `pipe` applies a filter, `expr` takes an expression as text.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, TypeVar, cast, overload

from daemon.flow.mistakes import mistake
from daemon.flow.reference import Ref, applied, chosen, negated, spelled, tested

if TYPE_CHECKING:
    from collections.abc import Container, Iterable, Sized

T = TypeVar("T")
U = TypeVar("U")


@overload
def expr(text: str) -> Any: ...
@overload
def expr(text: str, type_: type[T]) -> T: ...
def expr(text: str, type_: object = None) -> Any:  # noqa: ARG001  for type checkers
    """Take an expression as it is written, without braces.

    Values stand in it as in an f-string, so that they are known to be read: `expr(f"{offers} | sort | first", Offer)`.
    """
    if not isinstance(text, str):
        raise mistake(f"an expression is text, not a {type(text).__name__}")
    return spelled(text)


def default(value: T | None, otherwise: U) -> T | U:
    """Return the value, or the other where there is none: its step was skipped, its key is missing."""
    return cast("T | U", applied(_known_later(value), "default", otherwise))


def given(value: object) -> bool:
    """Tell whether there is a value: its step was not skipped, its key is there."""
    return cast("bool", tested(_known_later(value), "defined"))


def when(test: bool, then: T, otherwise: U) -> T | U:
    """Return one of two values."""
    return cast("T | U", chosen(test, then, otherwise))


def negate(test: bool) -> bool:
    """Return whether the condition does not hold. Conditions are joined by `&` and `|`."""
    return cast("bool", negated(test))


def contains(container: Container[Any], item: object) -> bool:
    """Tell whether an item is in a list, a key in a mapping, a part in a text."""
    return cast("bool", tested(container, "contains", item))


def size(value: Sized) -> int:
    """Return the length of a list, a mapping or a text."""
    return cast("int", applied(value, "length"))


def joined(items: Iterable[object], separator: str = "") -> str:
    """Return the items as one text."""
    return cast("str", applied(items, "join", separator))


def pipe(value: object, name: str, *arguments: object, **named: object) -> Any:
    """Apply a filter of the expression language: `pipe(offers, "sort", attribute="price")`."""
    return applied(value, name, *arguments, **named)


def _known_later(value: object) -> object:
    if not isinstance(value, Ref):
        raise mistake("there is no doubt about this value: it is known already")
    return value
