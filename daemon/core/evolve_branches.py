"""The fold's part for forks and rewinds: going on from a state of the past.

Comes from: `evolve`, `branching`. Goes to: `state`.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from msgspec.structs import replace

from daemon.core import events as e
from daemon.core.address import LOOKUP, UNDO
from daemon.core.evolve_children import reopened
from daemon.core.evolve_functions import resumed
from daemon.core.evolve_turns import put
from daemon.core.people import Suspended
from daemon.core.renaming import renamed_state
from daemon.core.state import (
    Abandoned,
    Finished,
    InFlight,
    Limited,
    Queued,
    Repeating,
    Retrying,
    Rewinding,
    Running,
    Settled,
    State,
    Succeeded,
    Turn,
)
from daemon.core.values import size_of

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence
    from typing import TypeAlias

    from immutables import Map

    from daemon.core.state import Signal, Step

    Evolve: TypeAlias = Callable[[State, e.Event], State]

_UNDER_WAY = (InFlight, Retrying, Queued, Limited, Suspended)
_SENT = (e.SignalReceived, e.ResumeReceived)
_PAUSES = (e.ExecutionPaused, e.ExecutionResumed, e.BreakpointsSet)


def forked(base: Running, event: e.ExecutionForked) -> Running:
    """Return the fork at its first event; `base` is the state of its source after the version that it was forked at."""
    signals = {signal_id: _before(signal, event.at_version) for signal_id, signal in base.signals.items()}
    state = replace(
        base,
        version=1,
        execution_id=event.execution_id,
        definition=event.definition,
        parent=None,
        started_at=event.at,
        steps=_as_begun_before(base.steps),
        signals=base.signals.update(signals),
        holding=type(base.holding)(),
        leaving=type(base.leaving)(),
        owed=type(base.owed)(),
        newest_owed=0,
        paused=None,
        breaking=None,
        keys=_kept_keys(base),
        size=base.size - sum(size_of(owed.input) for owed in base.owed.values()),
    )
    return _edited(resumed(state), event.edits)


def _before(signal: Signal, at_version: int) -> Signal:
    """Return the signal as one that came before all of the fork's own events, in the order in which it came."""
    return replace(signal, version=signal.version - at_version)


def _as_begun_before(steps: Map[str, Step]) -> Map[str, Step]:
    """Return the steps, those under way as begun before all that the fork does."""
    return steps.update(
        {address: replace(step, began=0) for address, step in steps.items() if isinstance(step, _UNDER_WAY)}
    )


def _kept_keys(base: Running) -> Map[str, str]:
    """Return the keys, with those of steps that are under way: a service that knows these is not to do it again."""
    return base.keys.update(
        {
            address: base.keys.get(address, str(base.execution_id))
            for address, step in base.steps.items()
            if isinstance(step, _UNDER_WAY) and (isinstance(step, InFlight) or step.attempt > 1 or step.began > 0)
        }
    )


def _edited(state: Running, edits: e.Edits) -> Running:
    steps, size = state.steps, state.size
    for address, edit in edits.steps.items():
        if isinstance(step := steps.get(address), Succeeded):
            size += size_of(edit.output) - size_of(step.output)
            steps = steps.set(address, replace(step, output=edit.output, released=False))
    replaced = [state.variables[name] for name in edits.variables if name in state.variables]
    given = state.input if edits.input is None else edits.input.value
    size += sum(map(size_of, edits.variables.values())) - sum(map(size_of, replaced))
    size += size_of(given) - size_of(state.input)
    return replace(state, steps=steps, variables=state.variables.update(edits.variables), input=given, size=size)


def rewound(
    base: State, between: Sequence[e.Event], event: e.ExecutionRewound, version: int, evolve: Evolve
) -> Running:
    """Return the execution when it goes on from `base`; `between` are its events since, in order.

    A step whose effect was undone in between has another idempotency key from now on: else a service would take its
    repetition for the call that was undone. Raises TypeError for a base that has not started or has ended.
    """
    state: State = base
    base_rewinds = base.rewinds if isinstance(base, Running) else 0
    for each in between:
        sent = event.keep_signals and isinstance(each, _SENT) and not _seen(state, each)
        if sent or isinstance(each, _PAUSES):
            state = evolve(state, each)
        elif isinstance(each, e.RewindRequested):
            state = _noted(state, each)
    if not isinstance(state, Running):
        raise TypeError("an execution is rewound to where it was under way")
    gone = {undone_by(each) or (each.address if isinstance(each, e.ChildStarted) else "") for each in between} - {""}
    theirs = (each for address in gone for each in (address, address + UNDO, address + LOOKUP))
    rewinds = base_rewinds + sum(isinstance(each, e.ExecutionRewound) for each in between) + 1
    renewed = dict.fromkeys(theirs, f"{state.execution_id}@{rewinds}")
    return replace(
        state,
        version=version,
        keys=state.keys.update(renewed),
        holding=type(state.holding)(),
        leaving=type(state.leaving)(),
        rewinding=None,
        rewinds=rewinds,
    )


def _seen(state: State, event: e.Event) -> bool:
    return isinstance(event, e.SignalReceived) and event.signal_id in state.seen


def undone_by(event: e.Event) -> str:
    """Return the address of the step whose effect is undone by the event; empty for none."""
    match event:
        case e.StepSucceeded(address=address) if address.endswith(UNDO) and not address.endswith(LOOKUP):
            return address.removesuffix(UNDO)
        case e.ManualActionDone(address=address, choice="done"):
            return address
        case _:
            return ""


def to_be_rewound(state: Running | Finished, event: e.RewindRequested) -> Running:
    """Return the execution, taken up again if it had ended, when somebody wants it to go on from its past."""
    if isinstance(state, Finished):
        running = _with_what_was_open(reopened(state, None), event)
    else:
        running = replace(state, version=state.version + 1)
    rewinding = Rewinding(event.to_version, event.again, event.keep_signals)
    return replace(running, rewinding=rewinding, seen=running.seen.set(rewind_key(event.rewind_id), True))  # noqa: FBT003  a set, spelt as a map


def rewind_key(rewind_id: str) -> str:
    """Return what a rewind is known by among all that was received; empty for one without an id."""
    return f"rewind {rewind_id}" if rewind_id else ""


def _noted(state: State, event: e.RewindRequested) -> State:
    seen = state.seen.set(rewind_key(event.rewind_id), True)  # noqa: FBT003  a set, spelt as a map
    return replace(state, seen=seen)


def _with_what_was_open(state: Running, event: e.RewindRequested) -> Running:
    """Return the execution with the handlers at work that were, and without all else that its end had cut off."""
    for address, step in sorted(state.steps.items()):
        if isinstance(step, InFlight) and step.child is None:
            state = replace(state, in_flight=state.in_flight.set(address, step.attempt))
        elif not isinstance(step, (*Settled, Turn, Repeating)):
            state = replace(state, steps=put(state, address, step, Abandoned(event.at)))
    return state


def _migrated(state: Running, event: e.ExecutionMigrated, version: int) -> State:
    """Return the execution under its other definition: all that is said of its nodes is under their ids of now."""
    state = replace(state, version=version, definition=event.definition)
    return renamed_state(state, event.names)


def _requested(state: Running, event: e.RewindRequested, _: int) -> Running:
    return to_be_rewound(state, event)


BRANCHES: Mapping[type[e.Event], Callable[[Running, Any, int], State]] = {
    e.RewindRequested: _requested,
    e.ExecutionMigrated: _migrated,
}
