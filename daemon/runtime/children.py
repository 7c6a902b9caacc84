"""Executions that other executions have started: begun and undone for a step, asked to end, and telling how they ended.

Whatever is owed here is in a log before it is begun, and is owed until the other log has it: a child that has ended
keeps its lease until its parent knows, and tells one that is parked as soon as that can be worked on again. Doing it
twice is harmless, so after a crash it is simply done again.

Comes from: daemon/nodes/subflow, `engine` (CancelChild, TellParent). Goes to: `engine`.
"""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Any, TypeVar

import structlog
from msgspec import Struct

from daemon.core.child_events import Parent
from daemon.core.commands import CancelExecution, FinishChild, StartExecution, UndoExecution
from daemon.core.effects import tell
from daemon.core.errors import ExecutionNotFound, InvalidInput, Rejected, UnknownWorkflow
from daemon.core.leaving import child_id_of
from daemon.core.state import Finished, NotStarted
from daemon.core.values import bounded_json, to_json
from daemon.nodes.answers import Child
from daemon.nodes.context import StepFailure
from daemon.runtime.leases import first_of
from eventstore.errors import Conflict, StoreError, Unavailable

if TYPE_CHECKING:
    from collections.abc import Callable, Collection, Coroutine
    from datetime import datetime
    from uuid import UUID

    from daemon.core.commands import Command
    from daemon.core.effects import CancelChild, TellParent
    from daemon.core.plan import Plan
    from daemon.core.state import State
    from daemon.runtime.clock import Clock
    from daemon.runtime.engine import Engine
    from daemon.runtime.history import History
    from daemon.runtime.leases import Membership
    from daemon.runtime.plans import Plans
    from eventstore.leases import Leases

T = TypeVar("T")

FIRST_PAUSE_S, LONGEST_PAUSE_S = 0.1, 5.0
"""Between two tries while the store is away; each pause is twice the one before."""

PARKED_PAUSE_S = 60.0
"""Between two looks at a parent that is parked: another daemon may have been asked to resume it."""

_logger = structlog.get_logger(__name__)


class Starting(Struct, frozen=True, kw_only=True):
    """What a step wants to start, and who it is."""

    parent: Parent
    subject: str = ""
    """Whose data the parent holds."""
    workflow: str
    """Of the child."""
    version: str | None
    """Hash of the child's definition, or how it begins; None for the current one."""
    input: Any
    traceparent: str | None
    trigger: dict[str, Any]
    """What the child sees as `trigger`."""


