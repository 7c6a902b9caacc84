"""Sagas: an execution that does not complete first undoes what it has done, newest first.

A step that declares a compensation owes it from its success on: what the compensation will be sent is rendered in that
moment and recorded with the result, so the undo plan needs neither the definition nor what was known then. When the
execution would fail, time out or be cancelled, all that is under way is given up but steps with a compensation, which
are waited for; then each compensation runs as a step of its own, at `charge~undo`, with its retries and timeout.

A step is undone before all that had succeeded before it began; what ran side by side is undone side by side. What the
log cannot tell, or what failed for good, is asked of a person, and the others wait for that answer as the order says.

Comes from: `decide`, `settling`, `walk`. Goes to: `draft`.
"""

from __future__ import annotations

from itertools import takewhile
from typing import TYPE_CHECKING

from msgspec.structs import replace

from daemon.core import events as e
from daemon.core import owing
from daemon.core.address import LOOKUP, UNDO, stands_in, turn_of
from daemon.core.errors import Rejected
from daemon.core.evolve_saga import newest_first
from daemon.core.leaving import leave
from daemon.core.people import Suspended
from daemon.core.state import Failed, InFlight, Limited, Queued, Repeating, Retrying, Turn

if TYPE_CHECKING:
    from collections.abc import Collection, Iterator, Mapping

    from daemon.core.commands import AnswerUndo, UndoExecution
    from daemon.core.draft import Draft
    from daemon.core.state import Owed, Running

REWOUND = "rewound"
"""How an execution ends that does not end, but goes on from its past."""
DOUBTFUL = frozenset({
    "timeout", "http_timeout", "process_died", "worker_lost", "sql_lost", "given_up",
    "invalid_output", "output_too_large", "context_too_large", "state_too_large", "port", "route", "again",
})  # fmt: skip
"""Codes of errors after which it is open whether an attempt took effect, or certain that it did."""
CHOICES: Mapping[str, tuple[str, ...]] = {
    "plan": ("go", "skip"),
    "confirm": ("go", "skip", "done"),
    "failed": ("retry", "skip", "done"),
    "unknown": ("go", "skip", "done"),
    "irreversible": ("skip", "done"),
    "broken": ("skip", "done"),
}
"""What may be answered to each kind of `ManualActionRequested`."""


def end(draft: Draft, ending: e.UndoPlanned) -> None:
    """End the execution as `ending` says, after what is owed was undone."""
    ending = replace(ending, mode=ending.mode or draft.plan.definition.undo)
    if not undo_first(draft, ending):
        _end(draft, ending)


def undo_first(draft: Draft, ending: e.UndoPlanned) -> bool:
    """Plan to undo what was done in the scope; False when there is nothing, and the end may follow at once.

    In mode `none` nothing is undone, and only children are waited for.
    """
    scope, keeps = ending.scope, ending.mode == "none"
    draining = _draining(draft, scope, children_only=keeps)
    if not keeps:
        settle_doubts(draft, scope, but=draining)
    nothing_owed = keeps or next(_owed_in(draft, scope, ending.down_to), None) is None
    goes_back = ending.status == REWOUND
    if nothing_owed and not goes_back and not draining and not _children_in(draft.running, scope):
        return False
    for timer_id, timer in sorted(draft.running.timers.items()):
        if stands_in(timer.address, scope) and not timer.address.endswith(UNDO):
            draft.emit(e.TimerCancelled(timer_id=timer_id, at=draft.at))
    if not scope:
        draft.give_up()
    draft.emit(replace(ending, draining=draining))
    for address in draining:
        step = draft.running.steps[address]
        if isinstance(step, InFlight) and step.child is not None:
            leave(draft, address, f"its parent has {ending.status}")
    if ending.mode == "manual":
        what = f"the group {scope}" if scope else "the execution"
        message = f"{what} has {ending.status}; what it has done waits to be undone"
        draft.emit(e.ManualActionRequested(address=scope, kind="plan", message=message, at=draft.at))
    draft.groups[scope] = None
    return True


def _draining(draft: Draft, scope: str, *, children_only: bool) -> tuple[str, ...]:
    """Return the steps that are waited for: those at work that can be undone when they end, and those with a child."""

    def drains(address: str) -> bool:
        node = draft.node(address)
        if node.subflow is not None:
            return node.subflow.on_close != "abandon"
        return node.compensation is not None and not children_only

    at_work = sorted({*draft.running.in_flight, *draft.running.children})
    return tuple(address for address in at_work if stands_in(address, scope) and drains(address))


