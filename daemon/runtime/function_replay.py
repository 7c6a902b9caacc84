"""Replaying a durable function: from what the log says it has done, to a machine that stands where it stood.

Each advance that was recorded is made again, with the results and the draws that it had then, and what the code calls
is compared with what it called. The first difference ends the replay: the code has changed. Then nothing has been done,
and both sides are told.

Comes from: `functions`. Goes to: `function_machine`.
"""

from __future__ import annotations

from collections.abc import Sequence
from itertools import zip_longest
from typing import TYPE_CHECKING

from msgspec import Struct

from daemon.core import events as e
from daemon.core.address import split_turn, turn_around
from daemon.core.values import NULL, Json, from_json
from daemon.runtime.function_machine import Mismatch, Result

if TYPE_CHECKING:
    from collections.abc import Callable

    from daemon.core.function_events import Call
    from daemon.runtime.function_machine import Advanced, Machine
    from eventstore.log import Recorded

MAX_SHOWN = 200
"""Characters of an input that a message shows."""


class Diverged(Struct, frozen=True):
    """The code differs from the log, first at this event."""

    version: int
    mismatch: Mismatch


class Story(Struct, frozen=True):
    """What the log says of one function."""

    function: str
    input: Json
    results: Sequence[Result]
    """In the order of their events."""
    advances: Sequence[tuple[int, e.FunctionAdvanced]]
    """Each with its event's version."""


def story_of(journal: str, history: Sequence[Recorded]) -> Story:
    """Read the events of one function, by the address of its journal."""
    function, sent = "", NULL
    results: list[Result] = []
    advances: list[tuple[int, e.FunctionAdvanced]] = []
    start = split_turn(journal)[0]
    for recorded in history:
        match recorded.event:
            case e.FunctionStarted(address=address) as event if address == start:
                function, sent = event.function, event.input
            case e.FunctionAdvanced(address=address) as event if address == journal:
                advances.append((recorded.version, event))
            case e.StepSucceeded(address=address, output=output) if turn_around(address) == journal:
                results.append(Result(_id_of(address), output))
            case e.StepFailed(address=address, error=error, retry_at=None) if turn_around(address) == journal:
                results.append(Result(_id_of(address), error))
            case _:
                pass
    return Story(function, sent, results, advances)


def replay(story: Story, begin: Callable[[Json], Machine]) -> Machine | Diverged:
    """Return the machine as it stands after all advances of the story; `begin` makes one with the function's input."""
    machine = begin(story.input)
    for version, recorded in story.advances:
        results = story.results[machine.seen : recorded.seen]
        made = machine.advance(results, recorded.at, recorded.drawn)
        mismatch = machine.mismatch or _difference(recorded, made, machine) or machine.not_drawn()
        if mismatch is not None:
            machine.end()
            return Diverged(version, mismatch)
    return machine


def _difference(recorded: e.FunctionAdvanced, made: Advanced, machine: Machine) -> Mismatch | None:
    """Return the first call that is not the same; policies may change, and how long a sleep is."""
    for was, is_now in zip_longest(recorded.calls, made.calls):
        if was is None or is_now is None or not _same(was, is_now):
            place = machine.place_of(is_now.id) if is_now is not None else machine.waits_at()
            return Mismatch(_told(was), _told(is_now) if is_now is not None else _instead(made), place)
    if made.outcome is not None:
        return Mismatch("it goes on after this", _instead(made), "")
    return None


def _same(was: Call, is_now: Call) -> bool:
    return (was.id, was.kind, was.name) == (is_now.id, is_now.kind, is_now.name) and (
        bytes(was.input) == bytes(is_now.input) or from_json(was.input) == from_json(is_now.input)
    )


def _told(call: Call | None) -> str:
    if call is None:
        return "no further call"
    what = f"{call.kind} {call.name}".rstrip()
    if call.kind not in {"step", "child"}:
        return f"call {call.id}: {what}"
    text = bytes(call.input).decode()
    return f"call {call.id}: {what} with {text if len(text) <= MAX_SHOWN else text[: MAX_SHOWN - 1] + '…'}"


def _instead(made: Advanced) -> str:
    match made.outcome:
        case None:
            return "no further call"
        case e.StepError(message=message):
            return f"it fails: {message}"
        case _:
            return "it returns"


def _id_of(address: str) -> str:
    return address.rpartition(".")[2]
