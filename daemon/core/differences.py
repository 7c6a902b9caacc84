"""What differs between two JSON values, place by place; and the same as a JSON Patch (RFC 6902). Pure.

Maps are compared by key, lists by place: what a list has more or less is at its end. Values are equal when their JSON
texts are: `1`, `1.0` and `true` are three values. Equal values have no differences.

Comes from: daemon/runtime/comparing. Goes to: daemon/api, daemon/cli.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, TypeAlias

from msgspec import UNSET, Struct

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

Place: TypeAlias = tuple[str | int, ...]
"""Keys of maps and indexes of lists, from the outside in."""


class Difference(Struct, frozen=True):
    """One place where two values differ. `before` is UNSET for what was added, `after` for what was removed."""

    place: Place
    before: Any
    after: Any

    @property
    def operation(self) -> str:
        """`add` | `remove` | `replace`."""
        if self.before is UNSET:
            return "add"
        return "remove" if self.after is UNSET else "replace"


def differences(before: Any, after: Any, place: Place = ()) -> Iterator[Difference]:
    """Yield where two values made of JSON types differ: keys sorted, so that equal pairs give equal answers."""
    if isinstance(before, dict) and isinstance(after, dict):
        for key in sorted(before.keys() | after.keys(), key=natural):
            yield from _one(before.get(key, UNSET), after.get(key, UNSET), (*place, key))
    elif isinstance(before, list) and isinstance(after, list):
        for index in range(max(len(before), len(after))):
            was, is_now = (each[index] if index < len(each) else UNSET for each in (before, after))
            yield from _one(was, is_now, (*place, index))
    elif type(before) is not type(after) or before != after or (before == 0 and str(before) != str(after)):
        yield Difference(place, before, after)


def _one(before: Any, after: Any, place: Place) -> Iterator[Difference]:
    if before is UNSET or after is UNSET:
        yield Difference(place, before, after)
    else:
        yield from differences(before, after, place)


def patch(found: Iterable[Difference]) -> list[dict[str, Any]]:
    """Return the operations that make the second value of the first, one after the other.

    Items are taken from the end of a list first, so that the places of the others stay as they are.
    """
    operations, removed = [], []
    for each in found:
        operation = {"op": each.operation, "path": pointer(each.place)}
        if each.after is UNSET:
            removed.append(operation)
        else:
            operations.append({**operation, "value": each.after})
    return [*operations, *reversed(removed)]


def pointer(place: Place) -> str:
    """Return the place as a JSON Pointer (RFC 6901)."""
    return "".join(f"/{str(part).replace('~', '~0').replace('/', '~1')}" for part in place)


def dotted(place: Place) -> str:
    """Return the place as people read it: `output.lines[2].price`."""
    parts = (f"[{part}]" if isinstance(part, int) else f".{part}" for part in place)
    return "".join(parts).removeprefix(".")


def natural(text: str) -> tuple[tuple[int, int | str], ...]:
    """Return the key by which addresses are sorted as people count: `each[2].a` before `each[10].a`."""
    return tuple((0, int(part)) if part.isdecimal() else (1, part) for part in _runs(text))


def _runs(text: str) -> Iterator[str]:
    """Yield runs of digits, and what is between them."""
    start = 0
    for index in range(1, len(text) + 1):
        if index == len(text) or text[index].isdecimal() is not text[index - 1].isdecimal():
            yield text[start:index]
            start = index
