"""The engine: a mailbox for each execution that has work, and the five steps from a command to its effects.

One execution's commands are handled one batch at a time; those that arrive while an append is in flight are decided
together in the next one. An execution that only waits for a timer, a signal or a person holds no memory: its mailbox is
dropped, and the next command loads it again. While its state is in memory a command needs no task: it is decided where
it arrives, and the writer calls back when the append is durable.

Of several daemons one holds the lease of an execution that has a handler at work, and runs its steps. The others may
append to it all the same, and hint the holder. Nobody asks for the lease before writing: the version decides.

Comes from: `intake`, `steps`, `timers`, the API. Goes to: daemon/core/decide, eventstore/writer, `steps`, `timers`.
"""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING
from uuid import UUID

from msgspec import Struct

from daemon.core.commands import Command, ForkExecution, StartExecution
from daemon.core.effects import (
    Advance,
    ArmTimer,
    CancelChild,
    CancelSteps,
    GoBack,
    RetainSteps,
    RunStep,
    StopSteps,
    TellParent,
    effects,
    owed,
)
from daemon.core.errors import ExecutionDeleted, Rejected
from daemon.core.events import Event
from daemon.core.state import INITIAL, Running, State, has_work
from daemon.runtime.mailbox import Answered, Handled, Letter, Mailbox, Round, refuse
from daemon.runtime.projection import project
from daemon.runtime.sealing import sealing_of
from eventstore.errors import Conflict, Fenced, Full, StoreError, Unavailable
from eventstore.log import Append

if TYPE_CHECKING:
    from collections.abc import Callable, Coroutine, Mapping, Sequence
    from typing import Any

    from daemon.core.plan import Plan
    from daemon.runtime.changes import Changes
    from daemon.runtime.history import History
    from daemon.runtime.mailbox import Answer
    from daemon.runtime.ports import ChildKeeper, FunctionRunner, PastKeeper, Pinned, StepRunner, TimerService
    from daemon.runtime.snapshot_taking import SnapshotTaker
    from eventstore.writer import Writer

_FIRST = (StartExecution, ForkExecution)
MAX_CONFLICTS = 20
"""How often a batch is decided anew because another writer was first, before the caller is told."""


class Committed(Struct, frozen=True, gc=False):
    """One append that is durable."""

    execution_id: UUID
    before: State
    events: tuple[Event, ...]
    after: State


