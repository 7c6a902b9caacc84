"""Group commit: appends of all executions queue up; one commit is in flight while the next batch gathers.

There is no timer and no least batch: an idle log commits at once, a busy one in large batches. A batch holds at most
one append of an execution, so appends of one execution are written in the order they came.

Comes from: daemon/runtime/engine and intake. Goes to: `log.EventLog.insert`.
"""

from __future__ import annotations

import asyncio
from collections import deque
from contextvars import Context
from typing import TYPE_CHECKING

import msgspec

from eventstore.errors import Conflict, Unavailable

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Iterable, Sequence
    from uuid import UUID

    from eventstore.log import Append, EventLog

BATCH_EVENTS = 500
"""A batch is closed when it has this many events: beyond, a commit gets slower as fast as it gets larger."""
BATCH_BYTES = 8 * 1024 * 1024
"""Or when its values are this long: every commit must be through before the log is taken for away."""


class _Entry:
    """One accepted append. `uncertain` once a commit that held it gave no answer: it may be in the log already."""

    __slots__ = ("append", "done", "uncertain")

    def __init__(self, append: Append, done: asyncio.Future[None]) -> None:
        self.append = append
        self.done = done
        self.uncertain = False


class Writer:
    """Writes appends of many tasks to one log, one commit at a time. Belongs to one event loop.

    What was accepted is written or answered with an error, never dropped; a waiter that is cancelled does not take its
    append back.
    """

    def __init__(
        self,
        log: EventLog,
        *,
        batch_events: int = BATCH_EVENTS,
        batch_bytes: int = BATCH_BYTES,
        max_waiting: int = 10_000,
        first_pause_s: float = 0.05,
        max_pause_s: float = 5.0,
        sleep: Callable[[float], Awaitable[None]] = asyncio.sleep,
    ) -> None:
        """`max_waiting` appends may queue before `append` waits; the pauses are those while the log is unavailable."""
        self._log = log
        self._batch_events = batch_events
        self._batch_bytes = batch_bytes
        self._max_waiting = max_waiting
        self._first_pause_s = first_pause_s
        self._max_pause_s = max_pause_s
        self._sleep = sleep
        self._queues: dict[UUID, deque[_Entry]] = {}
        self._waiting = 0
        self._room = asyncio.Event()
        self._room.set()
        self._commits: asyncio.Task[None] | None = None
        self._closed = False

    async def append(self, append: Append) -> None:
        """Return when the append is durable. Waits for room first.

        Raises Conflict when it does not extend its execution, Unavailable when the writer was closed before the log
        answered, and whatever the codec raises for an event it does not know.
        """
        while not self._room.is_set():
            await self._room.wait()
        await self.submit(append)

    def submit(self, append: Append) -> asyncio.Future[None]:
        """Queue the append without waiting for room; the future is answered as `append` is."""
        done = asyncio.get_running_loop().create_future()
        if self._closed:
            done.set_exception(Unavailable("the writer is closed"))
            return done
        self._queues.setdefault(append.execution_id, deque()).append(_Entry(append, done))
        self._count(1)
        if self._commits is None:
            self._commits = asyncio.create_task(self._run(), name="eventstore-writer", context=Context())
        return done

    async def close(self, *, grace_s: float = 10.0) -> None:
        """Take no more appends, write those accepted. After `grace_s` seconds the rest is answered Unavailable."""
        self._closed = True
        if self._commits is None:
            return
        _, unfinished = await asyncio.wait({self._commits}, timeout=grace_s)
        for task in unfinished:
            task.cancel()
            await asyncio.wait({task})

    def _count(self, change: int) -> None:
        self._waiting += change
        if self._waiting >= self._max_waiting:
            self._room.clear()
        else:
            self._room.set()

    async def _run(self) -> None:
        """Commit until the queues are empty; `submit` starts it again."""
        batch: list[_Entry] = []
        try:
            while self._queues:
                batch = self._next_batch()
                await self._commit(batch)
        finally:
            self._commits = None
            left = [*batch, *(entry for queue in self._queues.values() for entry in queue)]
            self._queues.clear()
            self._count(-self._waiting)
            for entry in left:
                _answer(entry, Unavailable("the writer was closed before the log answered"))

    def _next_batch(self) -> list[_Entry]:
        batch: list[_Entry] = []
        events = size = 0
        for execution_id in list(self._queues):
            queue = self._queues[execution_id]
            events += len(queue[0].append.events)
            size += _size(queue[0].append)
            if batch and (events > self._batch_events or size > self._batch_bytes):
                break
            batch.append(queue.popleft())
            del self._queues[execution_id]
            if queue:
                self._queues[execution_id] = queue
        self._count(-len(batch))
        return batch

    async def _commit(self, batch: list[_Entry]) -> None:
        """Write a batch and answer its waiters.

        1. Insert. 2. No answer: pause, insert again, knowing that the first may have been carried out. 3. Conflict:
        the losers leave, the rest goes again; a loser that was uncertain is looked up, it may have lost to itself.
        4. Anything else is a bug of one append: each goes alone, so that it fails alone.
        """
        pause_s = self._first_pause_s
        while batch:
            try:
                await self._log.insert([entry.append for entry in batch])
            except Unavailable:
                for entry in batch:
                    entry.uncertain = True
                await self._sleep(pause_s)
                pause_s = min(2 * pause_s, self._max_pause_s)
            except Conflict as conflict:
                losers = [entry for entry in batch if entry.append.execution_id in conflict.losers] or batch
                await self._settle(losers)
                batch = [entry for entry in batch if entry not in losers]
            except Exception as error:  # noqa: BLE001  it is handed to the waiter
                if len(batch) == 1:
                    self._fail(batch[0], error)
                    return
                for entry in batch:
                    await self._commit([entry])
                return
            else:
                for entry in batch:
                    _answer(entry, None)
                return

    async def _settle(self, losers: Iterable[_Entry]) -> None:
        for entry in losers:
            if entry.uncertain and await self._is_written(entry.append):
                _answer(entry, None)
            else:
                self._fail(entry, Conflict(entry.append.execution_id, entry.append.after_version))

    async def _is_written(self, append: Append) -> bool:
        """Tell whether the log holds exactly these events at their versions, asking until it answers."""
        last = append.after_version + len(append.events)
        pause_s = self._first_pause_s
        while True:
            try:
                found = await self._log.read(
                    append.execution_id, after_version=append.after_version, up_to_version=last
                )
            except Unavailable:
                await self._sleep(pause_s)
                pause_s = min(2 * pause_s, self._max_pause_s)
            else:
                return _same([recorded.event for recorded in found], append.events)

    def _fail(self, entry: _Entry, error: Exception) -> None:
        """Answer with the error, and so all that was queued behind it: it was decided on events that are not there."""
        _answer(entry, error)
        behind = self._queues.pop(entry.append.execution_id, ())
        self._count(-len(behind))
        for later in behind:
            _answer(later, Conflict(later.append.execution_id, later.append.after_version))


def _size(append: Append) -> int:
    """Return the bytes of the values that the events carry: what can be long in them."""
    events = (event for event in append.events if isinstance(event, msgspec.Struct))
    fields = (value for event in events for value in msgspec.structs.astuple(event))
    return sum(len(value) for value in fields if type(value) is msgspec.Raw)


def _answer(entry: _Entry, error: Exception | None) -> None:
    if entry.done.done():
        return
    if error is None:
        entry.done.set_result(None)
    else:
        entry.done.set_exception(error)


def _same(found: Sequence[object], sent: Sequence[object]) -> bool:
    """Compare as stored: by type and JSON text, so that encryption and tuples read back as lists do not matter."""
    encode = msgspec.json.encode
    return [(type(event), encode(event)) for event in found] == [(type(event), encode(event)) for event in sent]
