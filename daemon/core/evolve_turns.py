"""The fold's part for turns of loops and fan-outs, and for the steps that stand in them.

Comes from: `evolve`. Goes to: `state`.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, assert_never

from msgspec import ValidationError
from msgspec.structs import replace

from daemon.core import events as e
from daemon.core.address import split_turn, stands_in, turn_around, turn_of
from daemon.core.people import Deciding, Suspended
from daemon.core.state import (
    Abandoned,
    Awaiting,
    Failed,
    InFlight,
    Limited,
    Queued,
    Repeating,
    Retrying,
    Running,
    Settled,
    Skipped,
    Sleeping,
    State,
    Step,
    Succeeded,
    Turn,
)
from daemon.core.values import NULL, Json, from_json_list, size_of

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Mapping

    from immutables import Map

    from daemon.core.function_events import Call
    from daemon.core.turn_events import Repeats


_CARRIED = ("input", "secrets", "state", "postponed", "began", "doubt", "cache_key", "resumed")


def put(state: Running, address: str, before: Step | None, step: Step) -> Map[str, Step]:
    """Return the steps with this one in its new condition, and the turn around it with its count."""
    steps = state.steps.set(address, step)
    around = turn_around(address)
    if not around:
        return steps
    turn = steps.get(around)
    if not isinstance(turn, Turn):
        raise TypeError(f"{address} stands in no turn")
    was_open = before is not None and not isinstance(before, Settled)
    is_open = not isinstance(step, Settled)
    members = turn.members if before is not None else (*turn.members, address)
    return steps.set(around, Turn(turn.since, turn.open + is_open - was_open, members))


def carried(step: InFlight | Retrying | Queued | Limited | Suspended) -> dict[str, Any]:
    """Return what the attempts of a step have in common."""
    return {name: getattr(step, name) for name in _CARRIED}


def kept_by(step: Step) -> int:
    """Return the bytes that the state holds for the step: its output, or its items."""
    match step:
        case Succeeded(output=output) | Failed(output=output):
            return size_of(output)
        case Repeating(items=tuple() as items, cursor=cursor):
            return sum(map(size_of, items)) + size_of(cursor)
        case _:
            return 0


def left(state: Running, address: str, step: Step | None) -> Running:
    """Return the state without what it kept for a step in its old condition."""
    if isinstance(step, InFlight):
        if address in state.holding:
            state = replace(state, holding=state.holding.delete(address))
        if step.child is not None:
            return replace(state, children=state.children.delete(address))
        return replace(state, in_flight=state.in_flight.delete(address))
    match step:
        case Limited():
            return state if address not in state.limited else replace(state, limited=state.limited.delete(address))
        case Queued():
            queue, first = state.queue.delete(step.ticket), state.first_ticket
            while first not in queue and first < state.next_ticket:
                first += 1
            return replace(state, queue=queue, first_ticket=first)
        case Retrying() | Sleeping():
            return replace(state, sleeping=state.sleeping - 1)
        case Awaiting():
            return replace(state, awaiting=state.awaiting.delete(address))
        case Deciding() | Suspended():
            return replace(state, people=state.people.delete(address))
        case Repeating():
            state = _without_turns(state, address, step)
            return replace(state, size=state.size - kept_by(step))
        case None:
            return state
        case Turn() | Succeeded() | Failed() | Skipped() | Abandoned():
            raise TypeError(f"{address} is settled and cannot change")
        case _:
            assert_never(step)


def _items(event: Repeats) -> tuple[Json, ...]:
    """Return what is repeated over; a list that is gone has as many items as it had, each what stands in its place."""
    given = event.items or NULL
    try:
        return tuple(from_json_list(given))
    except ValidationError:
        return (given,) * (event.total or 0)


def _repeats(state: Running, event: Repeats, version: int) -> Running:
    step = Repeating(
        items=() if event.paged else None if event.items is None else _items(event),
        paged=event.paged,
        total=event.total,
        first=event.first,
        step=event.step,
        collect=event.collect,
        since=event.at,
    )
    before = state.steps.get(event.address)
    state = left(state, event.address, before)
    steps = put(state, event.address, before, step)
    return replace(state, version=version, steps=steps, size=state.size + kept_by(step))


def _turn_started(state: Running, event: e.TurnStarted, version: int) -> Running:
    around, repeating = _repeating(state, event.address)
    repeating = replace(repeating, begun=repeating.begun + 1, running=repeating.running + 1)
    steps = state.steps.set(around, repeating).set(event.address, Turn(event.at))
    return replace(state, version=version, steps=steps)


def _turn_skipped(state: Running, event: e.TurnSkipped, version: int) -> Running:
    around, repeating = _repeating(state, event.address)
    steps = state.steps.set(around, replace(repeating, begun=repeating.begun + 1))
    return replace(state, version=version, steps=steps)


def _turn_succeeded(state: Running, event: e.TurnSucceeded, version: int) -> Running:
    _, repeating = _repeating(state, event.address)
    running, succeeded = repeating.running - 1, repeating.succeeded + 1
    kept = Succeeded(event.output, "out", 1, version, event.at) if repeating.collect else None
    repeating = replace(repeating, running=running, succeeded=succeeded, last=event.output)
    return _turn_over(state, event.address, kept, repeating, version)


def _turn_failed(state: Running, event: e.TurnFailed, version: int) -> Running:
    _, repeating = _repeating(state, event.address)
    kept = Failed(event.error, "", NULL, version, event.at) if repeating.collect else None
    repeating = replace(repeating, running=repeating.running - 1, failed=repeating.failed + 1)
    return _turn_over(state, event.address, kept, repeating, version)


def _turn_abandoned(state: Running, event: e.TurnAbandoned, version: int) -> Running:
    _, repeating = _repeating(state, event.address)
    repeating = replace(repeating, running=repeating.running - 1)
    return _turn_over(state, event.address, None, repeating, version)


def _repeating(state: Running, turn: str) -> tuple[str, Repeating]:
    """Return address and condition of the loop or fan-out that the turn belongs to."""
    address, _ = split_turn(turn)
    return address, state.repeating(address)


def _turn_over(state: Running, turn: str, kept: Step | None, repeating: Repeating, version: int) -> Running:
    """Return the state without the turn and all in it, but for what is kept of it."""
    state = _emptied(state, turn)
    for group in [group for group in state.groups if stands_in(group, turn)]:
        state = replace(state, groups=state.groups.delete(group))
    for address in [
        address for address, ask in state.asking.items() if ask.kind == "plan" and stands_in(address, turn)
    ]:
        state = replace(state, asking=state.asking.delete(address))
    steps, size = state.steps.delete(turn), state.size
    if kept is not None:
        steps, size = steps.set(turn, kept), size + kept_by(kept)
    return replace(state, version=version, steps=steps.set(split_turn(turn)[0], repeating), size=size)


def _emptied(state: Running, address: str) -> Running:
    """Return the state without the steps in a turn."""
    turn = state.steps.get(address)
    if not isinstance(turn, Turn):
        raise TypeError(f"{address} is no turn that is under way")
    for member in turn.members:
        step = state.steps[member]
        if isinstance(step, Repeating):
            state = _without_turns(state, member, step)
        elif not isinstance(step, Settled):
            state = left(state, member, step)
    if address in state.functions:
        functions = state.functions.delete(address)
        advancing = state.advancing.delete(address) if address in state.advancing else state.advancing
        state = replace(state, functions=functions, advancing=advancing)
    if state.calls:
        state = replace(state, calls=without_calls(state, turn.members))
    steps, size = state.steps.mutate(), state.size
    for member in turn.members:
        size -= kept_by(steps[member])
        del steps[member]
    return replace(state, steps=steps.finish(), size=size)


def without_calls(state: Running, addresses: Iterable[str]) -> Map[str, Call]:
    """Return the calls of durable functions without these; those that can be undone stay."""
    calls = state.calls
    for address in addresses:
        if address in calls and not calls[address].undoable:
            calls = calls.delete(address)
    return calls


def _without_turns(state: Running, address: str, repeating: Repeating) -> Running:
    """Return the state without the turns of a loop or fan-out, those under way among them."""
    if not repeating.collect and not repeating.running:
        return state
    for index in range(repeating.begun):
        turn = turn_of(address, index)
        step = state.steps.get(turn)
        if isinstance(step, Turn):
            state = _emptied(state, turn)
        if step is not None:
            state = replace(state, steps=state.steps.delete(turn), size=state.size - kept_by(step))
    return state


TURNS: Mapping[type[e.Event], Callable[[Running, Any, int], State]] = {
    e.LoopStarted: _repeats,
    e.FanOutExpanded: _repeats,
    e.SagaStarted: _repeats,
    e.TurnStarted: _turn_started,
    e.TurnSkipped: _turn_skipped,
    e.TurnSucceeded: _turn_succeeded,
    e.TurnFailed: _turn_failed,
    e.TurnAbandoned: _turn_abandoned,
}
