"""The engine: a mailbox for each execution that has work, and the five steps from a command to its effects.

One execution's commands are handled one batch at a time; those that arrive while an append is in flight are decided
together in the next one. An execution that only waits for a timer, a signal or a person holds no memory: its mailbox is
dropped, and the next command loads it again.

Comes from: `intake`, `steps`, `timers`, the API. Goes to: daemon/core/decide, eventstore/writer, `steps`, `timers`.
"""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Protocol
from uuid import UUID

from msgspec import Struct

from daemon.core.commands import Command, ReceiveSignal, StartExecution
from daemon.core.decide import decide
from daemon.core.effects import ArmTimer, Effect, RunStep, StopSteps, effects, owed
from daemon.core.errors import ExecutionNotFound, Rejected
from daemon.core.events import Event
from daemon.core.evolve import fold
from daemon.core.plan import Plan
from daemon.core.state import INITIAL, Finished, Running, State
from daemon.runtime.projection import project
from eventstore.errors import Conflict, StoreError, Unavailable
from eventstore.log import Append

if TYPE_CHECKING:
    from collections.abc import Callable, Coroutine, Mapping, Sequence
    from typing import Any

    from daemon.runtime.changes import Changes
    from daemon.runtime.clock import Clock
    from daemon.runtime.history import History
    from eventstore.writer import Writer

MAX_CONFLICTS = 20
"""How often a batch is decided anew because another writer was first, before the caller is told."""


class Handled(Struct, frozen=True):
    """What became of a command. No events: it had been decided before, or there was nothing left to do."""

    state: State
    events: tuple[Event, ...]


class Committed(Struct, frozen=True):
    """One append that is durable."""

    execution_id: UUID
    before: State
    events: tuple[Event, ...]
    after: State


class Pinned(Protocol):
    """Finds the plan that an execution is pinned to."""

    async def pinned(self, definition_hash: str) -> Plan:
        """Return it, or raise `Rejected` saying that the definition is missing."""


class StepRunner(Protocol):
    """Runs handlers; see `steps.Steps`."""

    def run(self, execution_id: UUID, plan: Plan, effect: RunStep, state: Running) -> None:
        """Start the step's attempt, unless it is at work already."""

    def cancel(self, execution_id: UUID) -> None:
        """Cancel what runs for the execution."""


class TimerService(Protocol):
    """Fires timers; see `timers.Timers`."""

    def arm(self, due_at: ArmTimer) -> None:
        """Make sure that the timer, which the index holds, is not overslept."""


class _Letter(Struct):
    """A command on its way; None asks for what is owed. `plan` is the one to start by."""

    command: Command | None
    plan: Plan | None
    answer: asyncio.Future[Handled]


class _Mailbox:
    """One execution with work: its state while it is known, and the letters that wait."""

    __slots__ = ("at_work", "letters", "plan", "state")

    def __init__(self) -> None:
        self.state: State | None = None
        self.plan: Plan | None = None
        self.letters: list[_Letter] = []
        self.at_work = False


