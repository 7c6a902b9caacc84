"""The fold's part for breakpoints.

Comes from: `evolve`. Goes to: `state`.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from msgspec.structs import replace

from daemon.core import events as e
from daemon.core.address import turn_around
from daemon.core.state import Limited, Queued, Running, State
from daemon.core.state_breaks import Breaking, Stop
from daemon.core.values import size_of

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

NONE = Breaking()
MOVES = frozenset({"over", "into", "out"})


def depth_at(address: str) -> int:
    """Return how many turns of loops and fan-outs stand around a step."""
    return turn_around(address).count("[")


def _set(state: Running, event: e.BreakpointsSet, version: int) -> Running:
    before = state.breaking or NONE
    moving = "into" if event.next else before.moving
    breaking = replace(before, breakpoints=event.breakpoints, moving=moving, actor=event.actor)
    return replace(state, version=version, breaking=_kept(state, breaking))


def _hit(state: Running, event: e.BreakpointHit, version: int) -> Running:
    breaking, step = state.breaking or NONE, state.steps.get(event.address)
    if not isinstance(step, Queued):
        raise TypeError(f"{event.address} is stopped at, but does not wait to begin")
    stop = Stop(
        address=event.address,
        version=version,
        breakpoint=event.breakpoint,
        actor=breaking.actor,
        since=event.at,
        error=event.error,
        attempt=event.attempt,
        begun=event.begun,
        unknown=event.unknown,
    )
    alone = event.breakpoint is not None and not (event.breakpoint.node or event.breakpoint.errors)
    left = tuple(each for each in breaking.breakpoints if not (alone and each == event.breakpoint))
    breaking = replace(breaking, stops=(*breaking.stops, stop), breakpoints=left, moving="")
    doubted = replace(step, doubt=step.doubt or event.unknown)
    return replace(state, version=version, breaking=breaking, steps=state.steps.set(event.address, doubted))


def _left(state: Running, event: e.BreakpointLeft, version: int) -> Running:
    before = state.breaking or NONE
    breaking = replace(
        before,
        stops=tuple(each for each in before.stops if each.version != event.stop),
        passed=(*before.passed, event.address),
        moving=event.how if event.how in MOVES else before.moving,
        depth=depth_at(event.address),
        actor=event.actor if event.how in MOVES else before.actor,
    )
    return replace(state, version=version, breaking=_kept(state, breaking))


def _kept(state: Running, breaking: Breaking) -> Breaking | None:
    """Return what of it is still of use; None for nothing."""

    def waits(address: str) -> bool:
        return isinstance(state.steps.get(address), Queued | Limited)

    breaking = replace(
        breaking,
        stops=tuple(each for each in breaking.stops if waits(each.address)),
        passed=tuple(filter(waits, breaking.passed)),
        edited=tuple(filter(waits, breaking.edited)),
    )
    used = breaking.breakpoints or breaking.moving or breaking.stops or breaking.passed
    return breaking if used else None


def _edited(state: Running, event: e.BreakpointEdited, version: int) -> Running:
    before, size = state.breaking or NONE, state.size
    for name, value in event.variables.items():
        size += size_of(value) - (size_of(state.variables[name]) if name in state.variables else 0)
    state = replace(state, version=version, size=size, variables=state.variables.update(event.variables))
    step = state.steps.get(event.address)
    if event.input is None or not isinstance(step, Queued):
        return state
    steps = state.steps.set(event.address, replace(step, input=event.input.value, secrets=()))
    edited = dict.fromkeys((*before.edited, event.address))
    return replace(state, steps=steps, breaking=replace(before, edited=tuple(edited)))


BREAKS: Mapping[type[e.Event], Callable[[Running, Any, int], State]] = {
    e.BreakpointsSet: _set,
    e.BreakpointHit: _hit,
    e.BreakpointLeft: _left,
    e.BreakpointEdited: _edited,
}