class Children:
    """Starts, ends and undoes executions for others, in one daemon."""

    def __init__(
        self,
        *,
        engine: Engine,
        plans: Plans,
        history: History,
        leases: Leases,
        membership: Membership,
        clock: Clock,
        check_input: Callable[[Plan, Any], None],
        spawn: Callable[[Coroutine[Any, Any, Any]], asyncio.Task[Any]],
    ) -> None:
        """`check_input` raises InvalidInput; `spawn` starts a task whose failure stops the daemon."""
        self._engine = engine
        self._plans = plans
        self._history = history
        self._leases = leases
        self._membership = membership
        self._clock = clock
        self._check_input = check_input
        self._spawn = spawn
        self._tasks: dict[tuple[UUID, datetime | None], asyncio.Task[Any]] = {}
        """Child and when it has ended, or None while it is asked to -> what is under way."""
        self._parked: dict[UUID, asyncio.Event] = {}
        """Parent that cannot be worked on -> set when it can."""
        self._resting: set[tuple[UUID, datetime | None]] = set()
        """What of `_tasks` waits for a parent that is parked."""
        self._rested = asyncio.Event()
        self._stopped = False

    async def start(self, wanted: Starting) -> Child:
        """Start the child, unless it is there already; return when that is durable, however long the store is away.

        Raises `StepFailure`, not retryable but for a workflow that is not loaded, if it cannot be started.
        """
        parent = wanted.parent
        child = child_id_of(parent.execution_id, parent.address, parent.attempt, parent.key)
        try:
            plan = await self._plan(wanted)
            self._check_input(plan, wanted.input)
            started = bounded_json(wanted.input)
        except (Rejected, TypeError, ValueError) as error:
            there = await self._patiently(lambda: self._history.load(child))
            if not isinstance(there, NotStarted):
                return _child(child, there)
            code = "invalid_input" if isinstance(error, InvalidInput) else "unknown_workflow"
            raise StepFailure(str(error), code, retryable=isinstance(error, UnknownWorkflow)) from error
        command = StartExecution(
            execution_id=child,
            input=started,
            trigger=to_json(wanted.trigger),
            traceparent=wanted.traceparent,
            parent=parent,
            subject=wanted.subject,
            actor=f"execution:{parent.execution_id}",
            at=self._clock.now(),
        )
        handled = await self._patiently(lambda: self._engine.send(child, command, plan=plan))
        return _child(child, handled.state)

    async def undo(self, child: UUID, parent: Parent) -> Child:
        """Have a child undone that has completed; return when that has begun, or was done before."""
        actor = f"execution:{parent.execution_id}"
        reason = "what its parent has done is undone"
        state = await self.undo_completed(child, reason, actor=actor, parent=parent)
        if isinstance(state, Finished) and state.parent != parent:  # nothing was left to be undone
            self.tell(child, tell(state, parent))
        return _child(child, state)

    async def undo_completed(
        self, execution_id: UUID, reason: str, *, actor: str, parent: Parent | None = None
    ) -> State:
        """Begin to undo an execution that has completed; harmless when that was done, or it owes nothing.

        Raises ExecutionNotFound, Rejected for one that has not completed, MissingDefinition, Undecodable. Waits for a
        store that is away.
        """
        before = await self._patiently(lambda: self._history.load(execution_id))
        if isinstance(before, NotStarted):
            raise ExecutionNotFound(execution_id)
        plan = await self._patiently(lambda: self._plans.pinned(before.definition))
        command = UndoExecution(reason=reason, parent=parent, actor=actor, at=self._clock.now())
        return (await self._patiently(lambda: self._engine.send(execution_id, command, plan=plan))).state

    def cancel(self, execution_id: UUID, effect: CancelChild) -> None:
        """See that the child ends, in a task of its own; `execution_id` is the parent's."""
        self._begin((effect.child, None), self._cancel(execution_id, effect))

    def tell(self, child: UUID, ended: TellParent) -> None:
        """See that the parent knows how the child has ended, in a task of its own."""
        parent = ended.parent
        command = FinishChild(
            address=parent.address,
            attempt=parent.attempt,
            child=child,
            workflow=ended.workflow,
            definition=ended.definition,
            status=ended.status,
            output=ended.output,
            error=ended.error,
            owes=ended.owes,
            at=self._clock.now(),
        )
        self._begin((child, ended.ended_at), self._tell(parent.execution_id, command, ended.ended_at))

    def parent_there(self, execution_id: UUID) -> None:
        """Tell a parent that was parked, and can be worked on again, of its children's ends."""
        if (there := self._parked.pop(execution_id, None)) is not None:
            there.set()

    async def settled(self) -> None:
        """Return when nothing is under way but what waits for a parent that is parked."""
        while busy := [task for key, task in self._tasks.items() if key not in self._resting]:
            self._rested.clear()
            await first_of(_all_done(busy), self._rested.wait())

    def stop(self) -> None:
        """Begin nothing more, and let go of what is under way: it stays owed."""
        self._stopped = True
        for task in list(self._tasks.values()):
            task.cancel()

    def _begin(self, key: tuple[UUID, datetime | None], work: Coroutine[Any, Any, None]) -> None:
        if self._stopped or key in self._tasks:
            work.close()
            return
        task = self._tasks[key] = self._spawn(work)
        task.add_done_callback(lambda _: self._tasks.pop(key, None))

    async def _plan(self, wanted: Starting) -> Plan:
        workflow, version = wanted.workflow, wanted.version
        if version is None:
            return self._plans.current(workflow)
        return await self._patiently(lambda: self._plans.version(workflow, version))

    async def _cancel(self, parent: UUID, effect: CancelChild) -> None:
        """Cancel the child. One that was never started, or could not be, counts as cancelled."""
        command: Command = CancelExecution(
            reason=effect.reason, undo=effect.undo, actor=f"execution:{parent}", at=self._clock.now()
        )
        try:
            await self._patiently(lambda: self._engine.send(effect.child, command))
        except ExecutionNotFound:
            ended = FinishChild(
                address=effect.address,
                attempt=effect.attempt,
                child=effect.child,
                status="cancelled",
                at=self._clock.now(),
            )
            await self._deliver(parent, ended)
        except (Rejected, StoreError) as error:  # it is being undone already, or is parked
            _logger.info("child_not_cancelled", child=str(effect.child), parent=str(parent), error=str(error))

    async def _tell(self, parent: UUID, command: FinishChild, ended_at: datetime) -> None:
        """Tell the parent; then the child's lease, which has kept it from being forgotten, can go."""
        parked = False
        while not await self._deliver(parent, command, again=parked):
            parked = True
            await self._until_there(parent, (command.child, ended_at))
        if (daemon_id := self._membership.id) is not None:
            await self._patiently(lambda: self._leases.drop(daemon_id, command.child, ended_at=ended_at))

    async def _until_there(self, parent: UUID, key: tuple[UUID, datetime]) -> None:
        """Wait until the parent was worked on here, or may have been elsewhere."""
        there = self._parked.setdefault(parent, asyncio.Event())
        self._resting.add(key)
        self._rested.set()
        try:
            await first_of(self._clock.sleep(PARKED_PAUSE_S), there.wait())
        finally:
            self._resting.discard(key)

    async def _deliver(self, parent: UUID, command: FinishChild, *, again: bool = False) -> bool:
        """Bring it to the parent; False for one that is parked: that is logged once."""
        try:
            await self._patiently(lambda: self._engine.send(parent, command))
        except ExecutionNotFound:
            _logger.warning("parent_gone", child=str(command.child), parent=str(parent))
        except (Rejected, StoreError) as error:
            if not again:
                _logger.error("parent_not_told", child=str(command.child), parent=str(parent), error=str(error))  # noqa: TRY400  foreseen: the message says all
            return False
        return True

    async def _patiently(self, ask: Callable[[], Coroutine[Any, Any, T]]) -> T:
        """Return what the store gives, however long it is away."""
        pause_s = FIRST_PAUSE_S
        while True:
            try:
                return await ask()
            except (Unavailable, Conflict) as error:
                _logger.warning("children_wait_for_store", error=str(error))
                await self._clock.sleep(pause_s)
                pause_s = min(2 * pause_s, LONGEST_PAUSE_S)


async def _all_done(tasks: Collection[asyncio.Task[Any]]) -> None:
    await asyncio.wait(tasks)


def _child(child: UUID, state: State) -> Child:
    if isinstance(state, NotStarted):
        raise TypeError(f"the child {child} was started, and is not there")
    return Child(child, state.workflow, state.definition)
