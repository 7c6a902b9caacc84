"""Random limits that executions share, ways in which they begin, and caches; and how a daemon finds those limits.

Comes from: `nodes`, `graphs`. Goes to: `executions`.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from tests.core.generator.values import Around, expression

if TYPE_CHECKING:
    from collections.abc import Sequence

    from daemon.core.decide import Crowded
    from tests.core.generator.dice import Dice


class Everything:
    """Contains all limits and keys."""

    def __contains__(self, limit_and_key: object) -> bool:
        return True


FREE: Crowded = ()
CROWDS: tuple[Crowded, ...] = (Everything(), None)
"""Others wait for every slot, so that it is asked for; or none is free, also none of those that were granted."""


def of_a_node(dice: Dice, around: Around, readable: Sequence[str]) -> dict[str, Any]:
    """Draw the limits that a node's steps share with others."""
    if not dice.chance(20):
        return {}
    own: dict[str, Any] = {"throttle": _throttle(dice, expression(dice, around, readable))}
    if dice.chance(30):
        own["priority"] = dice.pick((2, "{{ input.n }}", "high"))
    return own


def of_a_workflow(dice: Dice) -> dict[str, Any]:
    """Draw how many executions there may be, and how they begin."""
    own: dict[str, Any] = {}
    if dice.chance(10):
        own["throttle"] = _throttle(dice, "{{ input.flag }}")
    if dice.chance(10):
        own["priority"] = dice.pick((1, "{{ input.n }}"))
    start: dict[str, Any] = {}
    if dice.chance(15):
        start |= dice.pick((
            {"delay": "5m"},
            {"debounce": {"after": "5m"}},
            {"debounce": {"after": "5m", "at_most": "6m", "key": "{{ input.flag }}"}},
            {"batch": {"size": 2, "within": "5m"}},
        ))  # fmt: skip
    if dice.chance(10):
        policies = ("queue", "cancel_older") if "throttle" in own else ("queue", "cancel_older", "skip")
        start["singleton"] = {"policy": dice.pick(policies)}
    return own | ({"start": start} if start else {})


def _throttle(dice: Dice, key: str) -> Any:
    one: dict[str, Any] = dice.pick(({"concurrency": 1}, {"concurrency": 2}, {"rate": {"limit": 1, "per": "1m"}}))
    if dice.chance(40):
        one = one | {"key": key}
    if dice.chance(20):
        one = one | {"fair": "{{ input.n }}"}
    return [one, {"concurrency": 3}] if dice.chance(20) else one


def cache(dice: Dice, around: Around, readable: Sequence[str]) -> dict[str, Any]:
    """Draw where a node's result is looked for first."""
    return {"key": dice.pick(("{{ input.flag }}", expression(dice, around, readable), None)), "ttl": "1h"}
