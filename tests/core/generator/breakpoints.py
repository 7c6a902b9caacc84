"""Random breakpoints, and what whoever debugs an execution does where it stands.

Comes from: `executions`.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from daemon.core import commands as c
from daemon.core.branch_events import InputEdit
from daemon.core.break_events import Breakpoint
from daemon.core.debugging import HOWS
from daemon.core.values import to_json

if TYPE_CHECKING:
    from datetime import datetime

    from daemon.core.plan import Plan
    from daemon.core.state import Running
    from tests.core.generator.dice import Dice

CONDITIONS = ("", "input.flag", "vars.count > 0", "input.missing", "loop.index == 1")


def asked(dice: Dice, plan: Plan, at: datetime) -> c.Command:
    """Draw a list of breakpoints; none is one of them."""
    node = dice.pick(sorted(plan.nodes))
    points = (
        Breakpoint(errors=True),
        Breakpoint(node=node, condition=dice.pick(CONDITIONS)),
        Breakpoint(condition=dice.pick(CONDITIONS[1:])),
        Breakpoint(node=node, errors=True),
        Breakpoint(node="nowhere"),
    )
    return c.SetBreakpoints(breakpoints=tuple(dice.some(points, 3)), next=dice.chance(50), actor="test", at=at)


def left(dice: Dice, state: Running, at: datetime) -> c.Command:
    """Draw how an execution goes on from where it stands, or what is changed before; simplest is just to go on."""
    assert state.stop is not None
    stop = state.stop.version
    if dice.chance(20):
        if dice.chance(20):
            return c.EditAtBreakpoint(stop=0, variables={"count": to_json(dice.below(9))}, actor="test", at=at)
        given = InputEdit(to_json(dice.below(9))) if dice.chance(50) else None
        variables = {"count": to_json(dice.below(9))} if given is None or dice.chance(50) else {}
        return c.EditAtBreakpoint(stop=stop, variables=variables, input=given, actor="test", at=at)
    how, port = dice.pick(("continue", *HOWS)), dice.pick(("out", "out", "other", "true"))
    return c.LeaveBreakpoint(stop=stop, how=how, output=to_json(dice.below(9)), port=port, actor="test", at=at)


def gone_on(state: Running, at: datetime) -> c.Command:
    """Return the command by which the execution goes on as if it had not stopped."""
    assert state.stop is not None
    return c.LeaveBreakpoint(stop=state.stop.version, how="continue", actor="test", at=at)
