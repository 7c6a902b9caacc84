"""Group commit: appends of all executions queue up; one commit is in flight while the next batch gathers.

There is no timer and no least batch: an idle log commits at once, a busy one in large batches. A batch holds at most
one append of an execution, so appends of one execution are written in the order they came.

Comes from: daemon/runtime/engine and intake. Goes to: `log.EventLog.insert`.
"""

from __future__ import annotations

import asyncio
from collections import deque
from contextvars import Context
from functools import partial
from operator import attrgetter
from typing import TYPE_CHECKING, Any, TypeAlias

import msgspec
from msgspec import Raw

from eventstore.errors import Conflict, Fenced, Full, Unavailable

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Iterable, Mapping, Sequence

    from eventstore.log import Append, EventLog

BATCH_EVENTS = 500
"""A batch is closed when it has this many events: beyond, a commit gets slower as fast as it gets larger."""
BATCH_BYTES = 8 * 1024 * 1024
"""Or when its values are this long: every commit must be through before the log is taken for away."""

Answer: TypeAlias = "Callable[[BaseException | None], None]"
"""Told once how an append ended: None when it is durable, else what `Writer.append` would raise. Must not raise."""
_Entry: TypeAlias = "tuple[Append, Answer]"


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
        self._queue: deque[_Entry] = deque()
        self._room: deque[asyncio.Future[None]] = deque()
        self._commits: asyncio.Task[None] | None = None
        self._closed = False

    async def append(self, append: Append) -> None:
        """Return when the append is durable. Waits for room first.

        Raises Conflict when it does not extend its execution, Full when it takes a slot that is not free, Fenced when
        its daemon was fenced, Unavailable when the writer was closed before the log answered, and whatever the codec
        raises for an event it does not know.
        """
        while len(self._queue) >= self._max_waiting:
            room = asyncio.get_running_loop().create_future()
            self._room.append(room)
            await room
        done = asyncio.get_running_loop().create_future()
        self.submit(append, partial(_resolve, done))
        await done

    def submit(self, append: Append, answer: Answer) -> None:
        """Queue the append without waiting for room; `answer` is called in the loop, never before this has returned."""
        if self._closed:
            asyncio.get_running_loop().call_soon(answer, Unavailable("the writer is closed"))
            return
        self._queue.append((append, answer))
        if self._commits is None:
            self._commits = asyncio.create_task(self._run(), name="eventstore-writer", context=Context())

    async def close(self, *, grace_s: float = 10.0) -> None:
        """Take no more appends, write those accepted. After `grace_s` seconds the rest is answered Unavailable."""
        self._closed = True
        if self._commits is None:
            return
        _, unfinished = await asyncio.wait({self._commits}, timeout=grace_s)
        for task in unfinished:
            task.cancel()
            await asyncio.wait({task})

    async def _run(self) -> None:
        """Commit until the queue is empty; `submit` starts it again.

        The next commit is sent before the last one's answers are given, so that the database works meanwhile.
        """
        later = asyncio.get_running_loop().call_soon
        batch: list[_Entry] = []
        try:
            while self._queue:
                batch = self._next_batch()
                await self._commit(batch)
                written, batch = batch, []
                later(_answer_all, written, None)
        finally:
            self._commits = None
            left = [*batch, *self._queue]
            self._queue.clear()
            self._make_room()
            _answer_all(left, Unavailable("the writer was closed before the log answered"))

    def _next_batch(self) -> list[_Entry]:
        """Take from the queue in turn; what follows an append of the same execution is left for the batch after."""
        queue = self._queue
        batch: list[_Entry] = []
        behind: list[_Entry] = []
        ids: set[int] = set()
        events = size = 0
        while queue and len(behind) < self._batch_events:
            append = queue[0][0]
            execution_id = append.execution_id.int
            if execution_id in ids:
                behind.append(queue.popleft())
                continue
            events += len(append.events)
            for event in append.events:
                measure = _MEASURES.get(type(event), _measure_new)
                size += measure(event)
            if batch and (events > self._batch_events or size > self._batch_bytes):
                break
            ids.add(execution_id)
            batch.append(queue.popleft())
        queue.extendleft(reversed(behind))
        self._make_room()
        return batch

    def _make_room(self) -> None:
        free = self._max_waiting - len(self._queue)
        while self._room and free > 0:
            room = self._room.popleft()
            if not room.done():
                room.set_result(None)
                free -= 1

    async def _commit(self, batch: list[_Entry], *, uncertain: bool = False) -> None:
        """Write a batch. Those that fail are answered and taken out of it; what is left in the end is written.

        1. Insert. 2. No answer: pause, insert again, knowing that the first may have been carried out. 3. Conflict, a
        slot that is not free, or a fenced daemon: the losers leave, the rest goes again; losers that are uncertain are
        looked up, they may have lost to themselves. 4. Anything else is a bug of one append: each goes alone, so that
        it fails alone.
        """
        pause_s = self._first_pause_s
        while batch:
            try:
                await self._log.insert([append for append, _ in batch])
            except Unavailable:
                uncertain = True
                await self._sleep(pause_s)
                pause_s = min(2 * pause_s, self._max_pause_s)
            except (Conflict, Full, Fenced) as error:
                losers = [append for append, _ in batch if _loses(append, error)] or [append for append, _ in batch]
                await self._settle(batch, losers, error, uncertain=uncertain)
            except Exception as error:  # noqa: BLE001  it is handed to the waiter
                if len(batch) == 1:
                    self._end(batch, {batch[0][0].execution_id.int: error})
                for entry in batch.copy():
                    await self._commit(alone := [entry], uncertain=uncertain)
                    batch.remove(entry)
                    _answer_all(alone, None)
            else:
                return

    async def _settle(
        self, batch: list[_Entry], losers: Sequence[Append], error: Conflict | Full | Fenced, *, uncertain: bool
    ) -> None:
        ends: dict[int, Exception | None] = {}
        for append in losers:
            written = uncertain and await self._is_written(append)
            refusal = Full([append.execution_id]) if isinstance(error, Full) else _refusal(append, error)
            ends[append.execution_id.int] = None if written else refusal
        self._end(batch, ends)

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

    def _end(self, batch: list[_Entry], ends: Mapping[int, Exception | None]) -> None:
        """Take these executions out of the batch and answer them.

        An error is also the answer to all that is queued behind: it was decided on events that are not there.
        """
        ended = [entry for entry in batch if entry[0].execution_id.int in ends]
        behind = [entry for entry in self._queue if ends.get(entry[0].execution_id.int) is not None]
        batch[:] = [entry for entry in batch if entry[0].execution_id.int not in ends]
        if behind:
            kept = [entry for entry in self._queue if ends.get(entry[0].execution_id.int) is None]
            self._queue.clear()
            self._queue.extend(kept)
            self._make_room()
        for entry in ended:
            _answer_all([entry], ends[entry[0].execution_id.int])
        for append, answer in behind:
            _answer_all([(append, answer)], _refusal(append, ends[append.execution_id.int]))


