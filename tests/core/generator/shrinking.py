"""The smallest case that shows a fault: choices are taken out and made smaller as long as the fault stays."""

from __future__ import annotations

from typing import TYPE_CHECKING, TypeAlias

if TYPE_CHECKING:
    from collections.abc import Callable

    Still: TypeAlias = "Callable[[Choices], bool]"

Choices: TypeAlias = tuple[tuple[int, ...], ...]
"""Those of each dice."""


def smallest(choices: Choices, still: Still) -> Choices:
    """Return the smallest choices found for which `still` holds, as it does for those given."""
    while True:
        before = choices
        for number in range(len(choices)):
            choices = _shorter(choices, number, still)
            choices = _lower(choices, number, still)
        if choices == before:
            return choices


def _shorter(choices: Choices, number: int, still: Still) -> Choices:
    """Take runs of choices out, the longest first, from the end."""
    length = len(choices[number])
    while length:
        end = len(choices[number])
        while end > 0:
            each = choices[number]
            shorter = _with(choices, number, each[: max(end - length, 0)] + each[end:])
            if still(shorter):
                choices = shorter
            end -= length
        length //= 2
    return choices


def _lower(choices: Choices, number: int, still: Still) -> Choices:
    """Make each choice zero, or half of it, or one less, as often as that helps."""
    for place in range(len(choices[number])):
        value = choices[number][place]
        while value:
            each = choices[number]
            tried = (_with(choices, number, (*each[:place], less, *each[place + 1 :])) for less in _less(value))
            lower = next((one for one in tried if still(one)), None)
            if lower is None:
                break
            choices = lower
            value = choices[number][place]
    return choices


def _less(value: int) -> tuple[int, ...]:
    return tuple(dict.fromkeys((0, value // 2, value - 1)))


def _with(choices: Choices, number: int, one: tuple[int, ...]) -> Choices:
    return (*choices[:number], one, *choices[number + 1 :])
