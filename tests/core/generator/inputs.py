"""Handlers that pause for input, and the inputs: too early, in a row, for steps that take none."""

from __future__ import annotations

from datetime import timedelta
from typing import TYPE_CHECKING

from daemon.core import commands as c
from daemon.core.people import Suspended
from daemon.core.state import InFlight
from daemon.core.values import to_json

if TYPE_CHECKING:
    from datetime import datetime

    from daemon.core.plan import Plan
    from daemon.core.state import Running
    from tests.core.generator.dice import Dice


def pause(dice: Dice, state: Running, address: str, attempt: int, at: datetime) -> c.Command:
    """Draw how a handler pauses; one that was given input may say that this was not what it needs."""
    step = state.steps[address]
    given = isinstance(step, InFlight) and step.resumed is not None
    until = dice.pick((None, timedelta(minutes=2), timedelta(0)))
    return c.SuspendStep(
        address=address,
        attempt=attempt,
        reason="look",
        expects=to_json(dice.pick((None, {"type": "integer"}))),
        state=to_json(dice.pick((None, {"page": attempt}, "x" * 300))),
        until=None if until is None else at + until,
        problem="not like that" if given and dice.chance(50) else "",
        at=at,
    )


def wanted(state: Running) -> list[str]:
    """Return the steps that wait for input."""
    return [address for address in sorted(state.people) if isinstance(state.steps[address], Suspended)]


def early(dice: Dice, plan: Plan, state: Running) -> str:
    """Choose a step that may pause later, or again, or that never will."""
    return dice.pick([*sorted(state.in_flight) * 3, *sorted(state.steps), *sorted(plan.nodes)])