class Engine:
    """Handles commands of all executions of one log."""

    def __init__(
        self,
        *,
        history: History,
        writer: Writer,
        plans: Pinned,
        changes: Changes,
        snapshots: SnapshotTaker,
        spawn: Callable[[Coroutine[Any, Any, None]], object],
        max_active: int = 10_000,
        listeners: Sequence[Callable[[Committed], None]] = (),
        on_fenced: Callable[[], None] = lambda: None,
    ) -> None:
        """`spawn` starts a task whose failure stops the daemon; `max_active` executions make `room` wait.

        `on_fenced` is called when the log refuses an append because another daemon has taken this one for dead.
        """
        self._history = history
        self._writer = writer
        self._plans = plans
        self._changes = changes
        self._snapshots = snapshots
        self._spawn = spawn
        self._max_active = max_active
        self._listeners = tuple(listeners)
        self._on_fenced = on_fenced
        self.crowded: set[tuple[str, str]] = set()
        """Limits and keys that others wait for, or that were found to be full."""
        self._daemon: UUID | None = None
        self._mailboxes: dict[UUID, Mailbox] = {}
        self._parked: dict[UUID, str] = {}
        self._has_room = asyncio.Event()
        self._room_for_new = asyncio.Event()
        self._old_first = False
        self._taking = True
        self._failed = False
        self._update_room()
        self.steps: StepRunner
        self.timers: TimerService
        self.children: ChildKeeper
        self.functions: FunctionRunner
        self.past: PastKeeper

    @property
    def active(self) -> int:
        """How many executions are in memory: those with handlers or commands at work."""
        return len(self._mailboxes)

    @property
    def parked(self) -> Mapping[UUID, str]:
        """Executions that could not be worked on when last tried, and why: an alarm. They are as they were."""
        return self._parked

    async def room(self) -> bool:
        """Return when there is room for a new execution: the back-pressure that intake hands to the brokers.

        False when there will be none, because the daemon stops.
        """
        while not self._room_for_new.is_set():  # again: of many who wait, the first takes the place that was freed
            await self._room_for_new.wait()
        return self._taking

    async def room_for_old(self) -> None:
        """Return when there is room for an execution that nobody works on; or when the daemon stops."""
        await self._has_room.wait()

    def old_first(self, *, waits: bool) -> None:
        """Keep new executions waiting while old ones do, lest those starve."""
        self._old_first = waits
        self._update_room()

    def holds(self, execution_id: UUID) -> bool:
        """Whether this daemon runs the execution's steps, or is about to."""
        mailbox = self._mailboxes.get(execution_id)
        return mailbox is not None and mailbox.ours

    def take_no_more(self) -> None:
        """Let nobody wait for room any more: the daemon stops."""
        self._taking = False
        self._update_room()

    def act_as(self, daemon: UUID | None) -> None:
        """Append as this member of the store's daemons from now on: leases go to it, and the fence looks at it.

        Before the first time, and after None, nothing is handled: every command is answered `Unavailable`.
        """
        self._daemon = daemon

    def forget_all(self) -> None:
        """Drop what is known of every execution: this daemon has been taken for dead, and others have its work.

        Commands on their way are still answered; no effect of theirs is carried out.
        """
        forgotten, self._mailboxes = self._mailboxes, {}
        for mailbox in forgotten.values():
            mailbox.forgotten = True
        self.functions.forget_all()
        self._update_room()

    async def send(self, execution_id: UUID, command: Command, *, plan: Plan | None = None) -> Handled:
        """Handle the command; return when its events are durable. `StartExecution` needs the plan to start by.

        Raises `Rejected` and its kinds, `eventstore.Unavailable`, `eventstore.Undecodable`, or `Conflict` when other
        writers were first too many times. Cancelling the caller does not take the command back.
        """
        answer = Answered()
        self._post(execution_id, Letter(command, plan, answer))
        return await answer.future

    def post(self, execution_id: UUID, command: Command, answer: Answer, *, plan: Plan | None = None) -> None:
        """Handle the command as `send` does, and call `answer` with what that returns or raises."""
        self._post(execution_id, Letter(command, plan, answer))

    async def resume(self, execution_id: UUID) -> State:
        """Load the execution and carry out what is owed to it: its steps are this daemon's from now on.

        Harmless for one that is at work or finished. Raises ExecutionNotFound, Undecodable, Unavailable, or Rejected
        when its definition is missing.
        """
        answer = Answered()
        self._post(execution_id, Letter(None, None, answer))
        return (await answer.future).state

    def _post(self, execution_id: UUID, letter: Letter) -> None:
        if self._daemon is None:
            letter.answer(None, Unavailable("this daemon is not a member of the store's daemons now"))
            return
        mailbox = self._mailboxes.get(execution_id)
        if mailbox is None:
            mailbox = self._mailboxes[execution_id] = Mailbox()
            self._update_room()
        mailbox.letters.append(letter)
        if not mailbox.at_work:
            self._work(execution_id, mailbox)

    def _work(self, execution_id: UUID, mailbox: Mailbox) -> None:
        """Handle the letters that are there; when none is left, forget the execution unless handlers run for it."""
        if mailbox.forgotten:
            self._forward(execution_id, mailbox.letters)
        elif mailbox.letters:
            mailbox.at_work = True
            letters, mailbox.letters = mailbox.letters, []
            round_ = Round(execution_id, mailbox, letters, self._appended)
            state, plan = mailbox.state, mailbox.plan
            if not isinstance(state, Running):
                plan = next((letter.plan for letter in letters if letter.plan is not None), None)
                if state is None and all(isinstance(letter.command, _FIRST) for letter in letters):
                    state = INITIAL  # tried as the first event: if it is not, the append conflicts
            if state is None or round_.resumes or (plan is None and isinstance(state, Running)):
                self._spawn(self._load(round_))
            else:
                self._decide(round_, state, plan)
        else:
            mailbox.at_work = False
            if not mailbox.holds_work:
                self._mailboxes.pop(execution_id, None)
                self.functions.forget(execution_id)
                self._update_room()

    def _forward(self, execution_id: UUID, letters: Sequence[Letter]) -> None:
        """Put the letters of a forgotten mailbox into the one that has taken its place.

        What asks to resume is refused: whose work that is has to be asked of the leases again.
        """
        for letter in letters:
            if letter.command is None:
                letter.answer(None, Unavailable("this daemon has been taken for dead meanwhile"))
            else:
                self._post(execution_id, letter)

    async def _load(self, round_: Round) -> None:
        """1. Load, unless it is here and nobody was first. Whoever resumes wants to know what the log says."""
        mailbox = round_.mailbox
        try:
            before = mailbox.state
            if before is None or round_.conflicts or round_.resumes:
                if not mailbox.holds_work:
                    mailbox.ours = False  # its lease went with its last step: another may have begun the next
                before = await self._history.load_undeleted(round_.execution_id)
            plan = await self._plan_for(mailbox, before, round_.letters)
        except (Rejected, StoreError) as error:
            self._give_up(round_, error)
        except BaseException as error:
            refuse([*round_.letters, *mailbox.letters], error)
            raise
        else:
            if mailbox.forgotten:
                self._forward(round_.execution_id, [*round_.letters, *mailbox.letters])
            else:
                self._decide(round_, before, plan)

    async def _plan_for(self, mailbox: Mailbox, state: State, letters: Sequence[Letter]) -> Plan | None:
        if isinstance(state, Running):
            known = mailbox.plan is not None and mailbox.plan.hash == state.definition
            return mailbox.plan if known else await self._plans.pinned(state.definition)
        return next((letter.plan for letter in letters if letter.plan is not None), None)

    def _decide(self, round_: Round, before: State, plan: Plan | None) -> None:
        """Go on to the append: nothing of it waits.

        2. Decide. What the core refuses leaves the others alone. 3. Nothing to do? 4. Append at the version read.
        """
        round_.before, round_.plan = before, plan
        try:
            round_.decide(self.crowded)
            if not round_.events:
                self._settle(round_)
                return
            events, after = tuple(round_.events), round_.state
            round_.effects = effects(after, events)
            hint = not round_.mailbox.ours and bool(round_.effects) and has_work(before)
            index = project(round_.execution_id, before, events, after, hint=hint, branched=round_.branched)
            whose = sealing_of(round_.execution_id, before, events, after)
            append = Append(round_.execution_id, before.version, events, index, self._daemon, whose)
            self._writer.submit(append, round_.appended)
        except Rejected as error:
            self._give_up(round_, error)
        except Exception as error:  # noqa: BLE001  a bug: the daemon ends with it
            self._fail(round_, error)

    def _appended(self, round_: Round, error: BaseException | None) -> None:
        """Go on from the writer's answer. 5. Another writer was first, or a slot is not free: decide again."""
        if error is None:
            try:
                self._settle(round_)
            except Exception as bug:  # noqa: BLE001  the daemon ends with it
                self._fail(round_, bug)
        elif isinstance(error, Conflict) and round_.conflicts < MAX_CONFLICTS:
            round_.conflicts += 1
            self._spawn(self._load(round_))
        elif isinstance(error, Full) and not round_.full:
            round_.crowd(self.crowded)
            self._decide(round_, round_.before, round_.plan)
        elif isinstance(error, Fenced):
            if self._daemon in error.by:
                self._on_fenced()
            self._give_up(round_, Unavailable(str(error)))
        elif isinstance(error, StoreError):
            self._give_up(round_, error)
        else:
            self._fail(round_, error)

    def _settle(self, round_: Round) -> None:
        """Keep the state, answer the callers, tell the listeners, start what the events ask for; then go on."""
        execution_id, mailbox, after, plan = round_.execution_id, round_.mailbox, round_.state, round_.plan_after
        before = round_.before
        mailbox.state, mailbox.plan = after, plan
        if round_.resumed or not has_work(before):
            mailbox.ours = True
        if round_.events:
            committed = Committed(execution_id, before, tuple(round_.events), after)
            for listener in self._listeners:
                listener(committed)
            self._changes.notify(execution_id)
            self._snapshots.committed(execution_id, plan, before, round_.events, after)
        if not mailbox.forgotten:
            self._carry_out(round_)
        if self._parked and self._parked.pop(execution_id, None) is not None:
            self.children.parent_there(execution_id)
        for letter, events in round_.handled:
            letter.answer(Handled(after, events), None)
        for letter, error in round_.refused:
            letter.answer(None, error)
        self._work(execution_id, mailbox)

    def _carry_out(self, round_: Round) -> None:
        execution_id, after, plan = round_.execution_id, round_.state, round_.plan_after
        todo = round_.effects
        if (round_.resumed or round_.conflicts) and isinstance(after, Running):
            self.steps.retain(execution_id, after.in_flight)  # others may have given up turns meanwhile
        if round_.resumed:
            todo = owed(after) if isinstance(after, Running) else (StopSteps(), *owed(after))
        for effect in todo:
            match effect:
                case RunStep() if plan is not None and isinstance(after, Running):
                    if round_.mailbox.ours:
                        self.steps.run(execution_id, plan, effect, after)
                case CancelChild():
                    if round_.mailbox.ours:
                        self.children.cancel(execution_id, effect)
                case TellParent():
                    self.children.tell(execution_id, effect)
                case Advance() if isinstance(after, Running):
                    if round_.mailbox.ours:
                        self.functions.advance(execution_id, effect, after)
                case ArmTimer():
                    self.timers.arm(effect)
                case GoBack():
                    if round_.mailbox.ours:
                        self.past.go_back(execution_id, effect)
                case CancelSteps():
                    self.steps.cancel(execution_id, effect.turn)
                case RetainSteps() if isinstance(after, Running):
                    self.steps.retain(execution_id, after.in_flight)
                case StopSteps():
                    self.steps.cancel(execution_id)
                case _:
                    raise TypeError(f"an effect without a plan: {effect}")

    def _give_up(self, round_: Round, error: Exception) -> None:
        """Refuse the letters. Park the execution, unless the store was away or busy, or it was deleted."""
        if not isinstance(error, Unavailable | Conflict | Full | ExecutionDeleted):
            round_.mailbox.state = None
            self._parked[round_.execution_id] = str(error)
        refuse(round_.letters, error)
        self._work(round_.execution_id, round_.mailbox)

    def _fail(self, round_: Round, error: BaseException) -> None:
        """End the daemon with the error, loudly; the first is enough."""
        refuse([*round_.letters, *round_.mailbox.letters], error)
        if not self._failed:
            self._failed = True
            bug = _raise(error)
            try:
                self._spawn(bug)
            except RuntimeError:
                bug.close()  # another one has ended the daemon already

    def _update_room(self) -> None:
        has_room = len(self._mailboxes) < self._max_active or not self._taking
        room_for_new = has_room and not (self._old_first and self._taking)
        for event, there_is in ((self._has_room, has_room), (self._room_for_new, room_for_new)):
            (event.set if there_is else event.clear)()


async def _raise(error: BaseException) -> None:
    raise error
