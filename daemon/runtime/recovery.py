"""Recovery: taking up executions that have work in flight and nobody who does it. At the start and ever after.

Nothing special happens to them: an execution is loaded and what is owed to it is carried out, as at any time. Those
that only wait for timers and signals need nothing: their rows are there.

1. Daemons that have died are fenced: their leases are free. 2. Free leases are claimed, as many as there is room for:
what this daemon cannot work on is left to others. While there may be more, no new execution is taken in. 3. Claimed
executions are resumed, and those of ours that another daemon has hinted at. One that cannot be (unreadable events,
missing definition) is parked: logged as an alarm and left as it is; its lease stays here, so nobody tries again and
again.

Comes from: `supervisor`. Goes to: eventstore/leases, `engine.resume`.
"""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Protocol

import structlog

from daemon.core.errors import Rejected
from daemon.core.state import Finished, has_work
from daemon.runtime.leases import ALONE, AWAY_PAUSE_S, first_of
from eventstore.errors import Conflict, Fenced, StoreError, Unavailable

if TYPE_CHECKING:
    from datetime import timedelta
    from uuid import UUID

    from daemon.core.state import State
    from daemon.runtime.clock import Clock
    from daemon.runtime.leases import Membership
    from eventstore.leases import Leases

PAGE = 500
"""Executions claimed and resumed at a time, at most."""
LOOK_S = 1.0
"""With others beside it, a daemon looks this often whether one has died."""
PROOF_S = 10.0
"""This often, or once in a ttl, it looks for free leases and hints without being told of any."""

_logger = structlog.get_logger(__name__)


class Resumes(Protocol):
    """What recovery needs of the engine; see `engine.Engine`."""

    @property
    def active(self) -> int:
        """How many executions are in memory."""

    async def room_for_old(self) -> None:
        """Return when there is room for another."""

    def old_first(self, *, waits: bool) -> None:
        """Keep new executions waiting while there are old ones to take up."""

    def holds(self, execution_id: UUID) -> bool:
        """Whether this daemon runs the execution's steps."""

    async def resume(self, execution_id: UUID) -> State:
        """Load the execution and carry out what is owed to it."""


