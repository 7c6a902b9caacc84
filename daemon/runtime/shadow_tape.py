"""What the log of one execution gives to a shadow of it: what came from outside, and what was answered, and when. Pure.

The log is decided again under its own definition (daemon/core/redeciding), so each decision has its command. Those that
came from outside are told by the time at which they came. Answers are told by what they answer, with how long they
took: a handler's by its step and attempt, a timer's by its id, a slot's by its step.

Comes from: `shadow`. Goes to: daemon/core/redeciding.
"""

from __future__ import annotations

import re
from collections import defaultdict, deque
from contextlib import suppress
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, NamedTuple, TypeAlias

from daemon.core import commands as c
from daemon.core import events as e
from daemon.core.address import is_call, node_of
from daemon.core.calls import node_at
from daemon.core.recorded_commands import recorded_commands
from daemon.core.redeciding import NO_OTHER, Redecided, redecide
from daemon.core.renaming import renamed_state, renamed_struct
from daemon.core.state import INITIAL, InFlight, Running, State
from daemon.core.values import NULL

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence

    from daemon.core.plan import Plan
    from daemon.core.redeciding import Crowd
    from daemon.core.values import Json

Asked: TypeAlias = tuple[str, int]
"""What is owed an answer: a step's attempt, a function's advance by its number, `SLOT` of a step that waits for one."""
SLOT = 0

_ANSWERS = (c.CompleteStep, c.PostponeStep, c.SuspendStep, c.FailStep, c.ReportProgress, c.AwaitChild, c.FinishChild)
_ADVANCES = (c.AdvanceFunction, c.StopFunction)
_KEPT = (c.ReceiveSignal, c.ResumeStep)
"""What a rewind does not leave behind."""
_INDEX = re.compile(r"\[\d+\]")


class Told(NamedTuple):
    """A command that the log tells."""

    order: int
    """The order in the log: twice the version before the decision."""
    at: datetime
    """When it was decided: no earlier than what was decided before."""
    command: c.Command
    crowded: Crowd
    before: State


class Answer(NamedTuple):
    """A command that answers, and how long after it was owed it was decided."""

    told: Told
    after: timedelta


class Sent(NamedTuple):
    """What a step had done, or would have: by whom, and with what."""

    address: str
    type: str
    """Of the node."""
    handler: str | None
    input: Json


class Ended(NamedTuple):
    """How a timer ended: it fired, or was not needed any more. The latter comes after the decision that says so."""

    due: datetime
    at: datetime
    order: int
    told: Told | None
    """How it fired; None for one that did not."""


