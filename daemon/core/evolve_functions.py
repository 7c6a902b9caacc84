"""The fold's part for durable functions: which of their calls are open, and which results they have not seen yet.

Comes from: `evolve`. Goes to: `state`.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from msgspec.structs import replace

from daemon.core import events as e
from daemon.core.address import stands_in, turn_around, turn_of
from daemon.core.evolve_turns import kept_by, left, put, without_calls
from daemon.core.state import Journal, Repeating, Running, State, Turn
from daemon.core.values import NULL

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping


def _function_started(state: Running, event: e.FunctionStarted, version: int) -> Running:
    """Begin the journal: the one turn of the function's node."""
    journal, before = turn_of(event.address, 0), state.steps.get(event.address)
    state = left(state, event.address, before)
    repeating = Repeating(items=None, total=1, first=0, step=1, collect=False, since=event.at, begun=1, running=1)
    return replace(
        state,
        version=version,
        steps=put(state, event.address, before, repeating).set(journal, Turn(event.at)),
        functions=state.functions.set(journal, Journal(function=event.function, input=event.input)),
        advancing=state.advancing.set(journal, 0),
    )


def _function_advanced(state: Running, event: e.FunctionAdvanced, version: int) -> Running:
    """Let the results go that the function has now seen, and the calls that it has given up; note its new ones."""
    address = event.address
    turn = state.steps.get(address)
    if not isinstance(turn, Turn):
        raise TypeError(f"{address} is no journal that is under way")
    journal = state.functions[address]
    count = event.seen - journal.seen
    gone, rest = (*journal.done[:count], *event.cancelled), journal.done[count:]
    for cancelled in event.cancelled:
        state = left(state, cancelled, state.steps[cancelled])
    steps, size = state.steps.mutate(), state.size
    for each in gone:
        size -= kept_by(steps[each])
        del steps[each]
    let_go = frozenset(gone)
    members = tuple(member for member in turn.members if member not in let_go) if gone else turn.members
    steps[address] = Turn(turn.since, turn.open - len(event.cancelled), members)
    calls = without_calls(state, gone).mutate()
    for call in event.calls:
        calls[f"{address}.{call.id}"] = call
    number = journal.number + 1
    journal = replace(journal, number=number, seen=event.seen, done=rest, input=NULL)
    return replace(
        state,
        version=version,
        steps=steps.finish(),
        size=size,
        calls=calls.finish(),
        functions=state.functions.set(address, journal),
        advancing=state.advancing.set(address, number) if rest else state.advancing.delete(address),
    )


def _function_diverged(state: Running, event: e.FunctionDiverged, version: int) -> Running:
    journal = replace(state.functions[event.address], diverged=True)
    functions, advancing = state.functions.set(event.address, journal), state.advancing.delete(event.address)
    return replace(state, version=version, functions=functions, advancing=advancing)


def resumed(state: Running) -> Running:
    """Return the state in which the functions that have diverged are tried again."""
    for address, journal in state.functions.items():
        if journal.diverged:
            functions = state.functions.set(address, replace(journal, diverged=False))
            state = replace(state, functions=functions, advancing=state.advancing.set(address, journal.number))
    return state


def without_functions(state: Running, scope: str) -> Running:
    """Return the state in which no function of the scope goes on."""
    functions, advancing = state.functions, state.advancing
    for address in [address for address in functions if stands_in(address, scope)]:
        functions = functions.delete(address)
        advancing = advancing.delete(address) if address in advancing else advancing
    return replace(state, functions=functions, advancing=advancing)


def noted(fold: Callable[[Running, Any, int], Running]) -> Callable[[Running, Any, int], Running]:
    """Return the fold of an event by which a step settles, with what it means to the function that has called it."""

    def noting(state: Running, event: e.StepSucceeded | e.StepFailed, version: int) -> Running:
        after = fold(state, event, version)
        if not after.functions or (isinstance(event, e.StepFailed) and event.retry_at is not None):
            return after
        around = turn_around(event.address)
        if (journal := after.functions.get(around)) is None:
            return after
        journal = replace(journal, done=(*journal.done, event.address))
        advancing = after.advancing if journal.diverged else after.advancing.set(around, journal.number)
        return replace(after, functions=after.functions.set(around, journal), advancing=advancing)

    return noting


FUNCTIONS: Mapping[type[e.Event], Callable[[Running, Any, int], State]] = {
    e.FunctionStarted: _function_started,
    e.FunctionAdvanced: _function_advanced,
    e.FunctionDiverged: _function_diverged,
}
