"""Deciding a log again: where its decisions began and ended, and what another definition would have decided.

The events of a decision follow from the state before it, the definition, and the command, which the first of them tells
(see `recorded_commands`). So what is decided again under the definition that an execution is pinned to are the same
events, and where they end, the next decision begins. Under another definition the first event that is not the same is
where the two part.

Comes from: daemon/runtime, for what-if, forks and the deploy gate. Goes to: `decide`, `evolve`.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, TypeAlias

from msgspec import Struct
from msgspec.structs import replace

from daemon.core import events as e
from daemon.core.calls import node_at
from daemon.core.commands import Command, MigrateExecution
from daemon.core.decide import decision
from daemon.core.errors import Rejected
from daemon.core.evolve import evolve, fold
from daemon.core.recorded_commands import recorded_commands
from daemon.core.renaming import renamed_state, renamed_struct
from daemon.core.state import INITIAL, Running, State

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping, Sequence

    from daemon.core.plan import Plan, PlannedNode

Crowd: TypeAlias = frozenset[tuple[str, str]] | None
NO_OTHER: Mapping[str, Plan] = {}
NO_NAMES: Mapping[str, str] = {}
USUAL = 256
"""Events that one decision seldom has more of."""


class Redecided(Struct, frozen=True):
    """One decision of a log."""

    command: Command | None
    """None where the log does not tell it: the one event is a fact then, from which nothing follows."""
    crowded: Crowd
    """Limits and keys that others waited for; None for all."""
    before: State
    events: tuple[e.Event, ...]
    after: State


class Divergence(Struct, frozen=True):
    """The first event at which a log and what another definition decides are not the same."""

    version: int
    """Of the event."""
    command: Command | None
    recorded: e.Event | None
    """None where the log has no event more, or none for this decision."""
    found: e.Event | None
    """None where the other definition decides no event more."""
    reason: str = ""
    """Why the other definition refuses the command, or cannot be asked."""


def redecide(
    plan: Plan, events: Sequence[e.Event], state: State = INITIAL, later: Mapping[str, Plan] = NO_OTHER
) -> Iterator[Redecided]:
    """Give the decisions that the events record, in order; `events` follow `state`, and begin with a decision's first.

    `plan` is that of the first; `later` has those that the execution was migrated to, by hash. What was decided by a
    program that decided otherwise, or under a plan that is not there, is given event by event, without its command.
    """
    first, at = state, 0
    while at < len(events):
        if isinstance(migrated := events[at], e.ExecutionMigrated):
            plan = later.get(migrated.definition, plan)
        if isinstance(events[at], e.ExecutionRewound):
            found = Redecided(None, frozenset(), state, (events[at],), fold(events[: at + 1], first))
        else:
            found = _next(plan, events[at : at + USUAL], state)
            if found.command is None and len(events) - at > USUAL:
                found = _next(plan, events[at:], state)
        yield found
        state, at = found.after, at + len(found.events)


def _next(plan: Plan, events: Sequence[e.Event], state: State) -> Redecided:
    commands = recorded_commands(state, events, _nodes(plan, state))  # type: ignore[arg-type]  # what it reads is there
    tried = (_reproduced(plan, events, state, command) for command in commands)
    found = max((each for each in tried if each is not None), key=lambda each: len(each.events), default=None)
    return found or Redecided(None, frozenset(), state, (events[0],), evolve(state, events[0]))


def _reproduced(plan: Plan, events: Sequence[e.Event], state: State, command: Command) -> Redecided | None:
    """Return the decision when it gives the events that are recorded; limits are as crowded as those say."""
    found = _reproduced_where(plan, events, state, command, frozenset())
    if found is None and any(limit.skips for limit in plan.start.limits):
        return _reproduced_where(plan, events, state, command, None)  # another of a singleton was at work
    return found


def _reproduced_where(
    plan: Plan, events: Sequence[e.Event], state: State, command: Command, crowded: Crowd
) -> Redecided | None:
    while True:
        try:
            decided = decision(plan, state, command, crowded)
        except (Rejected, TypeError, KeyError):
            return None
        count = len(decided.events)
        if decided.events == tuple(events[:count]):
            return Redecided(command, crowded, state, decided.events, decided.state) if count else None
        asked = _asked_here(events, decided.events)
        if crowded is None or asked <= crowded:
            return None
        crowded |= asked


def _asked_here(recorded: Sequence[e.Event], decided: Sequence[e.Event]) -> frozenset[tuple[str, str]]:
    """Return the limits that were asked for where the decision takes them."""
    was, now = next(((was, now) for was, now in zip(recorded, decided, strict=False) if was != now), (None, None))
    if isinstance(was, e.SlotsAsked) and isinstance(now, e.SlotsTaken) and now.address == was.address:
        return frozenset((slot.limit, slot.key) for slot in was.slots)
    return frozenset()


def _nodes(plan: Plan, state: State) -> Callable[[str], PlannedNode | None]:
    def node(address: str) -> PlannedNode | None:
        try:
            return node_at(plan, state, address) if isinstance(state, Running) else None
        except KeyError:
            return None

    return node


def divergence(
    old: Plan, new: Plan, events: Sequence[e.Event], state: State = INITIAL, names: Mapping[str, str] = NO_NAMES
) -> Divergence | None:
    """Return where the definition of `new` would first have decided something else; None where nowhere in `events`.

    Both decide each command on the same state: that is the log's as long as they agree. `old` is what the execution is
    pinned to at the end: what it decided under another, before it was migrated, is not looked at. `names` has the old
    and the new ids of nodes that `new` calls otherwise.
    """
    begins = max((at for at, event in enumerate(events) if isinstance(event, e.ExecutionMigrated)), default=0)
    for recorded in redecide(old, events[begins:], fold(events[:begins], state)):
        version = recorded.before.version + 1
        if recorded.command is None or isinstance(recorded.command, MigrateExecution):
            continue
        before, command = recorded.before, recorded.command
        if names:
            before, command = renamed_state(before, names), renamed_struct(command, names)
        try:
            found = decision(new, before, command, recorded.crowded).events
        except Rejected as error:
            return Divergence(version, recorded.command, recorded.events[0], None, str(error))
        except (TypeError, KeyError) as error:
            reason = f"the state does not fit the definition: {error}"
            return Divergence(version, recorded.command, recorded.events[0], None, reason)
        for at in range(max(len(found), len(recorded.events))):
            was = recorded.events[at] if at < len(recorded.events) else None
            if names and was is not None:
                was = renamed_struct(was, names)
            now = found[at] if at < len(found) else None
            if was is None or now is None or _pinned(now, was) != was:
                return Divergence(version + at, recorded.command, was, now)
    return None


def _pinned(event: e.Event, other: e.Event) -> e.Event:
    """Return the event as if its definition were the other's: that the definitions differ is known."""
    if isinstance(event, e.ExecutionStarted) and isinstance(other, e.ExecutionStarted):
        return replace(event, definition=other.definition)
    return event
