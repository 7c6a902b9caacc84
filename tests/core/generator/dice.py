"""Where all chance of the generator comes from: choices that are kept, so that they can be made again, or smaller.

A choice is a number, and the smaller one is the simpler one: zero ends a list, leaves an option out, lets a handler
succeed. What was chosen can be handed in again, whole or with parts of it gone: `shrinking` looks for the smallest that
still shows a fault.
"""

from __future__ import annotations

from random import Random
from typing import TYPE_CHECKING, TypeVar

if TYPE_CHECKING:
    from collections.abc import Sequence

T = TypeVar("T")


class Dice:
    """Thrown for one purpose; they fall the same way for the same purpose, in every process."""

    def __init__(self, *purpose: object, again: Sequence[int] | None = None) -> None:
        """`again`: make these choices instead, and zeros after them; one that is too large is taken as the largest."""
        self.taken: list[int] = []
        self._again = again
        self._random = Random(" ".join(map(str, purpose)))  # noqa: S311  nothing is kept secret here

    def below(self, count: int) -> int:
        """Choose one of 0 to count - 1."""
        if self._again is None:
            chosen = self._random.randrange(count)
        else:
            place = len(self.taken)
            chosen = min(self._again[place], count - 1) if place < len(self._again) else 0
        self.taken.append(chosen)
        return chosen

    def between(self, least: int, most: int) -> int:
        """Choose a whole number, both ends among them."""
        return least + self.below(most - least + 1)

    def pick(self, items: Sequence[T]) -> T:
        """Choose one, the first being the simplest."""
        return items[self.below(len(items))]

    def chance(self, percent: int) -> bool:
        """Say yes in so many of a hundred cases; no is simpler."""
        return self.below(100) >= 100 - percent

    def some(self, items: Sequence[T], most: int) -> list[T]:
        """Choose several, `most` at most, in their order; none is simplest."""
        chosen = {self.below(len(items)) for _ in range(self.below(most + 1))} if items else set()
        return [items[place] for place in sorted(chosen)]
