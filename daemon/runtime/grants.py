"""Grants: what waits for a limit that executions share is let go on when a slot becomes free.

Whoever frees a slot, or asks for one, looks at its queue: so nothing polls, and the daemon that has just had the slot
passes it on. A look reads the head of the queue and sends `GrantSlots` to as many as there is room for. Two daemons may
look at once: the store refuses what is too many, and who was granted already decides nothing. By a rate the next look
is due when the next slot is; the store knows when. Now and then all queues are looked at, in case a daemon has died
between a commit and its look.

Of a singleton with the policy `cancel_older` the newest that waits has the others cancelled.

Comes from: `engine` (Committed), eventstore/slots. Goes to: `engine` (GrantSlots, CancelExecution).
"""

from __future__ import annotations

import asyncio
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Protocol, TypeAlias

import structlog

from daemon.core import events as e
from daemon.core.admission import NoSlot
from daemon.core.commands import CancelExecution, GrantSlots
from daemon.core.errors import Rejected
from daemon.core.state import Running
from daemon.core.throttle import NEWEST
from daemon.runtime.leases import first_of
from eventstore.errors import Conflict, StoreError, Unavailable
from eventstore.slots import earliest_us

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence
    from uuid import UUID

    from daemon.core.commands import Command
    from daemon.runtime.clock import Clock
    from daemon.runtime.engine import Committed
    from eventstore.slots import Slots, Use, Waiter

PROOF_S = 5.0
"""This often all queues are looked at, whatever this daemon knows of them."""
RETRY_S = 1.0
"""Pause before a queue is looked at again of which one could not be granted."""
PAGE = 100
"""Of one queue so many are read at a time, and as many granted at once."""
QUEUES = 1000
"""So many are looked at without a reason, at most."""
LOOKS = 8
"""So many queues are looked at at once."""

Queue: TypeAlias = "tuple[str, str]"
"""A limit and a key."""
_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_OF_SLOTS = frozenset({e.SlotsAsked, e.SlotsTaken})
_logger = structlog.get_logger(__name__)


class Sends(Protocol):
    """What grants need of the engine."""

    async def send(self, execution_id: UUID, command: Command) -> object:
        """Handle the command; see `engine.Engine.send`."""

    async def room_for_old(self) -> None:
        """Return when there is room for one more execution."""


