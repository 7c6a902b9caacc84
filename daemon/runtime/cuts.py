"""Where an execution can go on from: the ends of its decisions, found by how people name them.

A decision's events stand in the log side by side and share their time, so where the time changes one has ended for
certain; only what lies between two such places is decided again, to see where the others ended.

Comes from: `branches`. Goes to: `history`, daemon/core/redeciding.
"""

from __future__ import annotations

from datetime import datetime
from typing import TYPE_CHECKING
from uuid import UUID

from msgspec import Struct
from msgspec.structs import replace

from daemon.core import events as e
from daemon.core.address import renamed
from daemon.core.commands import Command
from daemon.core.errors import Rejected
from daemon.core.problems import did_you_mean
from daemon.core.redeciding import Redecided, redecide
from daemon.core.state import Running

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from daemon.core.state import State
    from daemon.runtime.checkpoints import Checkpoints
    from daemon.runtime.history import History
    from daemon.runtime.ports import Pinned
    from eventstore.log import Recorded

BEFORE, AFTER, CHECKPOINT = "before:", "after:", "checkpoint:"
PAGE = 200
"""Events read at once to find the end of a decision."""


class Cut(Struct, frozen=True):
    """The end of a decision."""

    execution_id: UUID
    """Of the log that it lies in: that of the source, when it was asked for in a fork and is older than the fork."""
    version: int
    at: datetime
    """Of its last event."""
    again: Command | None = None
    """What was decided next, where it is to be decided again."""
    down_to: int = 0
    """The last version of that decision; else its own."""


