"""Forks and rewinds of one daemon: from what a person names to the commands that the core decides on.

Comes from: daemon/api, `engine` (when all is undone that a rewind had to undo). Goes to: `cuts`, `history`, `engine`.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Literal
from uuid import UUID, uuid4, uuid5

import structlog
from msgspec import Struct
from msgspec.structs import replace

from daemon.core.branch_events import Edits
from daemon.core.commands import FinishRewind, ForkExecution, RewindExecution
from daemon.core.decide import decide
from daemon.core.errors import Rejected
from daemon.core.events import CompensationOwed, Event
from daemon.core.evolve_branches import undone_by
from daemon.core.state import INITIAL, NotStarted, Running, State
from daemon.core.subjects import check_there
from daemon.runtime.cuts import Cut
from eventstore.errors import Conflict, StoreError, Unavailable

if TYPE_CHECKING:
    import asyncio
    from collections.abc import Callable, Coroutine, Sequence

    from daemon.core.effects import GoBack
    from daemon.core.plan import Plan
    from daemon.runtime.clock import Clock
    from daemon.runtime.cuts import Cuts
    from daemon.runtime.engine import Engine
    from daemon.runtime.history import History
    from daemon.runtime.plans import Plans
    from eventstore.log import Recorded

PAUSE_S = 1.0
Mode = Literal["automatic", "manual", "confirm_each", "none"]

_logger = structlog.get_logger(__name__)


class ForkWish(Struct, frozen=True, kw_only=True):
    """What somebody wants a fork to be."""

    where: str
    """See `cuts.Cuts.find`."""
    edits: Edits = Edits()
    version: str | None = None
    """Of the workflow: a hash, or how it begins; `current` for what starts executions now; None for the source's."""
    accept_undone: bool = False
    """Whether to go on from a past of which the source has undone something since."""
    key: str | None = None
    """The same key gives the same fork; None makes another each time."""
    reason: str = ""
    actor: str


class Past(Struct, frozen=True):
    """A cut, with what the core needs to know to go on from it."""

    cut: Cut
    base: State
    between: tuple[Event, ...]
    """All events since, of the log that the cut lies in."""

    @property
    def undone(self) -> Sequence[str]:
        """The steps that had taken effect before the cut, and were undone since."""
        since: set[str] = set()
        found: list[str] = []
        for event in self.between[self.cut.down_to - self.cut.version :]:
            if isinstance(event, CompensationOwed):
                since.add(event.address)
            elif (address := undone_by(event)) and address not in since:
                found.append(address)
        return found