class Grants:
    """Looks at the queues of one log."""

    engine: Sends
    """Set before `run`."""

    def __init__(self, slots: Slots, clock: Clock) -> None:
        self._slots = slots
        self._clock = clock
        self.crowded: set[Queue] = set()
        """What others are known to wait for: the engine knows it too, and adds what it finds to be full."""
        self.waiting: Mapping[str, int] = {}
        """How many waited for each limit when all queues were last looked at."""
        self._touched: set[Queue] = set()
        self._later: dict[Queue, datetime] = {}
        self._looking: set[Queue] = set()
        self._wake = asyncio.Event()
        self._free = asyncio.Semaphore(LOOKS)

    def committed(self, committed: Committed) -> None:
        """Note the queues that an append has changed: a listener of the engine."""
        before, after = committed.before, committed.after
        had = isinstance(before, Running) and (before.limited or before.holding)
        if isinstance(before, Running) and isinstance(after, Running):
            if before.limited is after.limited and before.holding is after.holding:
                return
        elif not had and _OF_SLOTS.isdisjoint(map(type, committed.events)):
            return
        touched = set(_queues_left(before, committed.events))
        asked = {queue for queue, waits in _queues_of(committed.events) if waits}
        self.crowded |= asked
        if touched or asked:
            self._touched |= touched | asked
            self._wake.set()

    async def run(self) -> None:
        """Look until cancelled. While the store is away, look again."""
        proof = self._clock.now()
        async with asyncio.TaskGroup() as tasks:
            while True:
                self._wake.clear()
                now = self._clock.now()
                if not timedelta(0) < proof - now <= timedelta(seconds=PROOF_S):
                    await self._look_everywhere()
                    proof = now + timedelta(seconds=PROOF_S)
                for queue in [queue for queue, due in self._later.items() if due <= now]:
                    del self._later[queue]
                    self._touched.add(queue)
                for queue in sorted(self._touched - self._looking):
                    self._touched.discard(queue)
                    self._looking.add(queue)
                    tasks.create_task(self._look_at(queue))
                due = min((proof, *self._later.values()))
                pause = max((due - self._clock.now()).total_seconds(), 0)
                await first_of(self._clock.sleep(pause), self._wake.wait())

    async def _look_everywhere(self) -> None:
        try:
            found = set(await self._slots.queues(most=QUEUES))
            self.waiting = await self._slots.waiting() if found else {}
            self._touched |= found
            if len(found) < QUEUES:
                self.crowded &= self._touched | self._looking
        except StoreError as error:
            _logger.warning("limits_wait_for_store", error=str(error))

    async def _look_at(self, queue: Queue) -> None:
        try:
            async with self._free:
                await self._look(queue)
        except StoreError as error:
            _logger.warning("limits_wait_for_store", limit=queue[0], error=str(error))
            self._look_later(queue, self._clock.now() + timedelta(seconds=RETRY_S))
        finally:
            self._looking.discard(queue)
            if queue in self._touched:
                self._wake.set()

    async def _look(self, queue: Queue) -> None:
        """Grant what there is room for, until nobody waits or nothing is free.

        Who cannot be granted now is passed over.
        """
        passed_over: set[tuple[UUID, str]] = set()
        while True:
            heads = await self._slots.heads(*queue, most=PAGE + len(passed_over))
            waiting = [head for head in heads if (head.execution_id, head.address) not in passed_over]
            if not heads:
                self.crowded.discard(queue)
            if not waiting:
                return
            if queue[0].endswith(NEWEST):
                await self._cancel_older(queue, heads)
            room = self._room(queue, waiting[0], await self._slots.use(*queue))
            chosen = waiting[:room]
            if not chosen:
                return
            granted = await asyncio.gather(*(self._grant(queue, head) for head in chosen))
            passed_over |= {
                (head.execution_id, head.address) for head, done in zip(chosen, granted, strict=True) if not done
            }

    def _room(self, queue: Queue, head: Waiter, use: Use) -> int:
        """Return how many may be granted; when the rate allows none yet, look again when it does."""
        room = PAGE if head.most is None else head.most - use.held
        if room > 0 and head.interval_us is not None and use.next_us is not None:
            now_us = (self._clock.now() - _EPOCH) // timedelta(microseconds=1)
            earliest = earliest_us(use.next_us, head.interval_us, head.burst)
            room = min(room, (now_us - earliest) // head.interval_us + 1)
            if room <= 0:
                self._look_later(queue, _EPOCH + timedelta(microseconds=earliest))
        return max(room, 0)

    def _look_later(self, queue: Queue, due: datetime) -> None:
        self._later[queue] = min(due, self._later.get(queue, due))
        self._wake.set()

    async def _grant(self, queue: Queue, head: Waiter) -> bool:
        """Grant one; False when it could not be."""
        await self.engine.room_for_old()
        try:
            await self.engine.send(head.execution_id, GrantSlots(address=head.address, at=self._clock.now()))
        except NoSlot:
            return False  # of this limit, or of another that it waits for too: whoever frees that one looks again
        except (Unavailable, Conflict):
            self._look_later(queue, self._clock.now() + timedelta(seconds=RETRY_S))
            return False
        except (Rejected, StoreError) as error:
            told = {"execution_id": str(head.execution_id), "limit": queue[0], "error": str(error)}
            _logger.error("slot_not_granted", **told)  # noqa: TRY400  foreseen: the message says all
            return False
        return True

    async def _cancel_older(self, queue: Queue, heads: Sequence[Waiter]) -> None:
        """Cancel who holds the slot and who waits for it, but for the one that asked last."""
        newest = max(heads, key=lambda head: (head.since, head.execution_id)).execution_id
        holders = await self._slots.holders(*queue, most=PAGE)
        older = {head.execution_id for head in heads} | {holder.execution_id for holder in holders}
        for execution_id in sorted(older - {newest}):
            reason = f"a newer execution has started: {newest}"
            try:
                command = CancelExecution(reason=reason, actor="singleton", at=self._clock.now())
                await self.engine.send(execution_id, command)
            except (Rejected, StoreError) as error:
                _logger.warning("older_not_cancelled", execution_id=str(execution_id), error=str(error))
                self._look_later(queue, self._clock.now() + timedelta(seconds=RETRY_S))


def _queues_of(events: Sequence[e.Event]) -> Iterator[tuple[Queue, bool]]:
    """Give the queues that events name, and whether something waits there from then on."""
    for event in events:
        if isinstance(event, e.SlotsAsked | e.SlotsTaken):
            for slot in event.slots:
                yield (slot.limit, slot.key), isinstance(event, e.SlotsAsked)


def _queues_left(before: object, events: Sequence[e.Event]) -> Iterator[Queue]:
    """Give the queues in which a slot may have become free: all that were had before, or in between."""
    if isinstance(before, Running):
        for slots in (*before.limited.values(), *before.holding.values()):
            for slot in slots.slots:
                yield slot.limit, slot.key
    for queue, _ in _queues_of(events):
        yield queue
