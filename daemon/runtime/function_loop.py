"""The event loop of one durable function: it runs what is ready, in order, and knows no world outside.

It is driven: somebody delivers one result and lets it run until nothing is ready. Its time is told to it; a timer is
handed to `on_timer`, as a call like any other. So what runs in it depends on nothing but what was delivered; when that
is delivered again in the same order it does the same. What cannot be repeated like that (sockets, threads, processes,
signals) raises `NotDurable`.

Order is what asyncio leaves to chance in two places: it keeps tasks in sets, which order by memory address. So tasks
here have a hash of their own, their number; and where `as_completed` makes a set of coroutines, it gets one that keeps
their order, while this loop runs.

Comes from: `function_machine`. Goes to: the durable function.
"""

from __future__ import annotations

import asyncio
import sys
from collections import deque
from contextlib import contextmanager, suppress
from typing import TYPE_CHECKING, Any
from weakref import WeakSet

if TYPE_CHECKING:
    from collections.abc import Callable, Coroutine, Iterable, Iterator
    from contextvars import Context

_asyncio_tasks: Any = asyncio.tasks
_asyncio_tasks.set = set  # a name of its own there, for `FunctionLoop._current` to change

MOST_CALLBACKS = 1_000_000
"""More callbacks than this before it waits for a result are an endless loop."""

MOST_CLOSINGS = 100
"""A coroutine that waits in each of so many `finally` blocks is left to the garbage collector."""


class NotDurable(RuntimeError):
    """The function asks for what cannot be replayed. The message says for what, and what to do instead."""


class EndlessLoop(RuntimeError):
    """The function goes round without ever waiting for a call."""


class _Place:
    """What is known of a task: its place among the tasks, and how many calls and tasks it has made."""

    __slots__ = ("calls", "path", "tasks")

    def __init__(self, path: tuple[int, ...]) -> None:
        self.path = path
        self.calls = 0
        self.tasks = 0

    def child(self) -> _Place:
        """Return the place of a task that this one begins."""
        self.tasks += 1
        return _Place((*self.path, self.tasks))


class _Task(asyncio.Task[Any]):
    """A task that knows its place, and has the same hash at each replay."""

    def __init__(self, coro: Coroutine[Any, Any, Any], place: _Place, number: int, **more: Any) -> None:
        self.place = place
        self._number = number
        super().__init__(coro, **more)

    def __hash__(self) -> int:
        return self._number


class _Ordered(set[Any]):
    """A set that gives its items in the order in which it got them, as long as nothing changes it."""

    def __init__(self, items: Iterable[Any] = ()) -> None:
        self._order = dict.fromkeys(items)
        super().__init__(self._order)

    def __iter__(self) -> Iterator[Any]:
        unchanged = len(self._order) == len(self)
        return iter(self._order) if unchanged else super().__iter__()


