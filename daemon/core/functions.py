"""Durable functions: code that the shell runs and replays, journaled as steps of one node.

The core does not know the code. It is told what the function has called until it could not go on (`AdvanceFunction`),
begins those calls as steps, and owes the function another advance whenever one of them settles. So what the function
waits for is recorded, and its steps, sleeps and signals are retried, undone, traced and explained as any others.

Comes from: `walk`, `decide`. Goes to: `draft`, `settling`.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from daemon.core import events as e
from daemon.core import saga
from daemon.core.address import split_turn
from daemon.core.settling import cancel_timers, fail, fail_turn, leave_turn, succeed, too_large
from daemon.core.state import Settled, Turn
from daemon.core.values import NULL, to_json

if TYPE_CHECKING:
    from collections.abc import Iterable

    from daemon.core.commands import AdvanceFunction, StopFunction
    from daemon.core.draft import Draft
    from daemon.core.node import RunFunction
    from daemon.core.state import Journal

ACTOR = "sagad"


def start(draft: Draft, address: str, ask: RunFunction) -> None:
    """Begin the function's journal: its first advance is owed then."""
    sent = to_json(ask.input)
    if (problem := too_large(draft, address, sent)) is not None:
        fail(draft, address, problem, retryable=False)
        return
    draft.emit(e.FunctionStarted(address=address, function=ask.function, input=sent, at=draft.at))


def advance(draft: Draft, command: AdvanceFunction) -> None:
    """Record how far the function has come, begin what it has called, and end it if it has ended."""
    if _journal(draft, command) is None:
        return
    address, ended = command.address, command.outcome is not None
    turn = draft.running.steps[address]
    open_calls = turn.members if isinstance(turn, Turn) and ended else command.cancelled
    draft.emit(
        e.FunctionAdvanced(
            address=address,
            seen=command.seen,
            calls=command.calls if not ended else (),
            cancelled=tuple(_given_up(draft, open_calls)),
            drawn=command.drawn,
            at=draft.at,
        )
    )
    match command.outcome:
        case None:
            draft.ready.extend(f"{address}.{call.id}" for call in command.calls)
            if not command.calls and _waits_for_nothing(draft, address):
                message = "the function waits for something that is no call of its own: nothing can wake it"
                fail_turn(draft, address, e.StepError(message, "stuck"))
        case e.StepError():
            fail_turn(draft, address, command.outcome)
        case output:
            leave_turn(draft, address)
            draft.emit(e.TurnSucceeded(address=address, output=NULL, at=draft.at))
            succeed(draft, split_turn(address)[0], output)


def stop(draft: Draft, command: StopFunction) -> None:
    """Record that the code does not fit the journal, and pause the execution: nothing of it is harmed."""
    journal = _journal(draft, command)
    if journal is None:
        return
    draft.emit(
        e.FunctionDiverged(
            address=command.address,
            version=command.version,
            recorded=command.recorded,
            found=command.found,
            place=command.place,
            at=draft.at,
        )
    )
    if draft.running.paused is None:
        place = f" ({command.place})" if command.place else ""
        what = f"event {command.version} says: {command.recorded}; the code says: {command.found}{place}"
        reason = f"the durable function {journal.function} at {command.address} has changed: {what}"
        draft.emit(e.ExecutionPaused(reason=reason, actor=ACTOR, at=draft.at))


def _journal(draft: Draft, command: AdvanceFunction | StopFunction) -> Journal | None:
    """Return the journal that a command is about; None when that has gone on, or is not to go on any more."""
    owed = draft.running.advancing.get(command.address) == command.number
    return draft.running.functions[command.address] if owed else None


def _given_up(draft: Draft, addresses: Iterable[str]) -> Iterable[str]:
    """Give those of the calls that are open, without their timers. One that may have taken effect fails instead."""
    for address in addresses:
        if not isinstance(draft.running.steps.get(address), (*Settled, type(None))):
            cancel_timers(draft, address)
            if not saga.settle_doubt(draft, address):
                yield address


def _waits_for_nothing(draft: Draft, address: str) -> bool:
    turn = draft.running.steps[address]
    return isinstance(turn, Turn) and not turn.open and address not in draft.running.advancing