class Cuts:
    """Finds cuts in the executions of one log."""

    def __init__(self, history: History, plans: Pinned, checkpoints: Checkpoints) -> None:
        self._history = history
        self._plans = plans
        self._checkpoints = checkpoints

    async def find(self, execution_id: UUID, where: str) -> Cut:
        """Return the cut that `where` names: a version, a time, `before:STEP`, `after:STEP` or `checkpoint:NAME`.

        A version or a time inside of a decision is that decision's end. Steps that a rewind has left behind do not
        count. Raises Rejected for what is not there.
        """
        if where.startswith(BEFORE):
            return await self._before(execution_id, where.removeprefix(BEFORE))
        if where.startswith(AFTER):
            found = await self._ended(execution_id, where.removeprefix(AFTER))
            return await self._end_of(found.execution_id, found.version)
        if where.startswith(CHECKPOINT):
            name = where.removeprefix(CHECKPOINT)
            return await self._end_of(execution_id, await self._checkpoints.version_of(execution_id, name))
        if where.isdecimal():
            return await self._end_of(execution_id, int(where))
        return await self._at(execution_id, _time(where))

    async def command_after(self, execution_id: UUID, version: int) -> Command | None:
        """Return what was decided next; None when the log does not tell it."""
        return (await self._decision(execution_id, version + 1)).command

    async def _before(self, execution_id: UUID, step: str) -> Cut:
        began = await self._began(execution_id, step)
        decision = await self._decision(began.execution_id, began.version)
        version = decision.before.version
        if not version or isinstance(decision.events[0], e.ExecutionForked):
            return await self._end_of(began.execution_id, began.version)  # its first steps begin again from there
        if isinstance(rewound := decision.events[0], e.ExecutionRewound):
            cut = await self._end_of(began.execution_id, rewound.to_version)
            return replace(
                cut, again=await self.command_after(cut.execution_id, cut.version), down_to=decision.after.version
            )
        if decision.command is None:
            raise Rejected(f"the log does not tell what led to {step}: go back to a version before {began.version}")
        [last] = await self._history.events(began.execution_id, after_version=version - 1, up_to_version=version)
        return Cut(began.execution_id, version, last.event.at, decision.command, decision.after.version)

    async def _began(self, execution_id: UUID, step: str) -> Recorded:
        """Return the first event of the step, of those that count: in these each step begins once."""
        found: dict[str, Recorded] = {}
        for address, recorded in _by_address(await self._history.timeline(execution_id)):
            found.setdefault(address, recorded)
        return _named(found, step)

    async def _ended(self, execution_id: UUID, step: str) -> Recorded:
        ends = e.StepSucceeded | e.StepCached | e.StepFailed | e.StepSkipped
        timeline = await self._history.timeline(execution_id)
        return _named({address: each for address, each in _by_address(timeline) if isinstance(each.event, ends)}, step)

    async def _at(self, execution_id: UUID, time: datetime) -> Cut:
        timeline = await self._history.timeline(execution_id)
        by_then = [recorded for recorded in timeline if recorded.event.at <= time]
        if not by_then:
            raise Rejected(f"there was no execution {execution_id} at {time.isoformat()}")
        return await self._end_of(by_then[-1].execution_id, by_then[-1].version)

    async def _end_of(self, execution_id: UUID, version: int) -> Cut:
        decision = await self._decision(execution_id, version)
        version = decision.after.version
        return Cut(execution_id, version, decision.events[-1].at, down_to=version)

    async def _decision(self, execution_id: UUID, version: int) -> Redecided:
        """Return the decision that the event of this version is of."""
        if version < 1:
            raise Rejected("versions begin at 1")
        around = await self._around(execution_id, version)
        first = around[0].version
        state = await self._history.load(execution_id, up_to_version=first - 1)
        events = [recorded.event for recorded in around]
        if any(isinstance(event, e.ExecutionForked | e.ExecutionRewound | e.ExecutionMigrated) for event in events):
            after = await self._history.load(execution_id, up_to_version=around[-1].version)
            return Redecided(None, frozenset(), state, tuple(events), after)
        plan = await self._plans.pinned(await self._definition(execution_id, state, around))
        for decision in redecide(plan, events, state):
            if first + len(decision.events) > version:
                return decision
            first += len(decision.events)
        raise Rejected(f"execution {execution_id} has no event {version}")

    async def _definition(self, execution_id: UUID, before: State, around: Sequence[Recorded]) -> str:
        if isinstance(before, Running):
            return before.definition
        first = around[0].event
        if isinstance(first, e.ExecutionStarted):
            return first.definition
        state = await self._history.load(execution_id)
        definition: str = getattr(state, "definition", "")
        return definition

    async def _around(self, execution_id: UUID, version: int) -> Sequence[Recorded]:
        """Return the events around a version from where a decision begins for certain to where one ends."""
        first, last = version, version
        while True:
            first, last = max(first - PAGE, 0), last + PAGE
            page = await self._history.events(execution_id, after_version=first, up_to_version=last)
            if not page or page[-1].version < version:
                raise Rejected(f"execution {execution_id} has no event {version}")
            place = version - page[0].version
            begins = next((at for at in range(place, 0, -1) if page[at].event.at != page[at - 1].event.at), 0)
            after = (at for at in range(place + 1, len(page)) if page[at].event.at != page[at - 1].event.at)
            ends = next(after, len(page))
            whole = (begins or not first) and (ends < len(page) or page[-1].version < last)
            if whole:
                return page[begins:ends]


def _by_address(timeline: Iterable[Recorded]) -> list[tuple[str, Recorded]]:
    """Return the events of steps with the addresses that these have at last: a migration may give others."""
    found: list[tuple[str, Recorded]] = []
    for recorded in timeline:
        if isinstance(migrated := recorded.event, e.ExecutionMigrated):
            found = [(renamed(address, migrated.names), each) for address, each in found]
        if address := getattr(recorded.event, "address", ""):
            found.append((address, recorded))
    return found


def _named(found: dict[str, Recorded], step: str) -> Recorded:
    if step not in found:
        raise Rejected(f"there is no step {step!r}; {did_you_mean(step, found)}")
    return found[step]


def _time(where: str) -> datetime:
    try:
        time = datetime.fromisoformat(where)
    except ValueError:
        time = None
    if time is None or time.tzinfo is None:
        raise Rejected(
            f"{where!r} is no place in an execution: write a version, a time such as 2026-03-01T14:05:00Z, "
            "before:STEP, after:STEP or checkpoint:NAME"
        )
    return time