def _children_in(running: Running, scope: str) -> bool:
    """Tell whether there are children that have to end before what is in the scope is undone."""
    return any(
        stands_in(address, scope) and not address.endswith(UNDO)
        for address in (*running.children, *(each.address for each in running.leaving.values()))
    )


def _owed_in(draft: Draft, scope: str, down_to: int) -> Iterator[tuple[int, Owed]]:
    newer = takewhile(lambda each: each[0] > down_to, newest_first(draft.running))
    return ((version, owed) for version, owed in newer if stands_in(owed.address, scope))


def settle_doubts(draft: Draft, turn: str = "", *, but: Collection[str] = ()) -> None:
    """Let steps fail that are given up and may have taken effect: those at work, and those of which an attempt had.

    Of the turn, or of the whole execution; `but` are left alone.
    """
    running = draft.running
    for address in sorted(_inside(running, turn) if turn else running.steps):
        if address not in but:
            settle_doubt(draft, address)


def settle_doubt(draft: Draft, address: str) -> bool:
    """Let a step fail that is given up and may have taken effect; False for one that has not, or need not be undone.

    A child that it has started is asked to end.
    """
    step = draft.running.steps[address]
    if not isinstance(step, InFlight | Retrying | Queued | Limited | Suspended):
        return False
    node = draft.node(address)
    if node.subflow is not None:
        if isinstance(step, InFlight):
            leave(draft, address, "its step was given up")
        return False
    if node.compensation is None or not (isinstance(step, InFlight) or step.doubt or step.postponed):
        return False
    error = e.StepError("given up; whether it took effect is not known", "given_up", attempt=step.attempt)
    draft.emit(e.StepFailed(address=address, attempt=step.attempt, error=error, unknown=True, at=draft.at))
    owing.capture(draft, address, step, unknown=True)
    return True


def _inside(running: Running, turn: str) -> Iterator[str]:
    """Give the addresses of the steps in a turn, and in the turns under way in it."""
    step = running.steps.get(turn)
    for member in step.members if isinstance(step, Turn) else ():
        yield member
        if isinstance(inner := running.steps[member], Repeating):
            for index in range(inner.begun):
                yield from _inside(running, turn_of(member, index))


def proceed(draft: Draft, scope: str) -> None:
    """Begin the compensations of the scope whose turn has come; end it when none is left."""
    running = draft.running
    undoing = running.groups.get(scope) if scope else running.undoing
    if undoing is None:
        raise TypeError("nothing is being undone")
    if running.rewinding is not None and running.rewinding.ready:
        return
    at_work = (address for address in running.in_flight if not address.endswith(UNDO))
    if any(stands_in(address, scope) for address in at_work) or _children_in(running, scope):
        return
    if scope in running.asking or (running.paused is not None and undoing.status != REWOUND):
        return
    begins = undoing.mode != "none" and running.paused is None
    for owed in list(_due(draft, scope, undoing.down_to)) if begins else ():
        if len(draft.running.in_flight) + len(draft.running.limited) >= draft.plan.concurrency:
            return
        _begin(draft, owed, confirm=undoing.mode == "confirm_each")
    if undoing.mode != "none" and next(_owed_in(draft, scope, undoing.down_to), None) is not None:
        return
    counts = {"compensated": undoing.compensated, "by_hand": undoing.by_hand, "skipped": undoing.skipped}
    draft.emit(e.UndoCompleted(**counts, scope=scope, at=draft.at))
    if scope:
        draft.undone[scope] = undoing.error or e.StepError("the group was undone", "undone")
        return
    if undoing.status == REWOUND:
        return
    ending = e.UndoPlanned(status=undoing.status, mode="", error=undoing.error, at=draft.at)
    _end(draft, replace(ending, failed_step=undoing.failed_step, reason=undoing.reason))


def _due(draft: Draft, scope: str, down_to: int) -> Iterator[Owed]:
    """Give what may be undone now: all that had not succeeded when a newer one, which is still owed, began."""
    began = 0
    for version, owed in _owed_in(draft, scope, down_to):
        if version < began:
            return
        began = max(began, owed.began)
        yield owed