def _loses(append: Append, error: Conflict | Full | Fenced) -> bool:
    return append.by in error.by if isinstance(error, Fenced) else append.execution_id in error.losers


def _refusal(append: Append, error: Exception | None) -> Exception:
    if isinstance(error, Fenced) and append.by in error.by:
        return Fenced(error.by)
    return Conflict(append.execution_id, append.after_version)


def _answer_all(entries: Iterable[_Entry], error: Exception | None) -> None:
    """Answer, each whatever the others do: what an answer raises is a bug of its own, told to the loop."""
    for _, answer in entries:
        try:
            answer(error)
        except Exception as bug:  # noqa: BLE001  see above
            context = {"message": "an answer to an append failed", "exception": bug}
            asyncio.get_running_loop().call_exception_handler(context)


def _resolve(done: asyncio.Future[None], error: BaseException | None) -> None:
    if done.done():
        return
    if error is None:
        done.set_result(None)
    else:
        done.set_exception(error)


_MEASURES: dict[type, Callable[[Any], int]] = {}
"""How long the values are that an event carries, by its type: what can be long in it."""


def _measure_new(event: Any) -> int:
    cls = type(event)
    fields = msgspec.structs.fields(cls) if issubclass(cls, msgspec.Struct) else ()
    _MEASURES[cls] = measure = _measure_of([info.name for info in fields if info.type in (Raw, Raw | None)])
    return measure(event)


def _measure_of(names: Sequence[str]) -> Callable[[Any], int]:
    if not names:
        return _nothing
    if len(names) > 1:
        each = [_measure_of([name]) for name in names]
        return lambda event: sum(measure(event) for measure in each)
    value_of = attrgetter(names[0])

    def measure(event: Any) -> int:
        value = value_of(event)
        return 0 if value is None else len(value)

    return measure


def _nothing(_event: Any) -> int:
    return 0


def _same(found: Sequence[object], sent: Sequence[object]) -> bool:
    """Compare as stored: by type and JSON text, so that encryption and tuples read back as lists do not matter."""
    encode = msgspec.json.encode
    return [(type(event), encode(event)) for event in found] == [(type(event), encode(event)) for event in sent]
