"""One decision in the making: what `decide`, `walk` and `turns` write on.

Comes from: `decide`. Goes to: `evolve`.
"""

from __future__ import annotations

from collections import deque
from typing import TYPE_CHECKING

from daemon.core import events as e
from daemon.core.address import stands_in, turn_around
from daemon.core.calls import node_at
from daemon.core.evolve import evolve
from daemon.core.scope import Scope
from daemon.core.state import Repeating, Running, State, Turn

if TYPE_CHECKING:
    from collections.abc import Container
    from datetime import datetime

    from daemon.core.plan import Plan, PlannedNode

EXECUTION_TIMER = "execution"
"""Id of the timer of the execution's own limit."""
_SETTLING = (e.StepSucceeded, e.StepFailed, e.StepSkipped, e.StepCached)


class Draft:
    """The events so far: each is evolved as it is decided, so that the next one sees it.

    What is still to be looked at: `ready` steps, which are to begin; `settled` ones, whose edges are to be followed;
    `touched` turns, which may be at their end; `repeating` steps, which may begin a turn; `groups`, of which more may
    be undone; turns that are `undone`, and fail with their error now. `walk.advance` works it off. `branched` is the
    state by which the execution goes on from a past, if it does.
    """

    __slots__ = (
        "at",
        "branched",
        "crowded",
        "events",
        "groups",
        "plan",
        "ready",
        "repeating",
        "scope",
        "settled",
        "state",
        "touched",
        "undone",
    )

    def __init__(self, plan: Plan, state: State, at: datetime, crowded: Container[tuple[str, str]] | None = ()) -> None:
        """`crowded` are limits and keys of which nothing is to be taken without asking; None for all."""
        self.crowded = crowded
        self.plan = plan
        self.state = state
        self.at = at
        self.events: list[e.Event] = []
        self.scope = Scope(plan, state)
        self.ready: deque[str] = deque()
        self.settled: deque[str] = deque()
        self.touched: dict[str, None] = {}
        self.repeating: dict[str, None] = {}
        self.undone: dict[str, e.StepError] = {}
        self.branched: Running | None = None
        self.groups = dict.fromkeys(state.groups) if isinstance(state, Running) else {}

    def emit(self, event: e.Event) -> None:
        """Add an event and evolve the state by it."""
        self.events.append(event)
        self.state = self.scope.state = evolve(self.state, event)
        if isinstance(event, _SETTLING) and not (isinstance(event, e.StepFailed) and event.retry_at is not None):
            self.settled.append(event.address)

    def branch(self, event: e.Event, state: Running) -> None:
        """Add the event by which the execution goes on from a past, and leads to this state."""
        self.events.append(event)
        self.state = self.branched = state
        self.scope = Scope(self.plan, state)

    def wait(self, address: str, purpose: str, due: datetime) -> None:
        """Set the step's timer of this purpose."""
        timer_id = timer_id_of(address, purpose)
        self.emit(e.TimerSet(timer_id=timer_id, address=address, purpose=purpose, due=due, at=self.at))

    @property
    def running(self) -> Running:
        """The state, which has not ended."""
        if not isinstance(self.state, Running):
            raise TypeError("decided on after the end")
        return self.state

    def node(self, address: str) -> PlannedNode:
        """Return the node that a step executes."""
        return node_at(self.plan, self.running, address)

    def repeating_at(self, address: str) -> Repeating | None:
        """Return the loop or fan-out that is under way there; None when it, or the execution, has ended."""
        step = None if self.over(turn_around(address)) else self.running.steps.get(address)
        return step if isinstance(step, Repeating) else None

    def give_up(self) -> None:
        """Forget what is still to be looked at."""
        self.ready.clear()
        self.settled.clear()
        self.touched.clear()
        self.repeating.clear()
        self.undone.clear()
        self.groups.clear()

    def ended(self) -> bool:
        """Tell whether nothing begins any more: the execution has ended, or is being undone."""
        return not isinstance(self.state, Running) or self.state.undoing is not None

    def over(self, turn: str) -> bool:
        """Tell whether the execution, or the turn in it, has ended or is being undone; empty is the outermost scope."""
        if self.ended():
            return True
        if not turn:
            return False
        undone = any(stands_in(turn, group) for group in self.running.groups)
        return undone or not isinstance(self.running.steps.get(turn), Turn)


def timer_id_of(address: str, purpose: str) -> str:
    """Return the timer's id; a step has one timer of a purpose at a time."""
    return f"{address}#{purpose}"
