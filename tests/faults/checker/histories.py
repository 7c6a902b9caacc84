"""The rules of each execution's history, checked event by event in the order of the log.

The rules of steps, timers and signals are told here once more, from the events alone: a fold that is wrong in the same
way as the decider would hide what they break. Those of `undoing`, `asking` and `journals` are too. That the fold takes
every event, what it holds of limits, where it stands, and that what is open waits for a cause, is asked of the
product's fold; so is what the index must have, by `reading`. Nobody else checks that fold here: see tests/core. Of an
execution that has ended only its id is kept, so that a log of millions can be read; one that is undone after its end is
read again.

Comes from: `reading`. Goes to: `violations`; `notebook`, which compares the log with what others saw of it.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from daemon.core import events as e
from daemon.core.address import NOTIFY, UNDO
from daemon.core.evolve import evolve
from daemon.core.state import INITIAL, NotStarted, Running, State, cause
from tests.faults.checker.asking import Asking
from tests.faults.checker.journals import Journals
from tests.faults.checker.undoing import Undoing
from tests.faults.checker.violations import Violation
from tests.support.limit_rules import Limits

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator
    from datetime import datetime
    from uuid import UUID

    from eventstore.log import Recorded

ENDINGS = (e.ExecutionCompleted, e.ExecutionFailed, e.ExecutionCancelled)


class Step:
    """What the log has told of one step."""

    __slots__ = ("at_work", "attempt", "held", "settled", "succeeded", "suspended", "to_retry")

    def __init__(self) -> None:
        self.attempt = 0
        self.at_work = False
        self.to_retry = False
        self.held = False
        """Whether it has failed, and a breakpoint keeps what follows from that."""
        self.suspended = False
        """Whether its handler has paused, and no input was taken since."""
        self.settled = 0
        """Version of the event that settled it; 0 while it is open."""
        self.succeeded = False


class Life:
    """One execution, so far."""

    __slots__ = (
        "asking",
        "ended",
        "journals",
        "last_at",
        "queued",
        "signals",
        "started",
        "state",
        "steps",
        "taken",
        "timers",
        "undoing",
        "version",
    )

    def __init__(self) -> None:
        self.version = 0
        self.started = 0
        self.ended = 0
        self.steps: dict[str, Step] = {}
        self.timers: set[str] = set()
        self.signals: set[str] = set()
        self.taken: set[str] = set()
        self.queued = ""
        """Address of a step that was queued by the last event although it was at work."""
        self.undoing = Undoing()
        self.asking = Asking()
        self.journals = Journals()
        self.state: State | None = INITIAL
        """None when an event could not be folded."""
        self.last_at: datetime | None = None


class Histories:
    """Takes the whole log, one event after the other."""

    def __init__(self) -> None:
        self.position = 0
        self.events = 0
        self.lives: dict[UUID, Life] = {}
        """Executions that have not ended."""
        self.ended: set[bytes] = set()
        self._limits = Limits()

    @property
    def executions(self) -> int:
        """How many there are."""
        return len(self.lives) + len(self.ended)

    def take(self, recorded: Recorded) -> Iterator[Violation]:
        """Check one event against what came before; consume all that it yields."""
        execution_id, version, event = recorded.execution_id, recorded.version, recorded.event
        self.events += 1
        if recorded.position <= self.position:
            text = f"position {recorded.position} after {self.position}"
            yield Violation("positions", text, execution_id, (version,))
        self.position = recorded.position
        life = self.lives.get(execution_id)
        if life is None and execution_id.bytes in self.ended:
            yield Violation("end", f"{event.NAME} after the end", execution_id, (version,))
            return
        if life is None:
            life = self.lives[execution_id] = Life()
        if version != life.version + 1:
            text = f"version {version} after {life.version}"
            yield Violation("versions", text, execution_id, (life.version, version))
        life.version, life.last_at = version, event.at
        for rule, text in _check(life, version, event):
            yield Violation(rule, text, execution_id, (version,))
        yield from self._fold(life, recorded)

    def forget(self, execution_id: UUID) -> None:
        """Drop what is known of an execution that has ended, but for its id."""
        del self.lives[execution_id]
        self.ended.add(execution_id.bytes)

    def revive(self, execution_id: UUID, history: Iterable[Recorded]) -> None:
        """Know an execution again that has ended; what its events break was told when they were taken."""
        self.ended.discard(execution_id.bytes)
        life = self.lives[execution_id] = Life()
        for recorded in history:
            life.version, life.last_at = recorded.version, recorded.event.at
            for _ in _check(life, recorded.version, recorded.event):
                pass
            if life.state is not None:
                life.state = evolve(life.state, recorded.event)

    def at_rest(self) -> Iterator[Violation]:
        """Check what has not ended, at the end of the log."""
        for execution_id, life in self.lives.items():
            if life.state is None or isinstance(life.state, NotStarted):
                continue
            if not cause(life.state):
                yield Violation("cause", "it waits, and for nothing", execution_id, (life.version,))

    def _fold(self, life: Life, recorded: Recorded) -> Iterator[Violation]:
        if life.state is None:
            return
        before, event = life.state, recorded.event
        stop = before.stop if isinstance(before, Running) else None
        if stop is not None and isinstance(event, e.StepStarted) and not event.address.endswith((UNDO, NOTIFY)):
            text = f"{event.address} begins while the execution stands at {stop.address}"
            yield Violation("breaks", text, recorded.execution_id, (recorded.version,))
        try:
            life.state = evolve(before, recorded.event)
            for text in self._limits.take(recorded, before, life.state):
                yield Violation("limits", text, recorded.execution_id, (recorded.version,))
        except (TypeError, KeyError, ValueError, AssertionError) as error:
            life.state = None
            yield Violation("fold", f"{type(error).__name__}: {error}", recorded.execution_id, (recorded.version,))


def _check(life: Life, version: int, event: e.Event) -> Iterator[tuple[str, str]]:
    if isinstance(event, e.UndoRequested):
        life.ended = 0
    if life.ended:
        yield "end", f"{event.NAME} after the end"
    if not life.started and not isinstance(event, e.ExecutionStarted | e.SignalReceived):
        yield "start", f"{event.NAME} before the start"
    yield from _queued_at_work(life, event)
    match event:
        case e.ExecutionStarted():
            if life.started:
                yield "start", f"started already at version {life.started}"
            life.started = version
        case e.ExecutionCompleted() | e.ExecutionFailed() | e.ExecutionCancelled():
            life.ended = version
        case e.StepQueued() if life.steps.setdefault(event.address, Step()).at_work:
            life.queued = event.address
        case e.StepQueued() | e.StepStarted() | e.StepProgressed() | e.SignalAwaited():
            yield from _open(life.steps.setdefault(event.address, Step()), event)
        case e.StepSucceeded() | e.StepCached() | e.StepFailed() | e.StepPostponed() | e.StepSkipped():
            yield from _answer(life.steps.setdefault(event.address, Step()), version, event)
            if isinstance(event, e.StepSucceeded) and event.signal_id is not None:
                yield from _take_signal(life, event.signal_id)
        case e.TimerSet():
            if event.timer_id in life.timers and event.purpose != "start":  # that one moves with each message
                yield "timers", f"timer {event.timer_id} is set already"
            life.timers.add(event.timer_id)
        case e.TimerFired() | e.TimerCancelled():
            if event.timer_id not in life.timers:
                yield "timers", f"{event.NAME} of timer {event.timer_id}, which does not run"
            life.timers.discard(event.timer_id)
        case e.SignalReceived():
            if event.signal_id in life.signals:
                yield "signals", f"signal {event.signal_id} a second time"
            life.signals.add(event.signal_id)
        case e.ManualActionDone(choice="retry"):
            step = life.steps[event.address + UNDO]
            step.settled, step.to_retry = 0, True
        case e.StepSuspended():
            yield from _suspend(life.steps.setdefault(event.address, Step()), event)
        case e.StepResumed():
            step = life.steps.setdefault(event.address, Step())
            if not step.suspended:
                yield "inputs", f"{event.address} is resumed, and has not paused"
            step.suspended, step.to_retry = False, True
        case _:
            pass
    known = life.steps.get(getattr(event, "address", ""))
    yield from (("undo", text) for text in life.undoing.take(version, event, known.settled if known else 0))
    yield from life.asking.take(event)
    yield from (("functions", text) for text in life.journals.take(event))


def _queued_at_work(life: Life, event: e.Event) -> Iterator[tuple[str, str]]:
    """Check that a step was queued while it was at work because its failure is held, as the next event tells."""
    address, life.queued = life.queued, ""
    if not isinstance(event, e.BreakpointHit) or event.error is None or not event.begun:
        if address:
            yield "attempts", f"StepQueued of {address} while it is at work"
        return
    step = life.steps.setdefault(event.address, Step())
    if address != event.address or event.attempt != step.attempt:
        yield "attempts", f"failure of attempt {event.attempt} of {event.address} is held, which is not at work"
    step.at_work, step.held = False, True


def _suspend(step: Step, event: e.StepSuspended) -> Iterator[tuple[str, str]]:
    if not step.at_work or event.attempt != step.attempt:
        yield "attempts", f"{event.address} pauses in attempt {event.attempt}, which is not at work"
    step.at_work, step.suspended = False, True


def _take_signal(life: Life, signal_id: str) -> Iterator[tuple[str, str]]:
    if signal_id not in life.signals:
        yield "signals", f"signal {signal_id} is taken, but was not received"
    if signal_id in life.taken:
        yield "signals", f"signal {signal_id} is taken a second time"
    life.taken.add(signal_id)


def _open(
    step: Step, event: e.StepQueued | e.StepStarted | e.StepProgressed | e.SignalAwaited
) -> Iterator[tuple[str, str]]:
    if step.settled:
        yield "settled", f"{event.NAME} of {event.address}, settled at version {step.settled}"
    match event:
        case e.StepStarted():
            if event.attempt != step.attempt + 1:
                yield "attempts", f"attempt {event.attempt} of {event.address} after attempt {step.attempt}"
            elif step.attempt and not step.to_retry:
                yield "attempts", f"attempt {event.attempt} of {event.address}, but the one before has not failed"
            step.attempt, step.at_work, step.to_retry = event.attempt, True, False
        case e.StepProgressed():
            if not step.at_work or event.attempt != step.attempt:
                yield "attempts", f"progress of attempt {event.attempt} of {event.address}, which is not at work"
        case e.StepQueued() | e.SignalAwaited():
            if step.at_work:
                yield "attempts", f"{event.NAME} of {event.address} while it is at work"


def _answer(
    step: Step, version: int, event: e.StepSucceeded | e.StepCached | e.StepFailed | e.StepPostponed | e.StepSkipped
) -> Iterator[tuple[str, str]]:
    succeeds = isinstance(event, e.StepSucceeded | e.StepCached)
    if step.settled:
        rule = "success" if succeeds and step.succeeded else "settled"
        yield rule, f"{event.NAME} of {event.address}, settled at version {step.settled}"
    attempt = 0 if isinstance(event, e.StepSkipped) else event.attempt
    given_up = isinstance(event, e.StepFailed) and (event.error.code == "given_up" or step.suspended)
    if isinstance(event, e.StepSkipped) and event.address.endswith(NOTIFY):
        given_up = step.to_retry  # the approval was decided before it was tried again
    open_ = step.at_work or step.held
    if step.attempt and not given_up and (not open_ or attempt != step.attempt):
        state = f"attempt {step.attempt} is {'at work' if step.at_work else 'answered'}"
        yield "attempts", f"{event.NAME} of attempt {attempt} of {event.address}, but {state}"
    step.at_work = step.held = False
    if isinstance(event, e.StepPostponed) or (isinstance(event, e.StepFailed) and event.retry_at is not None):
        step.to_retry = True
        return
    step.settled = version
    step.succeeded = step.succeeded or succeeds
