"""Mailboxes: the commands of one execution on their way, and the rounds in which they are decided together.

Comes from: `engine`. Goes to: daemon/core/decide; back to `engine`.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import TYPE_CHECKING, TypeAlias

from msgspec import Struct

from daemon.core.commands import Command, ForkExecution, MigrateExecution, ReceiveSignal, StartExecution
from daemon.core.decide import decision
from daemon.core.errors import ExecutionNotFound, Rejected
from daemon.core.events import Event, SlotsTaken
from daemon.core.state import INITIAL, Running, State

if TYPE_CHECKING:
    from collections.abc import Container, Iterable
    from uuid import UUID

    from daemon.core.effects import Effect
    from daemon.core.plan import Plan


class Handled(Struct, frozen=True, gc=False):
    """What became of a command. No events: it had been decided before, or there was nothing left to do."""

    state: State
    events: tuple[Event, ...]


Answer: TypeAlias = Callable[[Handled | None, BaseException | None], None]
"""Takes what became of a command: what `send` returns, or else what it raises."""


class Letter:
    """A command on its way; None asks for what is owed. `plan` is the one to start by; `answer` is called once."""

    __slots__ = ("answer", "command", "plan")

    def __init__(self, command: Command | None, plan: Plan | None, answer: Answer) -> None:
        self.command = command
        self.plan = plan
        self.answer = answer


class Mailbox:
    """One execution with work: its state while it is known, and the letters that wait.

    `ours`: this daemon runs its steps. `forgotten`: another mailbox may have taken its place.
    """

    __slots__ = ("at_work", "forgotten", "letters", "ours", "plan", "state")

    def __init__(self) -> None:
        self.state: State | None = None
        self.plan: Plan | None = None
        self.letters: list[Letter] = []
        self.at_work = False
        self.ours = False
        self.forgotten = False

    @property
    def holds_work(self) -> bool:
        """Whether handlers or durable functions of this daemon are at work for it.

        Not while it only waits for a child that was asked to end: a person may have to be heard before that does.
        """
        return self.ours and isinstance(self.state, Running) and self.state.busy


class Round:
    """Letters that are decided together, one after the other, and what came of it."""

    __slots__ = (
        "_answered",
        "before",
        "branched",
        "conflicts",
        "effects",
        "events",
        "execution_id",
        "full",
        "handled",
        "letters",
        "mailbox",
        "plan",
        "plan_after",
        "refused",
        "resumed",
        "resumes",
        "state",
    )

    def __init__(
        self,
        execution_id: UUID,
        mailbox: Mailbox,
        letters: list[Letter],
        answered: Callable[[Round, BaseException | None], None],
    ) -> None:
        """`answered` is told what the writer answers."""
        self._answered = answered
        self.execution_id = execution_id
        self.mailbox = mailbox
        self.letters = letters
        self.before: State = INITIAL
        self.plan: Plan | None = None
        """That of `before`."""
        self.conflicts = 0
        self.full = False
        """Whether a slot was not free that it takes in any case, as by a grant: then it takes none."""
        self.resumes = any(letter.command is None for letter in letters)
        self._clear()

    def _clear(self) -> None:
        self.state = self.before
        self.plan_after = self.plan
        """Another than before, when the execution was migrated."""
        self.effects: tuple[Effect, ...] = ()
        self.events: list[Event] = []
        self.branched: State | None = None
        """Where the first event leads, when the execution goes on from a past by it."""
        self.handled: list[tuple[Letter, tuple[Event, ...]]] = []
        self.refused: list[tuple[Letter, Rejected]] = []
        self.resumed = False
        """Whether a letter asks for what is owed, of an execution that there is."""

    def appended(self, error: BaseException | None) -> None:
        """Take the writer's answer."""
        self._answered(self, error)

    def decide(self, crowded: Container[tuple[str, str]]) -> None:
        """Decide every letter, each on the state that those before it lead to."""
        known = None if self.full else crowded
        self._clear()
        for letter in self.letters:
            command = letter.command
            if not self.state.version and not isinstance(command, StartExecution | ForkExecution | ReceiveSignal):
                self.refused.append((letter, ExecutionNotFound(self.execution_id)))
            elif command is None:
                self.resumed = True
                self.handled.append((letter, ()))
            else:
                migrates = isinstance(command, MigrateExecution)
                plan = letter.plan if migrates else self.plan_after
                try:
                    events, self.state, branched = decision(plan, self.state, command, known)
                except Rejected as error:
                    self.refused.append((letter, error))
                else:
                    if migrates:
                        self.plan_after = plan
                    self._branch(branched)
                    self.events += events
                    self.handled.append((letter, events))

    def _branch(self, branched: State | None) -> None:
        """Note where the decision leads first that goes on from a past; nothing else is decided in the same append."""
        if branched is not None:
            self.branched = branched

    def crowd(self, crowded: set[tuple[str, str]]) -> None:
        """Note what was not free: what was taken without waiting, else, or after that, whatever was to be taken."""
        taken = [event for event in self.events if isinstance(event, SlotsTaken) and not event.waited]
        fresh = {(slot.limit, slot.key) for event in taken for slot in event.slots}
        self.full = fresh <= crowded
        crowded |= fresh


class Answered:
    """Hands an answer to one who waits; he may be gone."""

    __slots__ = ("future",)

    def __init__(self) -> None:
        self.future: asyncio.Future[Handled] = asyncio.get_running_loop().create_future()

    def __call__(self, handled: Handled | None, error: BaseException | None) -> None:
        """Take the answer."""
        if self.future.done():
            return
        if handled is not None:
            self.future.set_result(handled)
        elif error is not None:
            self.future.set_exception(error)
            self.future.exception()  # the caller may be gone; then nobody else would look at it


def refuse(letters: Iterable[Letter], error: BaseException) -> None:
    """Answer all with the error."""
    for letter in letters:
        letter.answer(None, error)
