"""The fold's part for limits that executions share, and for executions that have not begun yet.

Comes from: `evolve`. Goes to: `state`.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from msgspec.structs import replace

from daemon.core import events as e
from daemon.core.evolve_turns import carried, left, put
from daemon.core.state import Limited, Queued, Retrying, Running, State
from daemon.core.state_limits import COLLECTING, Slots
from daemon.core.values import size_of

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping


def _asked(state: Running, event: e.SlotsAsked, version: int) -> Running:
    slots = Slots(event.slots, event.priority, event.at)
    if event.address:
        before = state.steps.get(event.address)
        step = Limited(event.at)
        if isinstance(before, Retrying | Queued):
            step = Limited(event.at, before.attempt, **carried(before))
        state = left(state, event.address, before)
        state = replace(state, steps=put(state, event.address, before, step))
    return replace(state, version=version, limited=state.limited.set(event.address, slots))


def _taken(state: Running, event: e.SlotsTaken, version: int) -> Running:
    limited = state.limited
    if event.address in limited:
        limited = limited.delete(event.address)
    holding = state.holding.set(event.address, Slots(event.slots, event.priority, event.at))
    return replace(state, version=version, limited=limited, holding=holding)


def _collected(state: Running, event: e.MessageCollected, version: int) -> Running:
    collected, messages = state.collected.set(version, event.input), state.messages.set(event.message, version)
    size = state.size + size_of(event.input)
    return replace(state, version=version, collected=collected, messages=messages, size=size)


def _began(state: Running, event: e.ExecutionBegan, version: int) -> Running:
    size = state.size - size_of(state.input) + size_of(event.input) - sum(map(size_of, state.collected.values()))
    return replace(
        state,
        version=version,
        input=event.input,
        collected=type(state.collected)(),
        holding=state.holding.delete(COLLECTING),
        size=size,
    )


LIMITS: Mapping[type[e.Event], Callable[[Running, Any, int], State]] = {
    e.SlotsAsked: _asked,
    e.SlotsTaken: _taken,
    e.MessageCollected: _collected,
    e.ExecutionBegan: _began,
}
