"""What two runs of one workflow have in common, and where they first differ.

Comes from: `crashes`. Pure.
"""

from __future__ import annotations

from itertools import zip_longest
from typing import TYPE_CHECKING, Any

from daemon.core.state import Failed, Skipped, Succeeded
from daemon.core.values import from_json

if TYPE_CHECKING:
    from collections.abc import Mapping

    from daemon.core.state import Finished, Step

SHOWN_CHARACTERS = 500
"""Of longer lists only the first items that differ are shown."""
_MISSING = "(nothing)"


def plain_state(state: Finished) -> dict[str, Any]:
    """Return the state without ids, times and the order in which things that ran side by side were recorded."""
    return {
        "status": state.status,
        "output": from_json(state.output),
        "error": None if state.error is None else (state.error.code, state.error.message),
        "failed_step": state.failed_step,
        "reason": state.reason,
        "variables": {name: from_json(value) for name, value in state.variables.items()},
        "steps": {address: plain_step(step) for address, step in state.steps.items()},
    }


def plain_step(step: Step) -> tuple[object, ...]:
    """Return how a step ended, without the time."""
    match step:
        case Succeeded():
            return ("succeeded", from_json(step.output), step.port, step.attempt)
        case Failed():
            return ("failed", step.error.code, step.error.message, step.port, step.error.attempt)
        case Skipped():
            return ("skipped",)
        case _:
            return (type(step).__name__.lower(),)


def differences(meant: Mapping[str, object], found: Mapping[str, object], at: str = "") -> list[str]:
    """Return each place where two nested mappings differ, both sides shown."""
    wrong: list[str] = []
    for key in sorted(meant.keys() | found.keys()):
        one, other = meant.get(key, _MISSING), found.get(key, _MISSING)
        place = f"{at}{key}"
        if isinstance(one, dict) and isinstance(other, dict):
            wrong += differences(one, other, f"{place} > ")
        elif one != other:
            if max(len(repr(one)), len(repr(other))) > SHOWN_CHARACTERS:
                one, other = first_difference(one, other)
            wrong += [f"  {place}:", f"    undisturbed:    {one!r}", f"    with the crash: {other!r}"]
    return wrong


def first_difference(meant: object, found: object) -> tuple[object, object]:
    """Return the first two items, however deep in lists, that differ."""
    if isinstance(meant, list | tuple) and isinstance(found, list | tuple):
        for one, other in zip_longest(meant, found):
            if one != other:
                return first_difference(one, other)
    return meant, found