class Recovery:
    """Takes up what dead and departed daemons have left, and what others hint at."""

    def __init__(
        self, leases: Leases, engine: Resumes, membership: Membership, clock: Clock, *, ttl: timedelta, max_active: int
    ) -> None:
        """`max_active` is the engine's: beyond it nothing is claimed."""
        self._leases = leases
        self._engine = engine
        self._membership = membership
        self._clock = clock
        self._max_active = max_active
        self._proof_s = min(PROOF_S, ttl.total_seconds())
        self._look_s = min(LOOK_S, self._proof_s)
        self._owed: set[UUID] = set()
        self._owed_to: UUID | None = None
        self._more = False
        self._hints_lost = False
        self._claim_lost = False
        self._claiming = True
        self._wake = asyncio.Event()
        membership.listen(self._wake.set)

    async def start(self) -> int:
        """Take up what there is room for now; return how much. `run` does the rest. Waits for a store that is away."""
        count = 0
        while (daemon_id := self._membership.id) is not None:
            self._begin(daemon_id)
            try:
                await self._leases.fence_dead(asker=daemon_id)
                await self._claim(daemon_id)
                while self._owed:
                    count += await self._resume_owed(daemon_id)
                    await self._claim(daemon_id)
            except (Unavailable, Conflict) as error:
                _logger.warning("recovery_waits_for_store", error=str(error))
                await self._clock.sleep(AWAY_PAUSE_S)
            except Fenced:
                self._membership.doubt()
                break
            else:
                break
        return count

    async def run(self) -> None:
        """Watch until cancelled or until this daemon has left."""
        while (daemon_id := self._membership.id) is not None:
            self._begin(daemon_id)
            async with self._leases.news(daemon_id) as news:
                await self._watch(daemon_id, news)

    def _begin(self, daemon_id: UUID) -> None:
        """Forget what was owed to this daemon under another id."""
        if self._owed_to != daemon_id:
            self._owed_to = daemon_id
            self._owed.clear()
            self._hints_lost = self._claim_lost = False

    def claim_no_more(self) -> None:
        """Leave free leases to others: the daemon stops."""
        self._claiming = False
        self._tell_more(more=False)

    async def resume(self, execution_id: UUID) -> State | None:
        """Resume an execution because somebody asks for it; None when another daemon has it: that one is to look.

        Raises what `engine.resume` raises, Unavailable, and Fenced.
        """
        daemon_id = self._membership.id
        if daemon_id is None:
            return await self._engine.resume(execution_id)
        try:
            if not await self._leases.take(daemon_id, execution_id) and await self._leases.hint(execution_id):
                return None
            state = await self._resume_as(daemon_id, execution_id)
        except (Unavailable, Conflict, asyncio.CancelledError):
            self._look_at_held()
            raise
        if isinstance(state, Finished) and not has_work(state):
            await self._leases.drop(daemon_id, execution_id, ended_at=state.finished_at)
        return state

    def _look_at_held(self) -> None:
        """Find what may be leased to this daemon without its knowing: an answer was lost, or nobody waits for it."""
        self._claim_lost = True
        self._wake.set()

    async def _watch(self, daemon_id: UUID, news: asyncio.Event) -> None:
        """Look when there is news or room, and now and then without; return when this is no member any more."""
        unseen_s = self._proof_s
        while self._membership.id == daemon_id:
            told = news.is_set() or self._wake.is_set()
            everything = told or unseen_s >= self._proof_s
            news.clear()
            self._wake.clear()
            pause_s = self._proof_s if self._membership.share == ALONE else self._look_s
            refused = False
            try:
                await self._look(daemon_id, everything=everything)
            except (Unavailable, Conflict) as error:
                _logger.warning("recovery_waits_for_store", error=str(error))
                pause_s, everything, unseen_s = min(pause_s, AWAY_PAUSE_S), False, self._proof_s
                refused = True
            except Fenced:
                self._tell_more(more=False)  # nothing is claimed before this daemon has joined anew
                self._membership.doubt()
            unseen_s = pause_s if everything else unseen_s + pause_s
            room = (self._engine.room_for_old(),) if self._more and not refused else ()
            await first_of(self._clock.sleep(pause_s), news.wait(), self._wake.wait(), *room)

    async def _look(self, daemon_id: UUID, *, everything: bool) -> None:
        """Look for dead daemons; with `everything`, or when there was one, also for hints and for free leases."""
        dead = await self._leases.fence_dead(asker=daemon_id)
        if dead:
            _logger.warning("daemons_died", daemons=[member.name for member in dead])
            self._membership.doubt()
        if everything or dead:
            await self._read_hints(daemon_id)
        if everything or dead or self._more or self._claim_lost:
            await self._claim(daemon_id)
        while self._owed:
            await self._resume_owed(daemon_id)
            await self._claim(daemon_id)

    async def _read_hints(self, daemon_id: UUID) -> None:
        """Note the executions that others have hinted at. Reading clears the hints, so a lost answer is made up for."""
        lost, self._hints_lost = self._hints_lost, True
        self._owed.update(await self._leases.hinted(daemon_id))
        if lost:
            self._owed.update(await self._leases.held(daemon_id))
        self._hints_lost = False

    async def _claim(self, daemon_id: UUID) -> None:
        """Claim free leases, as many as there is room for; `_more` tells whether there may be more of them.

        What was claimed and never answered is this daemon's, and known to nobody: it is found among what it holds.
        """
        if not self._claiming:
            return
        if self._claim_lost:
            await self._find_held(daemon_id)
        limit = min(PAGE, self._max_active - self._engine.active)
        if limit <= 0:
            self._tell_more(more=True)
            return
        try:
            claimed = await self._leases.claim(daemon_id, limit=limit)
        except BaseException:
            self._claim_lost = True
            raise
        self._owed.update(claimed)
        self._tell_more(more=len(claimed) == limit)

    async def _find_held(self, daemon_id: UUID) -> None:
        self._claim_lost = False
        try:
            held = await self._leases.held(daemon_id)
        except BaseException:
            self._claim_lost = True
            raise
        self._owed.update(each for each in held if not self._engine.holds(each))

    def _tell_more(self, *, more: bool) -> None:
        self._more = more and self._claiming
        self._engine.old_first(waits=self._more)

    async def _resume_owed(self, daemon_id: UUID) -> int:
        """Resume a page; return how many went well. Raises the first error of those that stay owed."""
        page = list(self._owed)[:PAGE]
        outcomes = await asyncio.gather(*(self._resume_one(daemon_id, each) for each in page), return_exceptions=True)
        for outcome in outcomes:
            if isinstance(outcome, BaseException):
                raise outcome
        return sum(outcome is True for outcome in outcomes)

    async def _resume_one(self, daemon_id: UUID, execution_id: UUID) -> bool:
        try:
            state = await self._resume_as(daemon_id, execution_id)
        except (Unavailable, Conflict):
            raise
        except (Rejected, StoreError) as error:
            _logger.error("execution_parked", execution_id=str(execution_id), error=str(error))  # noqa: TRY400  foreseen: the message says all
            self._owed.discard(execution_id)
            return False
        if isinstance(state, Finished) and not has_work(state):
            await self._leases.drop(daemon_id, execution_id, ended_at=state.finished_at)
        self._owed.discard(execution_id)
        return True

    async def _resume_as(self, daemon_id: UUID | None, execution_id: UUID) -> State:
        """Resume what that daemon has the lease of: under another id it may be somebody else's by now."""
        if self._membership.id != daemon_id:
            raise Unavailable("this daemon has been taken for dead meanwhile")
        return await self._engine.resume(execution_id)