class Branches:
    """Forks and rewinds executions."""

    def __init__(
        self,
        *,
        engine: Engine,
        plans: Plans,
        history: History,
        cuts: Cuts,
        clock: Clock,
        spawn: Callable[[Coroutine[Any, Any, None]], asyncio.Task[None]],
    ) -> None:
        """`spawn` starts a task whose failure stops the daemon."""
        self._engine = engine
        self._plans = plans
        self._history = history
        self._cuts = cuts
        self._clock = clock
        self._spawn = spawn
        self._going: dict[UUID, asyncio.Task[None]] = {}
        self._stopped = False

    async def past(self, execution_id: UUID, where: str) -> Past:
        """Return what is at the cut. Raises ExecutionNotFound; Rejected for a cut that there is not."""
        check_there(await self._history.existing(execution_id))
        cut = await self._cuts.find(execution_id, where)
        return Past(cut, *await self._since(cut.execution_id, cut.version))

    async def fork(self, execution_id: UUID, wish: ForkWish) -> tuple[UUID, Past]:
        """Begin a fork; return its id when it is durable, and what it goes on from. A repeat with a key is harmless.

        Raises ExecutionNotFound; Rejected for a past that nothing can go on from, or of which something was undone
        since, and for edits that do not fit.
        """
        past, plan, command = await self._forking(execution_id, wish)
        try:
            await self._engine.send(command.execution_id, command, plan=plan)
        except Conflict:
            await self._history.existing(command.source)  # it may have been deleted at this moment
            raise
        return command.execution_id, past

    async def look_at_fork(self, execution_id: UUID, wish: ForkWish) -> Past:
        """Return what a fork would go on from; nothing is changed. Raises what `fork` raises."""
        past, plan, command = await self._forking(execution_id, wish)
        decide(plan, INITIAL, command, None)
        return past

    async def _forking(self, execution_id: UUID, wish: ForkWish) -> tuple[Past, Plan, ForkExecution]:
        past = await self.past(execution_id, wish.where)
        if past.undone and not wish.accept_undone:
            steps = ", ".join(past.undone)
            raise Rejected(f"what {steps} had done was undone since: fork before that, or accept it (accept_undone)")
        fork_id = uuid4() if wish.key is None else uuid5(execution_id, f"fork/{wish.key}")
        command = ForkExecution(
            execution_id=fork_id,
            source=past.cut.execution_id,
            at_version=past.cut.version,
            base=past.base,
            edits=wish.edits,
            again=past.cut.again,
            reason=wish.reason,
            actor=wish.actor,
            at=self._clock.now(),
        )
        return past, await self.plan_for(past.base, wish.version), command

    async def plan_for(self, base: State, version: str | None) -> Plan:
        """Return the plan of a fork of this state. Raises Rejected when there is none."""
        if isinstance(base, NotStarted):
            raise Rejected("at that version the execution had not started")
        if version is None:
            return await self._plans.pinned(base.definition)
        if version == "current":
            return self._plans.current(base.workflow)
        return await self._plans.version(base.workflow, version)

    async def rewind(
        self,
        execution_id: UUID,
        where: str,
        *,
        mode: Mode = "automatic",
        keep_signals: bool = True,
        rewind_id: str = "",
        reason: str = "",
        actor: str,
    ) -> Past:
        """Let the execution go on from its past, after what it has done since is undone; return when that has begun.

        A repeat with the same `rewind_id` is harmless.

        Raises ExecutionNotFound; Rejected for a past that nothing can go on from, or one that lies in another log.
        """
        past, command = await self._rewinding(execution_id, where, mode, actor)
        command = replace(command, keep_signals=keep_signals, rewind_id=rewind_id, reason=reason)
        state = await self._history.load(execution_id)
        plan = None if isinstance(state, Running | NotStarted) else await self._plans.pinned(state.definition)
        await self._engine.send(execution_id, command, plan=plan)
        return past

    async def look_at_rewind(self, execution_id: UUID, where: str, *, mode: Mode = "automatic", actor: str) -> Past:
        """Return what a rewind would go on from; nothing is changed. Raises what `rewind` raises."""
        past, command = await self._rewinding(execution_id, where, mode, actor)
        decide(await self.plan_for(past.base, None), await self._history.existing(execution_id), command, None)
        return past

    async def _rewinding(self, execution_id: UUID, where: str, mode: Mode, actor: str) -> tuple[Past, RewindExecution]:
        past = await self.past(execution_id, where)
        if past.cut.execution_id != execution_id:
            source = past.cut.execution_id
            raise Rejected(f"that lies in {source}, which this execution was forked from: fork that instead")
        command = RewindExecution(
            to_version=past.cut.version,
            base=past.base,
            between=past.between,
            mode=mode,
            again=past.cut.again is not None,
            down_to=past.cut.down_to,
            actor=actor,
            at=self._clock.now(),
        )
        return past, command

    def go_back(self, execution_id: UUID, effect: GoBack) -> None:
        """See `ports.PastKeeper`."""
        if self._stopped or execution_id in self._going:
            return
        task = self._going[execution_id] = self._spawn(self._go_back(execution_id, effect))
        task.add_done_callback(lambda _: self._going.pop(execution_id, None))

    def stop(self) -> None:
        """Begin nothing more: what is owed is taken up by whoever runs the execution next."""
        self._stopped = True
        for task in self._going.values():
            task.cancel()

    async def _go_back(self, execution_id: UUID, effect: GoBack) -> None:
        """Tell the core what is at the version, again and again while others append meanwhile, or the store is away."""
        while True:
            try:
                base, between = await self._since(execution_id, effect.to_version)
                again = await self._cuts.command_after(execution_id, effect.to_version) if effect.again else None
                command = FinishRewind(
                    to_version=effect.to_version, base=base, between=between, again=again, at=self._clock.now()
                )
                self._engine.functions.forget(execution_id)
                await self._engine.send(execution_id, command)
            except (Unavailable, Conflict, Rejected) as error:
                state = await self._quietly(execution_id)
                if isinstance(error, Rejected) and not (isinstance(state, Running) and state.rewinding is not None):
                    return
                _logger.info("rewind_waits", execution_id=str(execution_id), error=str(error))
                await self._clock.sleep(PAUSE_S)
            except StoreError as error:
                _logger.error("not_rewound", execution_id=str(execution_id), error=str(error))  # noqa: TRY400  foreseen: the message says all
                return
            else:
                return

    async def _quietly(self, execution_id: UUID) -> State | None:
        try:
            return await self._history.load(execution_id)
        except StoreError:
            return None

    async def _since(self, execution_id: UUID, version: int) -> tuple[State, tuple[Event, ...]]:
        base = await self._history.load(execution_id, up_to_version=version)
        since: Sequence[Recorded] = await self._history.events(execution_id, after_version=version)
        return base, tuple(recorded.event for recorded in since)