def _begin(draft: Draft, owed: Owed, *, confirm: bool) -> None:
    """Run the compensation, or ask a person, unless either has been done."""
    address, running = owed.address + UNDO, draft.running
    if owed.address in running.asking or (address in running.steps and not owed.cleared):
        return
    if owed.unknown and owed.looks_up and not owed.cleared and _looks_up(draft, owed):
        return
    if owed.problem:
        _ask(draft, owed.address, "irreversible" if owed.kind == "irreversible" else "broken", owed.problem)
    elif owed.unknown and owed.kind != "idempotent" and not owed.cleared:
        _ask(draft, owed.address, "unknown", "whether the step took effect is not known: its attempt gave no answer")
    elif confirm and not owed.cleared:
        _ask(draft, owed.address, "confirm", "shall the step be undone?")
    elif address not in running.steps:
        draft.emit(
            e.StepStarted(
                address=address, attempt=owed.attempts + 1, input=owed.input, secrets=owed.secrets, at=draft.at
            )
        )


def _looks_up(draft: Draft, owed: Owed) -> bool:
    """See that it is found out whether the step took effect; False when that has failed."""
    address = owed.address + LOOKUP
    step = draft.running.steps.get(address)
    if step is None:
        draft.emit(e.StepStarted(address=address, input=owed.lookup, secrets=owed.lookup_secrets, at=draft.at))
    return not isinstance(step, Failed)


def ask_after_failure(draft: Draft, address: str, error: e.StepError) -> None:
    """Ask a person what to do about a compensation, or a lookup, that has failed for good."""
    if address.endswith(LOOKUP):
        message = f"whether the step took effect is not known, and looking it up failed: {error.message}"
        _ask(draft, address.removesuffix(LOOKUP), "unknown", message)
        return
    _ask(draft, address.removesuffix(UNDO), "failed", f"the compensation failed: {error.message}")


def _ask(draft: Draft, address: str, kind: str, message: str) -> None:
    draft.emit(e.ManualActionRequested(address=address, kind=kind, message=message, at=draft.at))


def undo_completed(draft: Draft, command: UndoExecution) -> None:
    """Take up an execution that had completed, and undo it, also where its definition says `undo: none`."""
    draft.emit(_requested(draft, command))
    mode = draft.plan.definition.undo
    ending = e.UndoPlanned(status="cancelled", mode="automatic" if mode == "none" else mode, at=draft.at)
    end(draft, replace(ending, reason=command.reason))


def undo_again(draft: Draft, command: UndoExecution) -> None:
    """Note who is to be told of the end of one that is being undone. Raises `Rejected` for one that goes on."""
    if draft.running.undoing is None:
        raise Rejected("the execution has not completed; what it has done is undone when it is cancelled")
    if command.parent not in {None, draft.running.parent}:
        draft.emit(_requested(draft, command))


def _requested(draft: Draft, command: UndoExecution) -> e.UndoRequested:
    return e.UndoRequested(reason=command.reason, actor=command.actor, parent=command.parent, at=draft.at)


def answer(draft: Draft, command: AnswerUndo) -> None:
    """Take a person's answer; a question that was answered decides nothing. Raises `Rejected` for a wrong choice."""
    ask = draft.running.asking.get(command.address)
    if ask is None or ask.version != command.question:
        return
    what = command.address or "the undo plan"
    if command.choice not in CHOICES[ask.kind]:
        raise Rejected(f"{command.choice!r} is no answer about {what}; choose: {', '.join(CHOICES[ask.kind])}")
    if ask.kind == "plan" and command.choice == "skip":
        _cancel_lookups(draft, command.address)
    draft.emit(
        e.ManualActionDone(
            address=command.address, choice=command.choice, note=command.note, actor=command.actor, at=draft.at
        )
    )


def _cancel_lookups(draft: Draft, scope: str) -> None:
    """Cancel the timers of lookups: nobody wants to know any more."""
    for timer_id, timer in sorted(draft.running.timers.items()):
        if timer.address.endswith(LOOKUP) and stands_in(timer.address, scope):
            draft.emit(e.TimerCancelled(timer_id=timer_id, at=draft.at))


def _end(draft: Draft, ending: e.UndoPlanned) -> None:
    if ending.error is not None:
        draft.emit(e.ExecutionFailed(error=ending.error, address=ending.failed_step, at=draft.at))
    else:
        draft.emit(e.ExecutionCancelled(reason=ending.reason, at=draft.at))
