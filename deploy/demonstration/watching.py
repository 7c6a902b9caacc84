"""Follows the event log while the daemon writes it, and counts. It reads the store itself: the daemon need not live.

Comes from: eventstore. Goes to: `screen`, `checks`.
"""

from __future__ import annotations

import asyncio
import json
from collections import Counter, deque
from typing import TYPE_CHECKING, Any

from daemon.core import events as e
from eventstore.tail import follow

if TYPE_CHECKING:
    from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
    from pathlib import Path
    from uuid import UUID

    from eventstore.log import Recorded
    from eventstore.store import Store

POLL_S = 0.1
SHOWN = 8

ENDS: Mapping[type, str] = {
    e.ExecutionCompleted: "completed",
    e.ExecutionFailed: "failed",
    e.ExecutionCancelled: "cancelled",
}


class Progress:
    """What the log tells of this run's orders: a fold."""

    def __init__(self, orders: Collection[str]) -> None:
        """`orders` are the ids of this run's; other executions are left out."""
        self._orders = orders
        self.order_of: dict[UUID, str] = {}
        self.ended: dict[UUID, str] = {}
        self.in_flight: dict[UUID, set[str]] = {}
        self.waiting_for_review: set[UUID] = set()
        self.steps = 0
        self.events = 0
        self.latest: deque[Recorded] = deque(maxlen=SHOWN)

    def take(self, recorded: Recorded) -> bool:
        """Count an event; tell whether it is of this run."""
        event, execution_id = recorded.event, recorded.execution_id
        if isinstance(event, e.ExecutionStarted) and (key := event.dedupe_key) is not None and key in self._orders:
            self.order_of[execution_id] = key
        if execution_id not in self.order_of:
            return False
        self.events += 1
        self.latest.append(recorded)
        at_work = self.in_flight.setdefault(execution_id, set())
        match event:
            case e.StepStarted():
                at_work.add(event.address)
            case e.StepSucceeded() | e.StepFailed():
                at_work.discard(event.address)
                self.steps += isinstance(event, e.StepSucceeded) or event.retry_at is None
            case e.StepPostponed():
                at_work.discard(event.address)
            case e.SignalAwaited():
                self.waiting_for_review.add(execution_id)
            case e.ExecutionCompleted() | e.ExecutionFailed() | e.ExecutionCancelled():
                self.ended[execution_id] = ENDS[type(event)]
                at_work.clear()
            case _:
                pass
        return True

    @property
    def started(self) -> int:
        """How many orders have an execution."""
        return len(self.order_of)

    @property
    def steps_in_flight(self) -> Sequence[str]:
        """Steps that have begun and have no result, by idempotency key."""
        return [f"{execution_id}/{address}" for execution_id, steps in self.in_flight.items() for address in steps]

    def statuses(self) -> Counter[str]:
        """Count executions by status."""
        return Counter(self.ended.values()) + Counter(running=self.started - len(self.ended))


class Watcher:
    """Keeps a `Progress` up to date."""

    def __init__(self, store: Store, progress: Progress, after_position: int) -> None:
        self._store = store
        self._progress = progress
        self._position = after_position
        self._changed = asyncio.Condition()

    async def run(self) -> None:
        """Follow the log until cancelled."""
        following = follow(self._store.log, after_position=self._position, wake=asyncio.Event(), poll_interval_s=POLL_S)
        async for batch in following:
            for recorded in batch:
                self._progress.take(recorded)
                self._position = recorded.position
            async with self._changed:
                self._changed.notify_all()

    async def catch_up(self) -> None:
        """Return when all that was in the log at the call has been counted."""
        head = await self._store.log.head()
        async with self._changed:
            await self._changed.wait_for(lambda: self._position >= head)

    async def until(self, condition: Callable[[Progress], bool], timeout_s: float) -> bool:
        """Return when the log fulfils the condition; False when it does not in time."""
        try:
            async with asyncio.timeout(timeout_s), self._changed:
                await self._changed.wait_for(lambda: condition(self._progress))
        except TimeoutError:
            return False
        return True


def read_journal(path: Path) -> Iterator[dict[str, Any]]:
    """Yield what the handlers wrote down: `{what, key, attempt, pid, at}`."""
    with path.open() as file:
        for line in file:
            yield json.loads(line)


def at_work(path: Path) -> set[tuple[str, int]]:
    """Return the runs of handlers, as key and attempt, that have begun and not ended."""
    runs: Counter[tuple[str, int]] = Counter()
    for line in read_journal(path):
        runs[line["key"], line["attempt"]] += 1 if line["what"] == "began" else -1
    return {run for run, open_ends in runs.items() if open_ends > 0}