class FunctionLoop(asyncio.AbstractEventLoop):
    """See the module."""

    def __init__(
        self,
        *,
        on_timer: Callable[[asyncio.TimerHandle], None],
        on_cancelled: Callable[[asyncio.TimerHandle], None],
        on_error: Callable[[dict[str, Any]], None],
        salt: int,
    ) -> None:
        """`on_cancelled` is told of timers that are not wanted any more; `on_error`, of errors that nobody takes.

        `salt` tells the tasks of one function from those of others; it is the same at each replay.
        """
        self._ready: deque[asyncio.Handle] = deque()
        self._on_timer = on_timer
        self._on_cancelled = on_cancelled
        self._on_error = on_error
        self._now = 0.0
        self._tasks: WeakSet[_Task] = WeakSet()
        self._begun = 0
        self._salt = salt << 16
        self._root = _Place(())

    def run_until_idle(self, now: float, go_on: Callable[[], bool] = lambda: True) -> None:
        """Run all that is ready at this time, in seconds, while `go_on`. Must not be called in a task."""
        self._now = max(self._now, now)
        left = MOST_CALLBACKS
        with self._current():
            while self._ready and go_on():
                left -= 1
                if not left:
                    raise EndlessLoop(f"{MOST_CALLBACKS} callbacks have run, and none of them waits for a call")
                handle = self._ready.popleft()
                if not handle.cancelled():
                    handle._run()  # noqa: SLF001  as every event loop does

    def fire(self, timer: asyncio.TimerHandle) -> None:
        """Let a timer's callback be ready."""
        self._ready.append(timer)

    def next_call(self) -> str:
        """Return the name of the next call by its place: which one it is of its task, and which task that is."""
        place = self._place()
        place.calls += 1
        return f"{place.calls}@{'-'.join(map(str, place.path))}" if place.path else str(place.calls)

    def end(self) -> None:
        """Close the coroutines of all tasks, so that none is left to the garbage collector."""
        closed: set[_Task] = set()
        with self._current():
            while left := set(self._tasks) - closed:  # what is closed may begin others
                for task in left:
                    self._close(task)
                closed |= left
        self._ready.clear()

    def _close(self, task: _Task) -> None:
        task._log_destroy_pending = False  # type: ignore[attr-defined]  # noqa: SLF001  dropped on purpose
        if task.done():
            task._log_traceback = False  # noqa: SLF001  nobody is to be told again
            return
        coroutine: Any = task.get_coro()
        for _ in range(MOST_CLOSINGS):
            with suppress(BaseException):  # whatever its `finally` does: it is gone
                coroutine.close()
            if coroutine.cr_frame is None:
                return

    @contextmanager
    def _current(self) -> Iterator[None]:
        """Be the running loop, inside of the daemon's."""
        outer, hooks = asyncio._get_running_loop(), sys.get_asyncgen_hooks()  # noqa: SLF001  as every event loop does
        asyncio._set_running_loop(self)  # noqa: SLF001
        sys.set_asyncgen_hooks(None, None)
        _asyncio_tasks.set = _Ordered
        try:
            yield
        finally:
            _asyncio_tasks.set = set
            sys.set_asyncgen_hooks(*hooks)
            asyncio._set_running_loop(outer)  # noqa: SLF001

    def _place(self) -> _Place:
        """Return the place of the task that runs; what runs in none, or in one made by hand, counts as the first."""
        task = asyncio.current_task(self)
        return task.place if isinstance(task, _Task) else self._root

    # What asyncio asks of an event loop.

    def time(self) -> float:
        """Return the time of the last delivery."""
        return self._now

    def call_soon(  # type: ignore[override]  # as asyncio has it, without the type variables
        self, callback: Callable[..., object], *args: Any, context: Context | None = None
    ) -> asyncio.Handle:
        """Run it in its turn."""
        handle = asyncio.Handle(callback, args, self, context)
        self._ready.append(handle)
        return handle

    def call_later(  # type: ignore[override]  # as asyncio has it, without the type variables
        self, delay: float, callback: Callable[..., object], *args: Any, context: Context | None = None
    ) -> asyncio.TimerHandle:
        """Run it after so many seconds: a durable timer."""
        return self.call_at(self._now + delay, callback, *args, context=context)

    def call_at(  # type: ignore[override]  # as asyncio has it, without the type variables
        self, when: float, callback: Callable[..., object], *args: Any, context: Context | None = None
    ) -> asyncio.TimerHandle:
        """Run it at this time; at once when that has come."""
        timer = asyncio.TimerHandle(when, callback, args, self, context)
        if when <= self._now:
            self._ready.append(timer)
        else:
            self._on_timer(timer)
        return timer

    def _timer_handle_cancelled(self, handle: asyncio.TimerHandle) -> None:
        self._on_cancelled(handle)

    def create_future(self) -> asyncio.Future[Any]:
        """Return a future of this loop."""
        return asyncio.Future(loop=self)

    def create_task(  # type: ignore[override]  # as asyncio has it, without the type variables
        self, coro: Coroutine[Any, Any, Any], *, name: str | None = None, context: Context | None = None, **_: Any
    ) -> asyncio.Task[Any]:
        """Begin a task; its place is its number among those of the task that begins it."""
        place = self._place().child() if self._begun else self._root
        self._begun += 1
        task = _Task(coro, place, self._salt + self._begun, loop=self, name=name or "durable", context=context)
        self._tasks.add(task)
        return task

    def get_debug(self) -> bool:
        """Return False: debugging is for the daemon's loop."""
        return False

    def is_running(self) -> bool:
        """Return True: whoever asks runs in it."""
        return True

    def is_closed(self) -> bool:
        """Return False: it has nothing to close."""
        return False

    def call_exception_handler(self, context: dict[str, Any]) -> None:
        """Hand on an error that nobody takes."""
        self._on_error(context)


def _refusal(name: str) -> Callable[..., Any]:
    def refuse(*_: object, **__: object) -> Any:
        raise NotDurable(
            f"a durable function cannot use {name.replace('_', ' ')}: what comes of it could not be replayed."
            " Do that in a handler, and call it by ctx.step()"
        )

    return refuse


for _name in dir(asyncio.AbstractEventLoop):
    if not _name.startswith("_") and _name not in vars(FunctionLoop):
        setattr(FunctionLoop, _name, _refusal(_name))
