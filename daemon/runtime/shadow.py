"""An execution lived again under another definition, in shadow: nothing is sent, nothing is written. Pure.

1. What came from outside comes again, at the time at which it came. 2. What a step asks for is answered as it was,
after as long as it took. 3. A timer fires when it is due, as late as it was. 4. What the log has no answer for is not
made up: the shadow stops there, or the step fails, or gives null, as is wished. Time leaps to what comes next.

Comes from: `shadow_check`. Goes to: `shadow_tape`, daemon/core/decide, daemon/core/effects.
"""

from __future__ import annotations

import heapq
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Any, Literal, NamedTuple

from msgspec.structs import replace

from daemon.core import commands as c
from daemon.core import events as e
from daemon.core.address import NOTIFY
from daemon.core.decide import decision
from daemon.core.effects import Advance, ArmTimer, CancelChild, Effect, RunStep, effects, owed
from daemon.core.errors import Rejected
from daemon.core.people import Deciding
from daemon.core.state import Finished, InFlight, Running, State
from daemon.core.step_error import StepError
from daemon.core.values import NULL, from_json
from daemon.runtime.shadow_tape import SLOT, Sent, Told, sent

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from daemon.core.plan import Plan
    from daemon.runtime.shadow_tape import Answer, Tape

Missing = Literal["stop", "fail", "null"]
MISSING: tuple[Missing, ...] = ("stop", "fail", "null")
NOT_RECORDED = "not_recorded"
"""Code of the error of a step that has no recorded result, where such steps are to fail."""
MOST_DECISIONS = 100_000
"""A shadow that has made so many more than were recorded is given up: its loops have no end."""
LAST = 2**62
"""The order of what is not in the log: after all that is."""


class Lived(NamedTuple):
    """A shadow's life."""

    events: Sequence[e.Event]
    state: State
    sent: Sequence[Sent]
    """What would have been done; of each step its first attempt."""
    missing: Sequence[str]
    """Steps that have no recorded result."""
    assumed: Sequence[str]
    """Steps that were given what was recorded for another input, or at another place."""
    refused: Sequence[str]
    """What came from outside and was not taken."""


class _Next(NamedTuple):
    """Something that is to happen."""

    at: datetime
    order: int
    number: int
    """Makes each different."""
    command: c.Command
    told: Told | None
    """None for what is not in the log."""

    @property
    def is_free(self) -> bool:
        """Whether it is a timer that did not fire when the log was recorded."""
        return self.told is None and isinstance(self.command, c.FireTimer)


def live(
    tape: Tape,
    new: Plan,
    *,
    missing: Missing,
    until: datetime,
    check_input: Callable[[Plan, Any], None],
) -> Lived:
    """Live the execution of the tape under the plan `new`.

    Of an execution that is still open, timers that are due after `until` do not fire. Raises InvalidInput for an input
    that the workflow does not take any more, and Rejected for a life without an end.
    """
    return _Shadow(tape, new, missing, until, check_input).live()


