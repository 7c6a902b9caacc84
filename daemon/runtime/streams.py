"""Streams of steps at work: chunks on their way from a handler to the store, in batches.

While one batch is written the next one gathers; when too much has gathered, the handler is held back. So memory is
bounded however slow the store is, and nobody who reads is ever asked to be quick. Chunks go beside the log: no event is
made of them but the one with the step's result, which tells how much there was.

Comes from: `step_context`. Goes to: eventstore/streams; hints to `stream_readers`.
"""

from __future__ import annotations

import asyncio
import threading
from contextlib import contextmanager
from functools import partial
from typing import TYPE_CHECKING, Any

import msgspec
import structlog

from daemon.core.events import Streamed
from daemon.core.values import NULL, Json, bounded_json, from_json, size_of, to_json
from daemon.nodes.context import StepFailure
from daemon.runtime.leases import first_of
from eventstore.errors import Unavailable
from eventstore.streams import Batch, StreamId

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Coroutine, Iterator
    from typing import TypeVar

    from daemon.handlers import Count
    from daemon.runtime.clock import Clock
    from eventstore.streams import Streams

    T = TypeVar("T")

MAX_CHUNK_BYTES = 2**20
BATCH_CHUNKS, BATCH_BYTES = 500, 64 * 2**10
MAX_WAITING_CHUNKS, MAX_WAITING_BYTES = 4 * BATCH_CHUNKS, 4 * BATCH_BYTES
"""What may wait to be written before the handler is held back."""
PAUSE_S = 0.05
"""Between two batches of one stream, unless a whole one waits."""
FIRST_RETRY_S, LONGEST_RETRY_S = 0.1, 5.0

_encode = msgspec.json.Encoder().encode
_logger = structlog.get_logger(__name__)


class StreamHub:
    """All streams of one daemon; in one event loop."""

    def __init__(
        self,
        store: Streams,
        clock: Clock,
        *,
        spawn: Callable[[Coroutine[Any, Any, Any]], asyncio.Task[Any]],
        ended: Callable[[], None] = lambda: None,
    ) -> None:
        """Tell `ended` when there is something to drop some time."""
        self.store = store
        self.clock = clock
        self._spawn = spawn
        self._ended = ended
        self._watchers: dict[StreamId, set[asyncio.Event]] = {}

    def open(self, stream: StreamId, attempt: int, *, shown: Callable[[Json], Json], count: Count | None) -> Outlet:
        """Return the way for the chunks of one attempt. `shown` is what may be seen of a chunk; `count` counts it."""
        outlet = Outlet(self, stream, attempt, shown=shown, count=count)
        outlet.writing = self._spawn(outlet.write())
        return outlet

    def settled(self, stream: StreamId, run: int) -> None:
        """Note, beside whatever follows, that the stream's step is settled."""
        self._spawn(self._end(stream, run))

    async def _end(self, stream: StreamId, run: int) -> None:
        try:
            await self.store.end(stream, run, at=self.clock.now())
        except Unavailable as error:  # it goes with its execution then
            _logger.warning("stream_end_not_noted", step=stream.address, error=str(error))
        self._ended()

    @contextmanager
    def watch(self, stream: StreamId) -> Iterator[asyncio.Event]:
        """Give an event that is set when this daemon has written chunks of the stream, until the block ends."""
        hint = asyncio.Event()
        watchers = self._watchers.setdefault(stream, set())
        watchers.add(hint)
        try:
            yield hint
        finally:
            watchers.discard(hint)
            if not watchers:
                self._watchers.pop(stream, None)

    def notify(self, stream: StreamId) -> None:
        """Wake those who read the stream."""
        for hint in self._watchers.get(stream, ()):
            hint.set()


