"""Where handlers run: in the event loop, in one of a bounded number of threads, or in a process of their own.

A step takes its place before its attempt begins, so the time it waits for one does not count. A thread cannot be
stopped: a place in it becomes free only when the handler has returned, however long ago its attempt was given up.

Comes from: `steps`. Goes to: the handlers.
"""

from __future__ import annotations

import asyncio
import threading
from contextvars import copy_context
from queue import SimpleQueue
from typing import TYPE_CHECKING, Any, Protocol

from daemon.runtime.generators import drain, drain_here
from daemon.runtime.signatures import encode_output

if TYPE_CHECKING:
    from collections.abc import Callable

    from daemon.nodes.context import NodeContext
    from daemon.runtime.handler_registry import Handler


class Place(Protocol):
    """Room for one handler at a time."""

    async def run(self, handler: Handler, value: object, context: NodeContext) -> object:
        """Run the handler with this input; return its output, or an answer with it, in JSON types.

        What it raises passes through.
        """

    def leave(self) -> None:
        """Give the place up. May be called more than once. What still runs here in a process is killed."""


class Lane(Protocol):
    """One way of running handlers."""

    async def take(self, handler: Handler) -> Place:
        """Return a place for this handler; waits while there is none, in order of asking."""

    async def close(self) -> None:
        """Give up idle threads and processes. Places that are taken now are not given to anybody again."""


class InLoop:
    """The event loop: unbounded, as it is the handlers that wait."""

    async def take(self, handler: Handler) -> Place:  # noqa: ARG002  the other lanes use it
        """Return at once."""
        return self

    async def run(self, handler: Handler, value: object, context: NodeContext) -> object:
        """Await the handler."""
        positional, named = handler.signature.bind(value, context)
        if handler.streams:
            return await drain(handler.function(*positional, **named), handler, context)
        return encode_output(await handler.function(*positional, **named))

    def leave(self) -> None:
        """Nothing to do."""

    async def close(self) -> None:
        """Nothing to do."""


class Threads:
    """A bounded number of threads. They end with the process: a handler that hangs does not keep it alive."""

    def __init__(self, size: int) -> None:
        self._free = asyncio.Semaphore(size)
        self._idle: list[_Worker] = []
        self._closed = False

    async def take(self, handler: Handler) -> Place:  # noqa: ARG002  the other lanes use it
        """Return a place in a thread."""
        await self._free.acquire()
        return _ThreadPlace(self._idle.pop() if self._idle else _Worker(), self._give_back)

    async def close(self) -> None:
        """End idle threads; a busy one ends when its handler returns."""
        self._closed = True
        while self._idle:
            self._idle.pop().end()

    def _give_back(self, worker: _Worker) -> None:
        if self._closed:
            worker.end()
        else:
            self._idle.append(worker)
        self._free.release()


class _ThreadPlace:
    def __init__(self, worker: _Worker, give_back: Callable[[_Worker], None]) -> None:
        self._worker = worker
        self._give_back = give_back
        self._running = 0
        self._left = False

    async def run(self, handler: Handler, value: object, context: NodeContext) -> object:
        """Run the handler in the thread; when cancelled, it is left to itself there."""
        loop = asyncio.get_running_loop()
        ended: asyncio.Future[tuple[object, BaseException | None]] = loop.create_future()

        def settle(result: object, error: BaseException | None) -> None:
            self._running -= 1
            self._release()
            if not ended.done():
                ended.set_result((result, error))

        def work() -> None:
            result, error = _outcome(handler, value, context)
            try:
                loop.call_soon_threadsafe(settle, result, error)
            except RuntimeError:
                return  # the loop is closed: the daemon has gone, and the step is still owed

        self._running += 1
        self._worker.start_job(work)
        result, error = await ended
        if error is not None:
            raise error
        return result

    def leave(self) -> None:
        """Give the thread back, as soon as its handler has returned."""
        self._left = True
        self._release()

    def _release(self) -> None:
        if self._left and not self._running and self._give_back is not _nowhere:
            give_back, self._give_back = self._give_back, _nowhere
            give_back(self._worker)


def _nowhere(_: _Worker) -> None:
    """Stand for a place that was given back already."""


def _outcome(handler: Handler, value: object, context: NodeContext) -> tuple[object, BaseException | None]:
    try:
        positional, named = handler.signature.bind(value, context)
        if handler.streams:
            return drain_here(handler.function(*positional, **named), handler, context), None
        return encode_output(handler.function(*positional, **named)), None
    except Exception as error:  # noqa: BLE001  carried over to the loop and raised there
        return None, error
    except BaseException as error:  # noqa: BLE001  `sys.exit()` in a handler ends the handler, not the daemon
        exited = RuntimeError(f"the handler raised {type(error).__name__}: {error}")
        exited.__cause__ = error
        return None, exited


class _Worker:
    """A thread that does one job after the other, in the context variables of whoever asked."""

    def __init__(self) -> None:
        self._jobs: SimpleQueue[Callable[[], Any] | None] = SimpleQueue()
        threading.Thread(target=self._serve, name="sagad handler", daemon=True).start()

    def start_job(self, job: Callable[[], Any]) -> None:
        """Hand over a job."""
        variables = copy_context()
        self._jobs.put(lambda: variables.run(job))

    def end(self) -> None:
        """Let the thread end after what it was given."""
        self._jobs.put(None)

    def _serve(self) -> None:
        while (job := self._jobs.get()) is not None:
            job()
            del job