class Tape:
    """The log of one execution, by what it answers. What is taken is not given again."""

    def __init__(
        self, old: Plan, events: Sequence[e.Event], base: State = INITIAL, later: Mapping[str, Plan] = NO_OTHER
    ) -> None:
        """`events` follow `base`, and are decided again under `old`, to which the execution was pinned at its begin.

        `later` has the plans that it was migrated to, by hash: steps are known by the ids that nodes have at last.
        """
        self.first = base
        """Where a shadow begins; a fork has begun by then."""
        self.first_at: datetime | None = None
        self.begun: list[e.Event] = []
        """The events by which a fork has begun."""
        self.given: list[Told] = []
        """What came from outside, in order."""
        self.sent: dict[str, Sent] = {}
        """By address: the first attempt of each step."""
        whole = list(redecide(old, events, base, later))
        self.decisions = counting(whole)
        """Those that count: none that a rewind has left behind."""
        self.final = whole[-1].after if whole else base
        self._latest = datetime.min.replace(tzinfo=UTC)
        self._asked: dict[Asked, datetime] = {}
        self._answers: defaultdict[Asked, deque[Answer]] = defaultdict(deque)
        self._timers: defaultdict[str, list[Ended]] = defaultdict(list)
        self._running: dict[str, datetime] = {}
        """Timers that are set: when they are due. In the end, those that were set last of all."""
        self._source: dict[str, str | None] = {}
        migrated = [each.definition for each in events if isinstance(each, e.ExecutionMigrated)]
        self._plan = later[migrated[-1]] if migrated else old
        for decision in self.decisions:
            self._read(decision)
        self._by_node: defaultdict[str, list[str]] = defaultdict(list)
        for address in self.sent:
            self._by_node[node_of(address)].append(address)

    def answers(self, address: str, attempt: int, given: Json) -> Sequence[Answer] | None:
        """Take all answers to an attempt; none for one that nobody has answered, None for one that was never made."""
        source = self.source(address, given)
        key = (address if source is None else source, attempt)
        return list(self._answers.pop(key, ())) if key in self._asked else None

    def next_answer(self, address: str, number: int) -> Answer | None:
        """Take the next answer to a function's advance, or to what waits for a slot; None when there is none."""
        waiting = self._answers.get((address, number))
        return waiting.popleft() if waiting else None

    def unanswered(self, address: str, number: int) -> bool:
        """Tell whether the log ends before an answer."""
        return (address, number) in self._asked

    def source(self, address: str, given: Json) -> str | None:
        """Return the step whose results are this one's: itself, or the same node where it stood before; None: none.

        Where a node has been moved, that is the step that was sent the same; or the only one there was.
        """
        if address not in self._source:
            self._source[address] = address if address in self.sent else self._moved(address, given)
        return self._source[address]

    def timer(self, timer_id: str, due: datetime) -> Ended | None:
        """Take how a timer ended that was set for this time, or for another; None for one that is not in the log."""
        ended = self._timers[timer_id]
        found = next((each for each in ended if each.due == due), ended[0] if ended else None)
        if found is not None:
            ended.remove(found)
        return found

    def still_set(self, timer_id: str, due: datetime) -> bool:
        """Tell whether the log ends with this timer set."""
        return isinstance(self.final, Running) and self._running.get(timer_id) == due

    def _moved(self, address: str, given: Json) -> str | None:
        if is_call(address):
            return None
        taken, shape = set(self._source.values()), _shape(address)
        there = [each for each in self._by_node[node_of(address)] if _shape(each) != shape and each not in taken]
        alike = [each for each in there if self.sent[each].input == given]
        return alike[0] if alike else there[0] if len(there) == 1 else None

    def _read(self, decision: Redecided) -> None:
        first = decision.events[0]
        command = decision.command or _likely(decision)
        self._latest = max(self._latest, first.at if command is None else command.at)
        told = None
        if isinstance(first, e.ExecutionForked) or (self.begun and command is None and not self.given):
            self.begun += decision.events
            self.first, self.first_at = decision.after, first.at
            self._begin(decision.after)
        elif command is not None:
            told = Told(2 * decision.before.version, self._latest, command, decision.crowded, decision.before)
            self._place(told)
        self._note(decision, told)

    def _begin(self, state: State) -> None:
        """Note what a fork was owed when it began."""
        if not isinstance(state, Running):
            return
        for address, attempt in state.in_flight.items():
            self._asked[address, attempt] = self._latest
            step = state.steps[address]
            given = step.input if isinstance(step, InFlight) else NULL
            self.sent[address] = sent(self._plan, state, address, given)
        self._asked |= dict.fromkeys(((address, SLOT) for address in state.limited), self._latest)
        self._running = {timer_id: timer.due for timer_id, timer in state.timers.items()}

    def _place(self, told: Told) -> None:
        match told.command:
            case c.FireTimer() | c.MigrateExecution():
                pass  # see `_note`; a shadow has one definition
            case c.GrantSlots(address=address):
                self._answer((address, SLOT), told)
            case command if isinstance(command, _ANSWERS):
                self._answer((command.address, command.attempt), told)
            case command if isinstance(command, _ADVANCES):
                self._answer((command.address, command.number), told)
            case _:
                self.given.append(told)

    def _answer(self, asked: Asked, told: Told) -> None:
        if asked in self._asked:
            self._answers[asked].append(Answer(told, told.at - self._asked[asked]))

    def _note(self, decision: Redecided, told: Told | None) -> None:
        """Note what the decision has asked for, and how timers have ended."""
        order, after = 2 * decision.before.version + 1, decision.after
        for event in decision.events:
            match event:
                case e.StepStarted():
                    self._asked.setdefault((event.address, event.attempt), self._latest)
                    begun = isinstance(after, Running) and event.address in after.in_flight
                    if begun and event.address not in self.sent:
                        self.sent[event.address] = sent(self._plan, after, event.address, event.input)
                case e.SlotsAsked():
                    self._asked.setdefault((event.address, SLOT), self._latest)
                case e.TimerSet():
                    self._end(event.timer_id, order)
                    self._running[event.timer_id] = event.due
                case e.TimerFired():
                    self._end(event.timer_id, order, told)
                case e.TimerCancelled():
                    self._end(event.timer_id, order)
        if isinstance(after, Running):
            for journal, number in after.advancing.items():
                self._asked.setdefault((journal, number), self._latest)
        left = after.timers if isinstance(after, Running) else {}
        for timer_id in [each for each in self._running if each not in left]:
            self._end(timer_id, order)

    def _end(self, timer_id: str, order: int, told: Told | None = None) -> None:
        due = self._running.pop(timer_id, None)
        if due is not None:
            self._timers[timer_id].append(Ended(due, self._latest, order, told))


def sent(plan: Plan, state: State, address: str, given: Json) -> Sent:
    """Return what a step has done that begins with this state; of a node that is gone, only what it was sent."""
    try:
        node = node_at(plan, state, address)  # type: ignore[arg-type]  # of one that has ended, the calls are there too
    except KeyError:
        return Sent(address, "", None, given)
    return Sent(address, node.type.name, node.type.handler(node.config), given)


def counting(decisions: Iterable[Redecided]) -> Sequence[Redecided]:
    """Return the decisions without those that a rewind has left behind; what was sent meanwhile has been sent.

    A migration gives what was before it the ids that nodes have since.
    """
    kept: list[Redecided] = []
    for decision in decisions:
        first = decision.events[0]
        if isinstance(first, e.ExecutionRewound):
            behind = [each for each in kept if each.before.version >= first.to_version]
            kept = [each for each in kept if each.before.version < first.to_version]
            came = (each for each in behind if first.keep_signals and isinstance(each.command, _KEPT))
            kept += [Redecided(each.command, each.crowded, each.before, each.events[:1], each.after) for each in came]
        else:
            if isinstance(first, e.ExecutionMigrated) and first.names:
                kept = [_renamed(each, first.names) for each in kept]
            kept.append(decision)
    return kept


def _renamed(decision: Redecided, names: Mapping[str, str]) -> Redecided:
    return Redecided(
        None if decision.command is None else renamed_struct(decision.command, names),
        decision.crowded,
        renamed_state(decision.before, names),
        tuple(renamed_struct(event, names) for event in decision.events),
        renamed_state(decision.after, names),
    )


def _likely(decision: Redecided) -> c.Command | None:
    """Return what the events were decided on by a program that decided otherwise, as far as they tell it."""
    with suppress(TypeError, KeyError, AttributeError):
        found = recorded_commands(decision.before, decision.events, lambda _address: None)  # type: ignore[arg-type]  # what it reads may be missing
        return next(found, None)
    return None


def _shape(address: str) -> str:
    """Return an address without its turns: which node it is, wherever in a loop."""
    return _INDEX.sub("", address)