class Outlet:
    """The stream of one attempt. `put` and `wait_for_room` are for any thread; all else belongs to the event loop."""

    writing: asyncio.Task[None]

    def __init__(
        self,
        hub: StreamHub,
        stream: StreamId,
        attempt: int,
        *,
        shown: Callable[[Json], Json],
        count: Count | None,
    ) -> None:
        self.stream = stream
        self.run = 0
        """Its number in the store, once it has begun."""
        self._hub = hub
        self._attempt = attempt
        self._shown = shown
        self._count = count
        self._loop = asyncio.get_running_loop()
        self._thread = threading.get_ident()
        self._lock = threading.Lock()
        self._waiting: list[Json] = []
        self._waiting_bytes = 0
        self._chunks = 0
        self._bytes = 0
        self._counted: dict[str, int | float] = {}
        self._over = False
        """Whether it takes no more: it is being finished, or was given up."""
        self._lost = False
        """Whether another daemon has begun to stream for this step."""
        self._there_is, self._plenty, self._written = asyncio.Event(), asyncio.Event(), asyncio.Event()
        self._room_for_threads = threading.Event()

    def put(self, chunk: object) -> None:
        """Take a chunk. Raises StepFailure for one that has no JSON form, or is too large."""
        try:
            encoded = self._shown(bounded_json(chunk))
        except (TypeError, ValueError) as error:
            raise StepFailure(f"the chunk has no JSON form: {error}", "invalid_output", retryable=False) from error
        size = size_of(encoded)
        if size > MAX_CHUNK_BYTES:
            problem = f"the chunk has {size} bytes, more than {MAX_CHUNK_BYTES}: store it elsewhere and stream its name"
            raise StepFailure(problem, "chunk_too_large", retryable=False)
        counted = self._count(from_json(encoded)) if self._count is not None else {}
        with self._lock:
            if self._over:
                return
            first = not self._waiting
            self._chunks += 1
            self._bytes += size
            for name, number in counted.items():
                self._counted[name] = self._counted.get(name, 0) + number
            if self._lost:
                return
            self._waiting.append(encoded)
            self._waiting_bytes += size
            plenty = len(self._waiting) >= BATCH_CHUNKS or self._waiting_bytes >= BATCH_BYTES
            if self.full:
                self._room_for_threads.clear()
        if first or plenty:
            self._wake(self._plenty if plenty else self._there_is)

    @property
    def full(self) -> bool:
        """Whether so much waits that the handler must."""
        return len(self._waiting) >= MAX_WAITING_CHUNKS or self._waiting_bytes >= MAX_WAITING_BYTES

    async def room(self) -> None:
        """Return when there is room again."""
        while self.full:
            self._written.clear()
            await self._written.wait()

    def wait_for_room(self) -> None:
        """Return when there is room again: blocks this thread."""
        while self.full:
            self._room_for_threads.wait()

    async def finish(self) -> Streamed | None:
        """Return what went through when all of it is written; None when it was given up, or taken over by another."""
        with self._lock:
            self._over = True
        self._wake(self._there_is)
        self._wake(self._plenty)
        await asyncio.wait({self.writing})
        if self._lost or self.writing.cancelled():
            return None
        counted = NULL if self._count is None else to_json(self._counted)
        return Streamed(run=self.run, chunks=self._chunks, bytes=self._bytes, counted=counted)

    def drop(self) -> None:
        """Write nothing more; who puts or waits is let go."""
        with self._lock:
            self._over = True
            self._forget()
        self.writing.cancel()

    async def write(self) -> None:
        """Write what comes, until it is over."""
        store, clock = self._hub.store, self._hub.clock
        self.run = await self._insist(lambda: store.begin(self.stream, attempt=self._attempt, at=clock.now()))
        self._hub.notify(self.stream)
        last = size = 0
        while await self._any():
            chunks = self._take()
            first, last = last + 1, last + len(chunks)
            size += sum(map(size_of, chunks))
            batch = Batch(first, last, _encode(chunks))
            if not await self._insist(partial(store.add, self.stream, self.run, batch, bytes_so_far=size)):
                self._lose()
                return
            self._hub.notify(self.stream)
            if not self._over and not self._plenty.is_set():
                await first_of(self._plenty.wait(), clock.sleep(PAUSE_S))

    async def _any(self) -> bool:
        """Return when a chunk waits; False when none will come any more."""
        while not self._waiting:
            if self._over:
                return False
            self._there_is.clear()
            self._plenty.clear()
            await first_of(self._there_is.wait(), self._plenty.wait())
        return True

    def _take(self) -> list[Json]:
        """Take what makes a batch: at least one chunk."""
        with self._lock:
            count = size = 0
            for chunk in self._waiting[:BATCH_CHUNKS]:
                count, size = count + 1, size + size_of(chunk)
                if size >= BATCH_BYTES:
                    break
            chunks, self._waiting = self._waiting[:count], self._waiting[count:]
            self._waiting_bytes -= size
            if len(self._waiting) < BATCH_CHUNKS and self._waiting_bytes < BATCH_BYTES:
                self._plenty.clear()
            self._let_go()
        return chunks

    def _lose(self) -> None:
        """Go on without writing: who has taken the step over writes now, and what this attempt gives is refused."""
        _logger.warning("stream_taken_over", execution_id=str(self.stream.execution_id), step=self.stream.address)
        with self._lock:
            self._lost = True
            self._forget()

    def _forget(self) -> None:
        self._waiting.clear()
        self._waiting_bytes = 0
        self._let_go()

    def _let_go(self) -> None:
        if not self.full:
            self._written.set()
            self._room_for_threads.set()

    def _wake(self, event: asyncio.Event) -> None:
        if threading.get_ident() == self._thread:
            event.set()
        else:
            self._loop.call_soon_threadsafe(event.set)

    async def _insist(self, ask: Callable[[], Awaitable[T]]) -> T:
        """Ask until the store answers; meanwhile the handler is held back as soon as enough waits."""
        pause_s = FIRST_RETRY_S
        while True:
            try:
                return await ask()
            except Unavailable as error:
                _logger.warning("stream_waits_for_store", step=self.stream.address, error=str(error))
            await self._hub.clock.sleep(pause_s)
            pause_s = min(2 * pause_s, LONGEST_RETRY_S)
