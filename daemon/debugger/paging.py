"""The moments of executions page by page: of a long one only what is asked for is read and folded.

Where to fold from is known by marks: the states after every so many events, kept for the few executions that were
looked at last. So the first look at an execution folds it once, whatever is asked, and a further one a page, and what
was recorded since. A mark holds what the log has said: where the log says something else now, because somebody was
forgotten, or nothing, the marks are dropped.

Comes from: daemon/api/debugging. Goes to: `moments`, daemon/runtime/history.
"""

from __future__ import annotations

import asyncio
from bisect import bisect_left
from collections import OrderedDict
from contextlib import aclosing
from typing import TYPE_CHECKING, NamedTuple
from uuid import UUID

from msgspec import Struct

from daemon.core.errors import Rejected, UnknownName
from daemon.core.events import Event, ExecutionForked, ExecutionRewound
from daemon.core.evolve import evolve
from daemon.core.plan import Plan
from daemon.core.state import INITIAL, State, Succeeded
from daemon.debugger.moments import Moment, Taken, is_moment, moment, output_in
from daemon.debugger.recording import PINNING
from daemon.runtime.history import misfit

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator, Callable, Mapping, Sequence

    from daemon.core.values import Json
    from daemon.runtime.history import History
    from daemon.runtime.plans import Plans

EVERY = 1_000
"""Events between two marks, and those that are read at once."""
KEPT = 4
"""Executions whose marks are kept."""


class Leg(Struct, frozen=True):
    """The part of the way to an execution that one log tells: of a fork, those of its sources come before."""

    execution_id: UUID
    up_to: int | None
    """The version at which the next one goes on; None for the last."""
    first: Event


class Mark(Struct, frozen=True):
    """A place to fold on from."""

    leg: int
    version: int
    """Of the last event of the leg that was folded."""
    events: int
    """How many were, of all legs."""
    moments: int
    """At how many of them somebody can stop."""
    state: State
    plan: Plan | None
    """None before the execution has started."""


class Seen(NamedTuple):
    """One moment, its number, and what gives the outputs of steps that have left its state."""

    number: int
    moment: Moment
    outputs: Callable[[str], object]


class Way:
    """What is known of one execution."""

    def __init__(self, legs: Sequence[Leg]) -> None:
        self.legs = legs
        self.marks = [Mark(0, 0, 0, 0, INITIAL, None)]
        self.end = self.marks[0]
        self.growing = asyncio.Lock()

    def before(self, number: int) -> Mark:
        """Return the last mark that stands before the moment."""
        return self.marks[max(bisect_left(self.marks, number, key=lambda mark: mark.moments) - 1, 0)]


