"""Membership: this daemon among the others that work on the same store.

A member says at the store, three times within its `ttl` or more often, that it lives. One that was silent for longer
may be fenced by the others: its row is gone, its executions are theirs, and nothing that it still appends is kept. A
daemon learns that from the first append or beat that is refused: then it forgets all it knew, cancels its handlers, and
joins anew under another id. Only the store's clock counts, and its own steady pauses: not what time a machine believes
it is.

Comes from: `supervisor`. Goes to: eventstore/leases. `recovery`, `timers` and `tracing` ask for the id and the share.
"""

from __future__ import annotations

import asyncio
from contextlib import suppress
from typing import TYPE_CHECKING, NamedTuple, Protocol
from uuid import uuid4

import structlog

from eventstore.errors import Fenced, Unavailable

if TYPE_CHECKING:
    from collections.abc import Callable, Coroutine, Sequence
    from datetime import datetime, timedelta
    from typing import Any
    from uuid import UUID

    from daemon.runtime.clock import Clock
    from eventstore.leases import Leases, Member

BEATS = 3
"""Signs of life within one ttl: a lost one does no harm."""
LONGEST_BEAT_S = 5.0
"""However long the ttl is, a daemon learns within this time who else lives."""
AWAY_PAUSE_S = 1.0
"""The longest pause between two tries while the store is away."""
LEAVE_S = 5.0
"""How long a stop waits for the store to take note; after that the others find out by themselves."""

_logger = structlog.get_logger(__name__)


class Share(NamedTuple):
    """A daemon's place among the living ones, from 0 in the order in which they came, and how many there are."""

    rank: int
    daemons: int

    def has(self, execution_id: UUID) -> bool:
        """Tell whether what may be done by any daemon, for this execution, is this one's part."""
        return execution_id.int % self.daemons == self.rank


ALONE = Share(0, 1)


class Work(Protocol):
    """What a membership tells the engine; see `engine.Engine`."""

    def act_as(self, daemon: UUID | None) -> None:
        """Append under this id from now on; None: handle no command until there is another."""

    def forget_all(self) -> None:
        """Drop what is known of every execution."""


class Handlers(Protocol):
    """What a membership tells those at work; see `steps.Steps`."""

    def abandon(self) -> None:
        """Cancel all of them, report nothing."""


class Membership:
    """One daemon's life among the others. `engine` and `steps` are set before `join`."""

    engine: Work
    steps: Handlers

    def __init__(
        self,
        leases: Leases,
        clock: Clock,
        *,
        name: str,
        ttl: timedelta,
        fenced: Callable[[], None] = lambda: None,
        compare: Callable[[datetime, datetime], None] | None = None,
        new_id: Callable[[], UUID] = uuid4,
    ) -> None:
        """`name` is for people; `fenced` counts how often this daemon was taken for dead.

        `compare` is told at each beat when it was asked for and what time the store had: see `clock.SharedClock`.
        """
        self._leases = leases
        self._clock = clock
        self._name = name
        self.ttl = ttl
        self._count_fenced = fenced
        self._compare = compare
        self._new_id = new_id
        self._doubted = asyncio.Event()
        self._listeners: list[Callable[[], None]] = []
        self.id: UUID | None = None
        """None before `join` and after `leave`."""
        self.members: Sequence[Member] = ()
        """All of them when last asked, oldest first."""
        self.share = ALONE
        """Which part of the common work is this daemon's; all of it while it knows of no others."""

    @property
    def leads(self) -> bool:
        """Whether it does what only one daemon is to do: it is the oldest."""
        return self.share.rank == 0

    def listen(self, listener: Callable[[], None]) -> None:
        """Call the listener when the share or the id has changed."""
        self._listeners.append(listener)

    def doubt(self) -> None:
        """Ask the store at once whether this daemon is still a member: an append was refused."""
        self._doubted.set()

    async def join(self) -> None:
        """Become a member, under a new id. Waits for a store that is away; raises Unusable for one that is taken."""
        while (daemon_id := await self._joined()) is None:
            await self._clock.sleep(AWAY_PAUSE_S)
        self.engine.act_as(daemon_id)
        self.id = daemon_id
        self._tell()

    async def _joined(self) -> UUID | None:
        """Join and see who else is there, before anything is done under the new id; None when that did not succeed.

        What the store may keep of an id that is given up here has no lease, and is fenced after its ttl.
        """
        daemon_id = self._new_id()
        try:
            await self._leases.join(daemon_id, self._name, ttl=self.ttl)
            await self._beat(daemon_id)
        except (Unavailable, Fenced) as error:
            _logger.warning("joining_waits_for_store", error=str(error))
            with suppress(Unavailable):
                await self._leases.leave(daemon_id)
            return None
        return daemon_id

    async def run(self) -> None:
        """Give signs of life until cancelled. While the store is away, ask again; when fenced, begin anew."""
        pause_s = beat_s = min(self.ttl.total_seconds() / BEATS, LONGEST_BEAT_S)
        while True:
            await first_of(self._clock.sleep(pause_s), self._doubted.wait())
            self._doubted.clear()
            try:
                await self._renew()
                pause_s = beat_s
            except Fenced:
                await self._begin_anew()
                pause_s = beat_s
            except Unavailable as error:
                _logger.warning("beat_waits_for_store", error=str(error))
                pause_s = min(beat_s, AWAY_PAUSE_S)

    def log_joined(self) -> None:
        """Log who this daemon is, for the operator."""
        _logger.info("daemon_joined", daemon=str(self.id), name=self._name, daemons=self.share.daemons)

    async def leave(self) -> None:
        """Give up membership: the others take what is left at once. Harmless before `join` and when repeated."""
        daemon_id, self.id, self.members, self.share = self.id, None, (), ALONE
        if daemon_id is None:
            return
        self.engine.act_as(None)
        try:
            async with asyncio.timeout(LEAVE_S):
                await self._leases.leave(daemon_id)
        except (Unavailable, TimeoutError) as error:
            _logger.warning("left_without_notice", error=str(error))

    async def _renew(self) -> None:
        before = self.share
        if self.id is not None:
            await self._beat(self.id)
        if self.share != before:
            _logger.info("daemons_changed", daemons=[member.name for member in self.members], rank=self.share.rank)
            self._tell()

    async def _beat(self, daemon_id: UUID) -> None:
        asked_at = self._clock.now()
        self.members = await self._leases.beat(daemon_id)
        for rank, member in enumerate(self.members):
            if member.id == daemon_id:
                self.share = Share(rank, len(self.members))
                if self._compare is not None:
                    self._compare(asked_at, member.beat_at)

    async def _begin_anew(self) -> None:
        """Let go of everything before anything is taken up again."""
        _logger.warning("daemon_fenced", daemon=str(self.id), name=self._name)
        self._count_fenced()
        self.engine.act_as(None)
        self.engine.forget_all()
        self.steps.abandon()
        await self.join()
        self.log_joined()

    def _tell(self) -> None:
        for listener in self._listeners:
            listener()


async def first_of(*waits: Coroutine[Any, Any, object]) -> None:
    """Return when the first of these does; the others are cancelled."""
    tasks = [asyncio.ensure_future(wait) for wait in waits]
    try:
        await asyncio.wait(tasks, return_when=asyncio.FIRST_COMPLETED)
    finally:
        for task in tasks:
            task.cancel()