class Engine:
    """Handles commands of all executions of one log."""

    def __init__(
        self,
        *,
        history: History,
        writer: Writer,
        plans: Pinned,
        changes: Changes,
        clock: Clock,
        spawn: Callable[[Coroutine[Any, Any, None]], object],
        max_active: int = 10_000,
        listeners: Sequence[Callable[[Committed], None]] = (),
    ) -> None:
        """`spawn` starts a task whose failure stops the daemon; `max_active` executions make `room` wait."""
        self._history = history
        self._writer = writer
        self._plans = plans
        self._changes = changes
        self._clock = clock
        self._spawn = spawn
        self._max_active = max_active
        self._listeners = tuple(listeners)
        self._mailboxes: dict[UUID, _Mailbox] = {}
        self._parked: dict[UUID, str] = {}
        self._has_room = asyncio.Event()
        self._has_room.set()
        self._taking = True
        self.steps: StepRunner
        self.timers: TimerService

    @property
    def active(self) -> int:
        """How many executions are in memory: those with handlers or commands at work."""
        return len(self._mailboxes)

    @property
    def parked(self) -> Mapping[UUID, str]:
        """Executions that could not be worked on when last tried, and why: an alarm. They are as they were."""
        return self._parked

    async def room(self) -> bool:
        """Return when there is room for another execution: the back-pressure that intake hands to the brokers.

        False when there will be none, because the daemon stops.
        """
        await self._has_room.wait()
        return self._taking

    def take_no_more(self) -> None:
        """Let nobody wait for room any more: the daemon stops."""
        self._taking = False
        self._has_room.set()

    async def send(self, execution_id: UUID, command: Command, *, plan: Plan | None = None) -> Handled:
        """Handle the command; return when its events are durable. `StartExecution` needs the plan to start by.

        Raises `Rejected` and its kinds, `eventstore.Unavailable`, `eventstore.Undecodable`, or `Conflict` when other
        writers were first too many times. Cancelling the caller does not take the command back.
        """
        return await self._post(execution_id, _Letter(command, plan, _future()))

    async def resume(self, execution_id: UUID) -> State:
        """Load the execution and carry out what is owed to it. Harmless for one that is at work or finished.

        Raises ExecutionNotFound, Undecodable, Unavailable, or Rejected when its definition is missing.
        """
        return (await self._post(execution_id, _Letter(None, None, _future()))).state

    async def _post(self, execution_id: UUID, letter: _Letter) -> Handled:
        mailbox = self._mailboxes.get(execution_id)
        if mailbox is None:
            mailbox = self._mailboxes[execution_id] = _Mailbox()
            self._update_room()
        mailbox.letters.append(letter)
        if not mailbox.at_work:
            mailbox.at_work = True
            self._spawn(self._work(execution_id, mailbox))
        return await letter.answer

    async def _work(self, execution_id: UUID, mailbox: _Mailbox) -> None:
        """Handle letters until there are none; then forget the execution if nothing runs for it."""
        letters: list[_Letter] = []
        try:
            while mailbox.letters:
                letters, mailbox.letters = mailbox.letters, []
                try:
                    await self._handle(execution_id, mailbox, letters)
                except (Rejected, StoreError) as error:
                    mailbox.state = None
                    self._park(execution_id, error)
                    _refuse(letters, error)
                else:
                    self._parked.pop(execution_id, None)
        except BaseException as error:
            _refuse([*letters, *mailbox.letters], error)
            raise
        finally:
            mailbox.at_work = False
            if not (isinstance(mailbox.state, Running) and mailbox.state.in_flight):
                self._mailboxes.pop(execution_id, None)
                self._update_room()

    async def _handle(self, execution_id: UUID, mailbox: _Mailbox, letters: list[_Letter]) -> None:
        """Five steps: load, decide, nothing to do?, append at the version read, on conflict again from the log."""
        lost = None
        for _ in range(MAX_CONFLICTS):
            # 1. Load, unless it is here. A start is tried as the first event: if it is not, the append conflicts.
            before = mailbox.state
            if before is None:
                new = all(isinstance(letter.command, StartExecution) for letter in letters)
                before = INITIAL if new else await self._history.load(execution_id)
            plan = await self._plan_for(mailbox, before, letters)
            # 2. Decide. What the core refuses leaves the others alone.
            decided = _Decided(before)
            for letter in letters:
                decided.take(execution_id, plan, letter)
            # 3. Nothing to do?
            if decided.events:
                # 4. Append at the version read.
                events, after = tuple(decided.events), decided.state
                index = project(execution_id, before, events, after)
                try:
                    await self._writer.append(Append(execution_id, before.version, events, index))
                except Conflict as conflict:
                    # 5. Another writer was first: decide again on what the log holds.
                    lost = conflict
                    mailbox.state = await self._history.load(execution_id)
                    continue
            mailbox.state, mailbox.plan = decided.state, plan
            self._carry_out(execution_id, plan, before, decided)
            return
        raise lost or AssertionError("decided nothing, yet did not return")

    async def _plan_for(self, mailbox: _Mailbox, state: State, letters: Sequence[_Letter]) -> Plan | None:
        if isinstance(state, Running):
            return mailbox.plan or await self._plans.pinned(state.definition)
        return next((letter.plan for letter in letters if letter.plan is not None), None)

    def _carry_out(self, execution_id: UUID, plan: Plan | None, before: State, decided: _Decided) -> None:
        """Answer the callers, tell the listeners, start what the events ask for."""
        after = decided.state
        if decided.events:
            committed = Committed(execution_id, before, tuple(decided.events), after)
            for listener in self._listeners:
                listener(committed)
            self._changes.notify(execution_id)
            self._snapshot_if_due(execution_id, plan, before, after)
        todo: tuple[Effect, ...] = effects(after, decided.events) if decided.events else ()
        if decided.resumed:
            todo = owed(after)
        for effect in todo:
            match effect:
                case RunStep() if plan is not None and isinstance(after, Running):
                    self.steps.run(execution_id, plan, effect, after)
                case ArmTimer():
                    self.timers.arm(effect)
                case StopSteps():
                    self.steps.cancel(execution_id)
                case _:
                    raise TypeError(f"an effect without a plan: {effect}")
        for letter, events in decided.handled:
            _answer(letter, Handled(after, events))
        for letter, error in decided.refused:
            _refuse([letter], error)

    def _snapshot_if_due(self, execution_id: UUID, plan: Plan | None, before: State, after: State) -> None:
        every = plan.definition.snapshot_every if plan is not None else 0
        if every and after.version // every > before.version // every and not isinstance(after, Finished):
            self._spawn(self._history.take_snapshot(execution_id, after, self._clock.now()))

    def _park(self, execution_id: UUID, error: Exception) -> None:
        """Remember an execution that cannot be worked on; a store that is away, or busy, says nothing about it."""
        if not isinstance(error, Unavailable | Conflict):
            self._parked[execution_id] = str(error)

    def _update_room(self) -> None:
        if len(self._mailboxes) < self._max_active or not self._taking:
            self._has_room.set()
        else:
            self._has_room.clear()


class _Decided:
    """The outcome of deciding several letters one after the other."""

    def __init__(self, before: State) -> None:
        self.state = before
        self.events: list[Event] = []
        self.handled: list[tuple[_Letter, tuple[Event, ...]]] = []
        self.refused: list[tuple[_Letter, Rejected]] = []
        self.resumed = False

    def take(self, execution_id: UUID, plan: Plan | None, letter: _Letter) -> None:
        """Decide one more letter on the state that those before it lead to."""
        command = letter.command
        if not self.state.version and not isinstance(command, StartExecution | ReceiveSignal):
            self.refused.append((letter, ExecutionNotFound(execution_id)))
            return
        if command is None:
            self.resumed = True
            self.handled.append((letter, ()))
            return
        try:
            events = decide(plan, self.state, command)
        except Rejected as error:
            self.refused.append((letter, error))
            return
        self.state = fold(events, self.state)
        self.events += events
        self.handled.append((letter, events))


def _future() -> asyncio.Future[Handled]:
    return asyncio.get_running_loop().create_future()


def _answer(letter: _Letter, handled: Handled) -> None:
    if not letter.answer.done():
        letter.answer.set_result(handled)


def _refuse(letters: Sequence[_Letter], error: BaseException) -> None:
    for letter in letters:
        if not letter.answer.done():
            letter.answer.set_exception(error)
            letter.answer.exception()  # the caller may be gone; then nobody else would look at it
