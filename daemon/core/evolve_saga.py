"""The fold's part for sagas: what is owed, and what of it is undone.

Comes from: `evolve`. Goes to: `state`.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from msgspec.structs import replace

from daemon.core import events as e
from daemon.core.address import LOOKUP, UNDO, stands_in
from daemon.core.evolve_functions import without_functions
from daemon.core.evolve_turns import kept_by, left, put
from daemon.core.state import (
    Abandoned,
    Ask,
    Failed,
    Finished,
    Owed,
    Repeating,
    Running,
    Settled,
    Skipped,
    State,
    Succeeded,
    Turn,
    Undoing,
)
from daemon.core.values import NULL, size_of

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping
    from datetime import datetime


def newest_first(state: Running | Finished) -> Iterator[tuple[int, Owed]]:
    """Give what is owed, each with its version."""
    version = state.newest_owed
    while version:
        owed = state.owed[version]
        yield version, owed
        version = owed.older


def _owed(state: Running, event: e.CompensationOwed, version: int) -> Running:
    step = state.steps.get(event.address)
    if isinstance(step, Succeeded | Failed):
        effect = step.version
    elif event.child is not None:  # its step was given up before it had ended
        effect = version
    else:
        raise TypeError(f"{event.address} has had no effect that could be undone")
    owed = Owed(
        event.address,
        event.began,
        event.kind,
        event.unknown,
        event.input,
        event.secrets,
        event.problem,
        state.newest_owed,
        event.child,
        event.looks_up,
        event.lookup,
        event.lookup_secrets,
        event.sent,
    )
    size = state.size + size_of(event.input)
    return replace(state, version=version, owed=state.owed.set(effect, owed), newest_owed=effect, size=size)


def _looked_up(state: Running, event: e.EffectLookedUp, version: int) -> Running:
    state = replace(state, version=version)
    if not event.found:
        state = replace(state, steps=state.steps.set(event.address + UNDO, Skipped(event.at)))
        return without_owed(state, event.address)
    effect, owed = next(item for item in newest_first(state) if item[1].address == event.address)
    size = state.size + size_of(event.input) - size_of(owed.input)
    known = replace(owed, unknown=False, input=event.input, secrets=event.secrets, problem=event.problem)
    return replace(state, owed=state.owed.set(effect, known), size=size)


def _undo_planned(state: Running, event: e.UndoPlanned, version: int) -> Running:
    """Give up all that is under way in the scope but what drains. Turns stay as they are: nothing begins in them."""
    for address, step in sorted(state.steps.items()):
        if isinstance(step, (*Settled, Turn, Repeating)) or address in event.draining or address.endswith(UNDO):
            continue
        if stands_in(address, event.scope):
            state = left(state, address, step)
            state = replace(state, steps=put(state, address, step, Abandoned(event.at)))
    state = without_functions(state, event.scope)
    undoing = Undoing(
        status=event.status,
        mode=event.mode,
        error=event.error,
        failed_step=event.failed_step,
        reason=event.reason,
        since=event.at,
        down_to=event.down_to,
    )
    groups = state.groups
    for group in [group for group in groups if stands_in(group, event.scope)]:
        groups = groups.delete(group)  # what it owes is undone with all around it
    if event.scope:
        return replace(state, version=version, groups=groups.set(event.scope, undoing))
    return replace(state, version=version, undoing=undoing, groups=groups)


def _asked(state: Running, event: e.ManualActionRequested, version: int) -> Running:
    asking = state.asking.set(event.address, Ask(event.kind, event.message, version, event.at))
    return replace(state, version=version, asking=asking)


def _decided(state: Running, event: e.ManualActionDone, version: int) -> Running:
    ask = state.asking[event.address]
    state = replace(state, version=version, asking=state.asking.delete(event.address))
    if ask.kind == "plan":
        return _nothing_owed(state, event.address, event.at) if event.choice == "skip" else state
    if event.choice in {"go", "retry"}:
        return _cleared(state, event.address)
    by_hand = event.choice == "done"
    step = Succeeded(NULL, "out", 0, version, event.at) if by_hand else Skipped(event.at)
    before = state.steps.get(event.address + UNDO)
    size = state.size + kept_by(step) - (kept_by(before) if before is not None else 0)
    state = replace(state, steps=state.steps.set(event.address + UNDO, step), size=size)
    state = _counted(state, event.address, "by_hand" if by_hand else "skipped")
    return without_owed(state, event.address)


def _cleared(state: Running, address: str) -> Running:
    """Let the compensation run, or run again: what is left of the attempts before is their number."""
    version, owed = next(item for item in newest_first(state) if item[1].address == address)
    before, steps = state.steps.get(address + UNDO), state.steps
    if isinstance(before, Failed):
        owed, steps = replace(owed, attempts=before.error.attempt), steps.delete(address + UNDO)
        state = replace(state, size=state.size - kept_by(before))
    return replace(state, steps=steps, owed=state.owed.set(version, replace(owed, cleared=True)))


def _undo_completed(state: Running, event: e.UndoCompleted, version: int) -> Running:
    groups = state.groups.delete(event.scope) if event.scope else state.groups
    rewinding = state.rewinding
    if rewinding is not None and not event.scope:
        rewinding = replace(rewinding, ready=True)
    return replace(state, version=version, groups=groups, rewinding=rewinding)


def compensated(state: Running, address: str) -> Running:
    """Return the state after the compensation at this address has succeeded."""
    address = address.removesuffix(UNDO)
    return without_owed(_counted(state, address, "compensated"), address)


def _counted(state: Running, address: str, name: str, count: int = 1) -> Running:
    """Count what became of an effect, where that is being undone: a group that was given up is not counted."""
    groups = [group for group in state.groups if stands_in(address, group)]
    scope = max(groups, key=len, default="")
    undoing = state.groups[scope] if scope else state.undoing
    if undoing is None:
        return state
    undoing = replace(undoing, **{name: getattr(undoing, name) + count})
    if scope:
        return replace(state, groups=state.groups.set(scope, undoing))
    return replace(state, undoing=undoing)


def without_owed(state: Running, address: str) -> Running:
    """Return the state without what is owed for the step. It is among the newest: those may be undone in any order."""
    newer = 0
    for version, owed in newest_first(state):
        if owed.address == address:
            rest, size = state.owed.delete(version), state.size - size_of(owed.input)
            if not newer:
                return replace(state, owed=rest, newest_owed=owed.older, size=size)
            return replace(state, owed=rest.set(newer, replace(rest[newer], older=owed.older)), size=size)
        newer = version
    raise TypeError(f"nothing is owed for {address}")


def _nothing_owed(state: Running, scope: str, at: datetime) -> Running:
    """Return the state without what is owed in the scope: a person leaves it as it is.

    A compensation that has begun, in a group that was being undone, is under way all the same, and stays owed.
    """
    skipped = 0
    for _, owed in list(newest_first(state)):
        address, undo = owed.address, state.steps.get(owed.address + UNDO)
        if not stands_in(address, scope) or not (undo is None or isinstance(undo, Settled)):
            continue
        lookup = state.steps.get(address + LOOKUP)
        if lookup is not None and not isinstance(lookup, Settled):
            state = left(state, address + LOOKUP, lookup)
            state = replace(state, steps=state.steps.set(address + LOOKUP, Abandoned(at)))
        if address in state.asking:
            state = replace(state, asking=state.asking.delete(address))
        state, skipped = without_owed(state, address), skipped + 1
    return _left(_counted(state, scope, "skipped", skipped), scope)


def _left(state: Running, scope: str) -> Running:
    """Note that the plan leaves all as it is; that of a group may be a part of that of the execution by now."""
    if scope and scope not in state.groups:
        return state
    if scope:
        return replace(state, groups=state.groups.set(scope, replace(state.groups[scope], left=True)))
    return replace(state, undoing=None if state.undoing is None else replace(state.undoing, left=True))


SAGA: Mapping[type[e.Event], Callable[[Running, Any, int], State]] = {
    e.CompensationOwed: _owed,
    e.EffectLookedUp: _looked_up,
    e.UndoPlanned: _undo_planned,
    e.ManualActionRequested: _asked,
    e.ManualActionDone: _decided,
    e.UndoCompleted: _undo_completed,
}