class _Shadow:
    def __init__(
        self, tape: Tape, plan: Plan, missing: Missing, until: datetime, check_input: Callable[[Plan, Any], None]
    ) -> None:
        self._tape = tape
        self._plan = plan
        self._missing = missing
        self._until = until if isinstance(tape.final, Running) else datetime.max.replace(tzinfo=UTC)
        self._check_input = check_input
        self._state = tape.first
        self._now = tape.first_at or datetime.min.replace(tzinfo=UTC)
        self._events: list[e.Event] = list(tape.begun)
        self._sent: dict[str, Sent] = {}
        self._unrecorded: dict[str, None] = {}
        self._assumed: dict[str, None] = {}
        self._refused: list[str] = []
        self._next: list[_Next] = []
        self._made = self._pushed = 0
        self._asked: dict[tuple[str, int], datetime] = {}
        self._open: dict[str, RunStep | None] = {}
        """Steps that have begun when the log was recorded, and were never answered; None for what waits for a slot."""
        self._held: list[Told] = []
        """What people have decided about what is not asked yet."""
        self._stopped = False

    def live(self) -> Lived:
        if isinstance(self._state, Running):
            self._owe(owed(self._state))
        for told in self._tape.given:
            self._plan_for(told.at, told.command, told)
        most = MOST_DECISIONS + 10 * len(self._tape.decisions)
        while (coming := self._take()) is not None:
            if self._made > most:
                raise Rejected(f"it does not end: {self._made} decisions")
            self._now = max(self._now, coming.at)
            self._do(coming)
        self._refused += (f"{_named(told.command)}: it was not asked" for told in self._held)
        return Lived(
            self._events,
            self._state,
            list(self._sent.values()),
            list(self._unrecorded),
            list(self._assumed),
            self._refused,
        )

    def _take(self) -> _Next | None:
        """Return what happens next; None when nothing does any more."""
        while True:
            if (not self._next or self._next[0].is_free) and self._open and self._answer_open():
                continue
            if not self._next:
                return None
            coming = heapq.heappop(self._next)
            if not coming.is_free or not (self._stopped or coming.at > self._until):
                return coming

    def _do(self, coming: _Next) -> None:
        command = self._as_asked(coming)
        if command is None:
            return
        try:
            if isinstance(command, c.StartExecution):
                self._check(command)
            decided = decision(self._plan, self._state, command, coming.told.crowded if coming.told is not None else ())
        except Rejected as error:
            if isinstance(command, c.StartExecution):
                raise
            self._refused.append(f"{_named(command)}: {error}")
            return
        self._made += 1
        if not decided.events:
            return
        self._events += decided.events
        self._state = decided.state
        self._owe(effects(decided.state, decided.events), decided.events)
        held, self._held = self._held, []
        for told in held:
            self._plan_for(self._now, told.command, told)

    def _check(self, command: c.StartExecution) -> None:
        given = from_json(command.input)
        batch = self._plan.start.definition.collect == "batch"
        self._check_input(self._plan, {"messages": [given]} if batch else given)

    def _as_asked(self, coming: _Next) -> c.Command | None:
        """Return the command with the identity of what is asked here; None for one that has to wait until it is."""
        state, command = self._state, coming.command
        if isinstance(command, c.GiveApproval | c.DelegateApproval):
            step = state.steps.get(command.address) if isinstance(state, Running) else None
            if isinstance(step, Deciding):
                return replace(command, question=step.question)
        elif isinstance(command, c.AnswerUndo):
            ask = state.asking.get(command.address) if isinstance(state, Running) else None
            if ask is not None:
                return replace(command, question=ask.version)
        elif isinstance(command, c.LeaveBreakpoint | c.EditAtBreakpoint) and command.stop:
            if (version := _stop_here(state, command.stop, coming.told)) is not None:
                return replace(command, stop=version)
        elif not (isinstance(command, c.UndoExecution) and _too_early(coming.told, state)):
            return command
        if coming.told is not None:
            self._held.append(coming.told)
        return None

    # What is owed, and when it is answered.

    def _owe(self, found: Sequence[Effect], events: Sequence[e.Event] = ()) -> None:
        for effect in found:
            match effect:
                case RunStep():
                    self._run(effect)
                case ArmTimer():
                    self._arm(effect)
                case Advance():
                    self._advance(effect)
                case CancelChild():
                    self._cancel_child(effect)
                case _:
                    pass  # nothing runs that is to be cancelled, and nobody is told
        for event in events:
            if isinstance(event, e.SlotsAsked):
                self._grant(event.address)

    def _run(self, effect: RunStep) -> None:
        address, key = effect.address, (effect.address, effect.attempt)
        if key in self._asked or not isinstance(self._state, Running):
            return
        self._asked[key] = self._now
        self._note_sent(effect, self._state)
        answers = self._tape.answers(address, effect.attempt, effect.input)
        if answers is None:
            self._not_recorded(effect)
        elif not answers:
            self._open[address] = effect
        for answer in answers or ():
            self._answer(answer, self._now, address)

    def _note_sent(self, effect: RunStep, state: Running) -> None:
        address = effect.address
        if address not in self._sent:
            found = self._sent[address] = sent(self._plan, state, address, effect.input)
            source = self._tape.source(address, effect.input)
            if source is not None and self._tape.sent[source] != found:
                self._assumed[address] = None

    def _not_recorded(self, effect: RunStep) -> None:
        """Do with a step that has no recorded result as is wished; a notice is told to nobody, and nobody misses it."""
        address, attempt, at = effect.address, effect.attempt, self._now
        told = address.endswith(NOTIFY)
        if not told:
            self._unrecorded[address] = None
        if told or self._missing == "null":
            self._plan_for(at, c.CompleteStep(address=address, attempt=attempt, output=NULL, at=at))
        elif self._missing == "fail":
            error = StepError("the log has no result for this step", NOT_RECORDED, attempt=attempt)
            failed = c.FailStep(address=address, attempt=attempt, error=error, retryable=False, jitter=0.0, at=at)
            self._plan_for(at, failed)
        else:
            self._stopped = True

    def _answer_open(self) -> bool:
        """Go on where nothing recorded is left to wait for: answer what was given up before it was answered."""
        if any(coming.told is not None for coming in self._next):
            return False
        waiting = [(address, effect) for address, effect in self._open.items() if self._still_waits(address, effect)]
        self._open.clear()
        for address, effect in waiting:
            if effect is None:
                self._plan_for(self._now, c.GrantSlots(address=address, at=self._now))
            else:
                self._not_recorded(effect)
        return bool(waiting)

    def _still_waits(self, address: str, effect: RunStep | None) -> bool:
        """Tell whether it waits here, and does not in the end of the log."""
        state, final = self._state, self._tape.final
        if not isinstance(state, Running):
            return False
        if effect is None:
            return address in state.limited and not (isinstance(final, Running) and address in final.limited)
        step = state.steps.get(address)
        in_the_end = isinstance(final, Running) and address in final.in_flight
        return isinstance(step, InFlight) and step.attempt == effect.attempt and not in_the_end

    def _advance(self, effect: Advance) -> None:
        address, number, at, state = effect.address, effect.number, self._now, self._state
        begun = self._asked.setdefault((address, number), at)
        answer = self._tape.next_answer(address, number)
        if answer is not None:
            self._answer(answer, begun, address)
        elif not self._tape.unanswered(address, number) and isinstance(state, Running):
            self._unrecorded[address] = None
            if self._missing == "stop":
                self._stopped = True
                return
            failed = StepError("the log does not tell how the function goes on", NOT_RECORDED)
            outcome = failed if self._missing == "fail" else NULL
            seen = state.functions[address].seen + len(state.functions[address].done)
            self._plan_for(at, c.AdvanceFunction(address=address, number=number, seen=seen, outcome=outcome, at=at))

    def _grant(self, address: str) -> None:
        if not isinstance(self._state, Running) or address not in self._state.limited:
            return
        asked_at = self._asked.setdefault((address, SLOT), self._now)
        answer = self._tape.next_answer(address, SLOT)
        if answer is not None:
            self._answer(answer, asked_at, address)
        elif self._tape.unanswered(address, SLOT):
            self._open[address] = None
        else:
            self._plan_for(self._now, c.GrantSlots(address=address, at=self._now))

    def _cancel_child(self, effect: CancelChild) -> None:
        """Have a child end that was asked to: as the log tells, else at once."""
        key = effect.address, effect.attempt
        if key not in self._asked:
            self._asked[key] = self._now
            for answer in self._tape.answers(*key, NULL) or ():
                self._answer(answer, self._now, effect.address)
        final = self._tape.final
        if isinstance(final, Running) and effect.child in final.leaving:
            return
        ends = (each.command for each in self._next if isinstance(each.command, c.FinishChild))
        if not any(command.child == effect.child for command in ends):
            at = self._now
            self._plan_for(
                at, c.FinishChild(address=key[0], attempt=key[1], child=effect.child, status="cancelled", at=at)
            )

    def _arm(self, effect: ArmTimer) -> None:
        if self._tape.still_set(effect.timer_id, effect.due):
            return
        ended = self._tape.timer(effect.timer_id, effect.due)
        if ended is None:
            self._plan_for(effect.due, c.FireTimer(timer_id=effect.timer_id, at=effect.due))
            return
        at = effect.due + max(ended.at - ended.due, timedelta(0))
        if ended.told is None:
            self._push(at, c.FireTimer(timer_id=effect.timer_id, at=at), ended.order, None)
        else:
            fired_at = effect.due + (ended.told.command.at - ended.due)
            self._plan_for(at, replace(ended.told.command, at=fired_at), ended.told)

    def _answer(self, answer: Answer, asked_at: datetime, address: str) -> None:
        told = answer.told
        decided_at = asked_at + answer.after
        command = replace(told.command, at=decided_at - (told.at - told.command.at))
        if getattr(command, "address", address) != address:
            command = replace(command, address=address)
        self._plan_for(decided_at, command, told)

    def _plan_for(self, at: datetime, command: c.Command, told: Told | None = None) -> None:
        self._push(at, command, LAST if told is None else told.order, told)

    def _push(self, at: datetime, command: c.Command, order: int, told: Told | None) -> None:
        self._pushed += 1
        heapq.heappush(self._next, _Next(at, order, self._pushed, command, told))


def _stop_here(state: State, stop: int, told: Told | None) -> int | None:
    """Return the version of the stop at the step that the recorded execution stood at; None for no such stop."""
    was = told.before if told is not None else None
    if not isinstance(was, Running) or was.breaking is None or not isinstance(state, Running) or state.breaking is None:
        return None
    address = next((each.address for each in was.breaking.stops if each.version == stop), None)
    return next((each.version for each in state.breaking.stops if each.address == address), None)


def _too_early(told: Told | None, state: State) -> bool:
    """Tell whether the execution that is to be undone has ended when the log was recorded, and here not yet."""
    return told is not None and isinstance(told.before, Finished) and not isinstance(state, Finished)


def _named(command: c.Command) -> str:
    """Return what came, in a few words: `ReceiveSignal go`."""
    what = getattr(command, "name", "") or getattr(command, "address", "")
    return f"{type(command).__name__} {what}".rstrip()
