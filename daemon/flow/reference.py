"""`Ref`: a value that is not there yet. What is done with it becomes an expression.

To a type checker a reference is the value that it stands for: a step that gives a `Receipt` gives a `Receipt` in the
workflow's function too, and what is asked of it is checked as ever. When the function runs, it is a `Ref`:
`receipt.total > 100` is the expression `charge.total > 100`, and an f-string with it a template.

What Python insists on knowing at once (`if`, `and`, `len`, `for`) is a mistake, whose hint says what to write.

Comes from: `roots`, `wiring`. Goes to: `values`, by way of `marks`.
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Any, NoReturn

from daemon.flow import marks
from daemon.flow.mistakes import mistake

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

# How tightly an expression binds, as Jinja2 reads it.
CHOICE, OR, AND, NOT, COMPARED, SUM, PRODUCT, SIGNED, APPLIED, NAME = range(10)

_KEY = re.compile(r"[A-Za-z_][A-Za-z0-9_]*", re.ASCII)


class Ref:
    """A value that is not there yet."""

    __slots__ = ("__binds", "__key", "__of", "__text")
    __hash__ = None  # type: ignore[assignment]  # it compares to an expression, so it cannot be a key

    def __init__(self, text: str, binds: int = NAME, *, of: Ref | None = None, key: str = "") -> None:
        """`text` is marked; a reference that is the item `key` of another can be called, as a method of that."""
        self.__text = text
        self.__binds = binds
        self.__of = of
        self.__key = key

    def __getattr__(self, name: str) -> Any:
        if name.startswith("__") and name.endswith("__"):
            raise AttributeError(name)
        return Ref(f"{within(self, NAME)}.{name}", of=self, key=name)

    def __getitem__(self, key: object) -> Any:
        if isinstance(key, str) and _KEY.fullmatch(key):
            return Ref(f"{within(self, NAME)}.{key}")
        if isinstance(key, slice):
            ends = ["" if each is None else literal(each) for each in (key.start, key.stop, key.step)]
            return Ref(f"{within(self, NAME)}[{':'.join(ends if ends[2] else ends[:2])}]")
        return Ref(f"{within(self, NAME)}[{literal(key)}]")

    def __call__(self, *arguments: object, **named: object) -> Any:
        """Call it as a method: those of texts and mappings that the expression language has."""
        of = self.__of
        if of is not None and self.__key in _METHODS:
            return _METHODS[self.__key](of, *arguments, **named)
        hint = f"there are {', '.join(_METHODS)}; `pipe(x, 'filter')` applies a filter of the expression language"
        raise mistake("a value that is not there yet cannot be called", hint)

    def __str__(self) -> str:
        return marks.wrapped(self.__text, self.__binds)

    def __format__(self, spec: str) -> str:
        if spec:
            raise mistake(f"the format {spec!r} has no meaning for a value that is not there yet", "round it before")
        return str(self)

    def __repr__(self) -> str:
        return f"<Ref {marks.named(self.__text, str)}>"

    def __eq__(self, other: object) -> Any:
        return _joined(self, "==", other, COMPARED)

    def __ne__(self, other: object) -> Any:
        return _joined(self, "!=", other, COMPARED)

    def __lt__(self, other: object) -> Any:
        return _joined(self, "<", other, COMPARED)

    def __le__(self, other: object) -> Any:
        return _joined(self, "<=", other, COMPARED)

    def __gt__(self, other: object) -> Any:
        return _joined(self, ">", other, COMPARED)

    def __ge__(self, other: object) -> Any:
        return _joined(self, ">=", other, COMPARED)

    def __add__(self, other: object) -> Any:
        return _joined(self, "+", other, SUM)

    def __radd__(self, other: object) -> Any:
        return _joined(other, "+", self, SUM)

    def __sub__(self, other: object) -> Any:
        return _joined(self, "-", other, SUM)

    def __rsub__(self, other: object) -> Any:
        return _joined(other, "-", self, SUM)

    def __mul__(self, other: object) -> Any:
        return _joined(self, "*", other, PRODUCT)

    def __rmul__(self, other: object) -> Any:
        return _joined(other, "*", self, PRODUCT)

    def __truediv__(self, other: object) -> Any:
        return _joined(self, "/", other, PRODUCT)

    def __rtruediv__(self, other: object) -> Any:
        return _joined(other, "/", self, PRODUCT)

    def __floordiv__(self, other: object) -> Any:
        return _joined(self, "//", other, PRODUCT)

    def __rfloordiv__(self, other: object) -> Any:
        return _joined(other, "//", self, PRODUCT)

    def __mod__(self, other: object) -> Any:
        return _joined(self, "%", other, PRODUCT)

    def __rmod__(self, other: object) -> Any:
        return _joined(other, "%", self, PRODUCT)

    def __pow__(self, other: object) -> Any:
        return Ref(f"{within(self, NAME)} ** {within(other, NAME)}", SIGNED)

    def __rpow__(self, other: object) -> Any:
        return Ref(f"{within(other, NAME)} ** {within(self, NAME)}", SIGNED)

    def __neg__(self) -> Any:
        return Ref(f"-{within(self, NAME)}", SIGNED)

    def __and__(self, other: object) -> Any:
        return _joined(self, "and", other, AND)

    def __rand__(self, other: object) -> Any:
        return _joined(other, "and", self, AND)

    def __or__(self, other: object) -> Any:
        return _joined(self, "or", other, OR)

    def __ror__(self, other: object) -> Any:
        return _joined(other, "or", self, OR)

    def __abs__(self) -> Any:
        return applied(self, "abs")

    def __round__(self, digits: int | None = None) -> Any:
        return applied(self, "round") if digits is None else applied(self, "round", digits)

    def __bool__(self) -> NoReturn:
        hint = "`branch` takes a way, `when(test, a, b)` a value; conditions are joined by `&`, `|` and `negate(x)`"
        raise mistake("whether it is true is not known before the workflow runs", hint)

    def __len__(self) -> NoReturn:
        raise mistake("its length is not known before the workflow runs", "write size(x)")

    def __iter__(self) -> NoReturn:
        hint = "write `with for_each(…)` or `with parallel(…)`; joined(x, ', ') makes a text of it"
        raise mistake("what is in it is not known before the workflow runs", hint)

    def __contains__(self, item: object) -> NoReturn:
        raise mistake("what is in it is not known before the workflow runs", "write contains(x, item)")

    def __int__(self) -> NoReturn:
        raise mistake("its value is not known before the workflow runs", "write pipe(x, 'int')")

    def __float__(self) -> NoReturn:
        raise mistake("its value is not known before the workflow runs", "write pipe(x, 'float')")

    def __await__(self) -> NoReturn:
        raise mistake("nothing runs yet, so there is nothing to wait for", "call the step without `await`")


def text_of(ref: Ref) -> str:
    """Return the marked text of a reference."""
    text: str = ref._Ref__text  # noqa: SLF001  every other name may be one of the value's
    return text


def wrapped(ref: Ref) -> str:
    """Return it as a text that `values` makes the whole value of."""
    return marks.wrapped(text_of(ref), _binds(ref), whole=True)


def within(value: object, binds: int) -> str:
    """Write a value inside an expression that needs it to bind this tightly, in parentheses where it does not."""
    if not isinstance(value, Ref):
        is_signed = isinstance(value, int | float) and value < 0 and binds > SUM
        return f"({literal(value)})" if is_signed else literal(value)
    return text_of(value) if _binds(value) >= binds else f"({text_of(value)})"


def literal(value: object) -> str:
    """Write a value as the expression language has it; references may be in it."""
    match value:
        case Ref():
            return text_of(value)
        case None | bool():
            return str(value).lower()
        case str() if marks.holds_expression(value):
            return _concatenated(value)
        case str():
            return _quoted(value)
        case int() | float():
            return repr(value)
        case list() | tuple():
            return f"[{', '.join(map(literal, value))}]"
        case dict():
            return f"{{{', '.join(f'{literal(key)}: {literal(each)}' for key, each in value.items())}}}"
        case _:
            hint = "texts, numbers, true and false, None, lists and mappings do"
            raise mistake(f"a {type(value).__name__} cannot stand in an expression", hint)


def applied(value: object, name: str, *arguments: object, **named: object) -> Any:
    """Apply a filter."""
    return Ref(f"{within(value, APPLIED)} | {name}{_arguments(arguments, named)}", APPLIED)


def tested(value: object, name: str, *arguments: object) -> Any:
    """Apply a test."""
    return Ref(f"{within(value, NAME)} is {name}{_arguments(arguments, {})}", COMPARED)


def negated(value: object) -> Any:
    """Negate a condition."""
    return Ref(f"not {within(value, COMPARED)}", NOT)


def chosen(test: object, then: object, otherwise: object) -> Any:
    """Take one of two values."""
    return Ref(f"{within(then, OR)} if {within(test, OR)} else {within(otherwise, OR)}", CHOICE)


def spelled(text: str) -> Any:
    """Take an expression as it is written; references stand in it as in an f-string."""
    put: Callable[[str, int], str] = lambda inner, binds: inner if binds == NAME else f"({inner})"  # noqa: E731
    return Ref(marks.unwrapped(text, put), CHOICE)


def _binds(ref: Ref) -> int:
    binds: int = ref._Ref__binds  # noqa: SLF001  as above
    return binds


def _joined(left: object, operator: str, right: object, binds: int) -> Ref:
    """Operators of one level are read from the left; comparisons are not chained."""
    tight = binds + 1
    return Ref(f"{within(left, tight if binds == COMPARED else binds)} {operator} {within(right, tight)}", binds)


def _arguments(arguments: tuple[object, ...], named: Mapping[str, object]) -> str:
    written = [*map(literal, arguments), *(f"{name}={literal(value)}" for name, value in named.items())]
    return f"({', '.join(written)})" if written else ""


def _quoted(text: str) -> str:
    """Quote a text as both Python and Jinja2 read it."""
    return repr(text)


def _concatenated(text: str) -> str:
    """Write a text with expressions in it as their concatenation."""
    parts: list[str] = []

    def put(inner: str, binds: int) -> str:
        parts.append(inner if binds > SUM else f"({inner})")
        return ""

    def keep(between: str) -> str:
        parts.extend([_quoted(between)] if between else [])
        return ""

    marks.unwrapped(text, put, keep)
    return f"({' ~ '.join(parts)})"


def _get(of: Ref, key: object, otherwise: object = None) -> Any:
    return applied(of[key], "default", otherwise)


_METHODS: Mapping[str, Callable[..., Any]] = {
    "upper": lambda of: applied(of, "upper"),
    "lower": lambda of: applied(of, "lower"),
    "strip": lambda of: applied(of, "trim"),
    "split": lambda of, separator=None: applied(of, "split", *([] if separator is None else [separator])),
    "replace": lambda of, was, becomes: applied(of, "replace", was, becomes),
    "startswith": lambda of, start: tested(of, "startswith", start),
    "endswith": lambda of, end: tested(of, "endswith", end),
    "keys": lambda of: applied(of, "keys"),
    "values": lambda of: applied(of, "values"),
    "items": lambda of: applied(of, "items"),
    "get": _get,
}
"""Methods of texts and mappings that the expression language has a filter or test for."""