class Pages:
    """Reads moments. All methods raise ExecutionNotFound, Undecodable, and Rejected for one that has not started."""

    def __init__(self, history: History, plans: Plans) -> None:
        self._history = history
        self._plans = plans
        self._ways: OrderedDict[UUID, Way] = OrderedDict()

    async def page(self, execution_id: UUID, first: int, limit: int) -> tuple[list[Moment], int]:
        """Return the moments from the one with the number `first`, and how many there are in all."""
        way = await self._way(execution_id)
        return await self._page(way, first, limit), way.end.moments

    async def one(self, execution_id: UUID, number: int | None = None) -> Seen:
        """Return a moment, the newest if none is named. Raises UnknownName when there is none of this number."""
        way = await self._way(execution_id)
        number = way.end.moments if number is None else number
        found = await self._page(way, number, 1) if number > 0 else []
        if not found:
            raise UnknownName(f"there is no moment {number}; the execution has {way.end.moments}")
        outputs = await self._outputs(way, found[0])
        return Seen(number, found[0], outputs.__getitem__)

    async def _page(self, way: Way, first: int, limit: int) -> list[Moment]:
        mark, found = way.before(first), list[Moment]()
        count, number = mark.moments, mark.events
        async with aclosing(self._folded(way, mark)) as pages:
            async for _, taken in pages:
                here = [each for at, one in enumerate(taken, number) if (each := moment(at, one)) is not None]
                found += here[max(first - count - 1, 0) :]
                number, count = number + len(taken), count + len(here)
                if len(found) >= limit:
                    break
        return found[:limit]

    async def _way(self, execution_id: UUID) -> Way:
        """Return the way to the newest event."""
        legs = await self._legs(execution_id)
        way = self._ways.get(execution_id)
        if way is None or way.legs != legs:
            way = self._ways[execution_id] = Way(legs)
        self._ways.move_to_end(execution_id)
        while len(self._ways) > KEPT:
            self._ways.popitem(last=False)
        async with way.growing:
            async for end, _ in self._folded(way, way.end):
                way.end = end
                if end.events - way.marks[-1].events >= EVERY:
                    way.marks.append(end)
        if way.end.plan is None:
            raise Rejected("the execution has not started")
        return way

    async def _legs(self, execution_id: UUID, up_to: int | None = None) -> list[Leg]:
        first = await self._history.events(execution_id, up_to_version=1)
        if not first:
            self._ways.pop(execution_id, None)
            raise await self._history.missing(execution_id)
        event = first[0].event
        before = await self._legs(event.source, event.at_version) if isinstance(event, ExecutionForked) else []
        return [*before, Leg(execution_id, up_to, event)]

    async def _folded(self, way: Way, mark: Mark) -> AsyncGenerator[tuple[Mark, Sequence[Taken]]]:
        """Give what follows a mark, so many events at once, and the mark after them."""
        while True:
            leg = way.legs[mark.leg]
            last = mark.version + EVERY if leg.up_to is None else min(mark.version + EVERY, leg.up_to)
            page = await self._history.events(leg.execution_id, after_version=mark.version, up_to_version=last)
            if recorded := [(each.version, each.event) for each in page]:
                taken, mark = await self._taken(leg, mark, recorded)
                yield mark, taken
            elif mark.leg + 1 < len(way.legs):
                mark = Mark(mark.leg + 1, 0, mark.events, mark.moments, mark.state, mark.plan)
            else:
                return

    async def _taken(self, leg: Leg, mark: Mark, recorded: Sequence[tuple[int, Event]]) -> tuple[Sequence[Taken], Mark]:
        plans = {
            event.definition: await self._plans.pinned(event.definition)
            for _, event in recorded
            if isinstance(event, PINNING)
        }
        rewound = {
            version: await self._history.load(leg.execution_id, up_to_version=version)
            for version, event in recorded
            if isinstance(event, ExecutionRewound)
        }
        try:
            return await asyncio.to_thread(_fold, mark, recorded, plans, rewound)  # so a daemon goes on meanwhile
        except (TypeError, KeyError) as error:
            raise misfit(leg.execution_id, error) from error

    async def _outputs(self, way: Way, found: Moment) -> dict[str, Json]:
        """Return what the steps have given that have left the moment's state, from the events before it."""
        wanted = {
            address for address, step in found.context.steps.items() if isinstance(step, Succeeded) and step.released
        }
        outputs: dict[str, Json] = {}
        legs = way.legs[: _leg_of(way, found) + 1]
        for leg in reversed(legs):
            high = found.version if leg is legs[-1] else leg.up_to or 0
            while wanted and high > 0:
                low = max(high - EVERY, 0)
                page = await self._history.events(leg.execution_id, after_version=low, up_to_version=high)
                for event in (each.event for each in reversed(page)):
                    address = getattr(event, "address", "")
                    if address in wanted and (given := output_in(event, address)) is not None:
                        outputs[address] = given
                        wanted.discard(address)
                high = low
        return outputs


def _leg_of(way: Way, found: Moment) -> int:
    """Return which leg a moment is of: each event of it is of the execution that its state tells."""
    ids = [leg.execution_id for leg in way.legs]
    return ids.index(found.context.execution_id)


def _fold(
    mark: Mark, recorded: Sequence[tuple[int, Event]], plans: Mapping[str, Plan], rewound: Mapping[int, State]
) -> tuple[Sequence[Taken], Mark]:
    """Return the events with the states around them, and the mark after them; those before the start are left out."""
    state, plan, taken = mark.state, mark.plan, list[Taken]()
    for version, event in recorded:
        before = state
        state = rewound[version] if isinstance(event, ExecutionRewound) else evolve(state, event)
        plan = plans[event.definition] if isinstance(event, PINNING) else plan
        if plan is not None:
            taken.append(Taken(plan, event, before, state))
    moments = mark.moments + sum(map(is_moment, taken))
    end = Mark(mark.leg, recorded[-1][0], mark.events + len(taken), moments, state, plan)
    return taken, end
