"""An event loop without a machine: time is a number, the order of tasks is thrown by dice, processes can be killed.

**What may be reordered.** Of the handles that wait, those that let a *task* go on are taken in any order: asyncio runs
them first come, first served, but nothing in its contract says when a peer, a socket or a thread makes a task ready.
So a task may be held back for long while others run, as under load. Two promises are kept, for they are documented and
code relies on them: callbacks that are not tasks (done callbacks, `call_soon`, timers) run in the order in which they
were scheduled; and no task overtakes a callback of its own process that was scheduled before it. Timers never come
early, those of one moment come in any order. Time stands still while somebody is ready, but for *stalls*: then the next
timer comes although tasks are ready, as on a machine that is too slow.

**Processes** are groups of tasks. What a handle schedules belongs to the process it runs in; a task stays in its own,
whoever wakes it. A killed process runs nothing more, no `finally` and no callback; a paused one nothing for a while.

No thread and no real I/O: both raise. Nothing ready and no timer is a `Deadlock`, too many steps a `Livelock`.
"""

from __future__ import annotations

import asyncio
import gc
import heapq
import sys
import warnings
from collections import deque
from typing import TYPE_CHECKING, Any, Literal, NoReturn
from zlib import crc32

if TYPE_CHECKING:
    from collections.abc import Callable, Coroutine, Iterator
    from contextvars import Context
    from random import Random

Policy = Literal["random", "fifo", "priority"]
"""Which task goes next: any; the one that waits longest; or by priorities that now and then change, so that some task
is held back for long."""

LONGEST_STALL_S = 2.0
_MASK = (1 << 61) - 1
_CHANGE_OF_PRIORITY = 0.02
_MOST_CLOSES = 50
"""How often a coroutine is told to end that awaits in its `finally`."""


class Deadlock(Exception):
    """Nobody is ready and nobody ever will be."""


class Livelock(Exception):
    """More steps than any sound schedule takes."""


class Process:
    """Tasks that live and die together."""

    def __init__(self, name: str, number: int) -> None:
        self.name = name
        self.number = number
        self.alive = True
        self.paused = False
        self.steps = 0
        self.callbacks: deque[asyncio.Handle] = deque()
        self.ready: dict[int, tuple[asyncio.Handle, int]] = {}
        """Number of the task -> what lets it go on, and since which step of the loop."""
        self.tasks: list[SimulatedTask] = []
        """All that were ever made: nothing of a killed process may be collected, for then its `finally` would run."""

    def unfinished(self) -> list[SimulatedTask]:
        """Return the tasks that have not come to an end."""
        return [task for task in self.tasks if not task.done()]


class SimulatedTask(asyncio.Task[Any]):
    """A task that knows its process. Its hash is its number, so that sets of tasks have one order in all runs."""

    def __init__(self, coro: Coroutine[Any, Any, Any], number: int, process: Process, **options: Any) -> None:
        self.number = number
        self.process = process
        self.priority = 0.0
        super().__init__(coro, **options)

    def __hash__(self) -> int:
        return self.number


class _Timer(asyncio.TimerHandle):
    process: Process


class SimulatedLoop(asyncio.BaseEventLoop):
    """See the module. `current` is the process whose handle runs now."""

    def __init__(
        self, dice: Random, *, policy: Policy = "random", stall: float = 0.0, max_steps: int = 100_000
    ) -> None:
        """`stall` is how likely, at each step, time goes on although somebody is ready."""
        super().__init__()
        self._dice = dice
        self._policy = policy
        self._stall = stall
        self._max_steps = max_steps
        self._now_s = 0.0
        self._timers: list[tuple[float, float, _Timer]] = []
        self._next_number = 0
        self._over = False
        self.steps = 0
        self.digest = 0
        """Tells apart any two runs that have taken different steps."""
        self.problems: list[str] = []
        """What was given to the exception handler."""
        self.processes: list[Process] = []
        self._made: list[Process] = []
        self.at_step: Callable[[Process], None] = lambda _: None
        """Called between steps with the process whose turn comes next: the place to kill it."""
        self.world = self.current = self.process("world")

    # Processes

    def process(self, name: str) -> Process:
        """Begin a process."""
        process = Process(name, len(self._made))
        self.processes.append(process)
        self._made.append(process)
        return process

    def kill(self, process: Process) -> None:
        """End it as SIGKILL does. Never to be called by itself."""
        process.alive = False
        process.callbacks.clear()
        process.ready.clear()
        if process in self.processes:
            self.processes.remove(process)

    def spawn(self, process: Process, coro: Coroutine[Any, Any, Any]) -> SimulatedTask:
        """Start a task in a process."""
        before, self.current = self.current, process
        try:
            task: SimulatedTask = self.create_task(coro)
        finally:
            self.current = before
        return task

    def deliver(self, process: Process, callback: Callable[..., object], *args: Any) -> None:
        """Call this in the process, unless that is dead."""
        if process.alive:
            process.callbacks.append(asyncio.Handle(callback, args, self))

    def world_later(self, delay_s: float, callback: Callable[..., object], *args: Any) -> None:
        """Call this after so many seconds, whoever is dead by then."""
        before, self.current = self.current, self.world
        self.call_later(delay_s, callback, *args)
        self.current = before

    def note(self, text: str) -> None:
        """Let the digest depend on this too."""
        self.digest = (self.digest * 1_000_003 ^ crc32(text.encode())) & _MASK

    # What asyncio asks of a loop

    def time(self) -> float:
        """Return the virtual time in seconds."""
        return self._now_s

    def call_soon(self, callback: Callable[..., object], *args: Any, context: Context | None = None) -> asyncio.Handle:  # type: ignore[override]  # typed more loosely, as all the loop's users are
        """Let a task go on in any order, a callback in turn."""
        handle = asyncio.Handle(callback, args, self, context)
        owner = getattr(callback, "__self__", None)
        if type(owner) is SimulatedTask and owner.number not in owner.process.ready:
            if owner.process.alive and not self._over:
                owner.process.ready[owner.number] = handle, self.steps
        elif self.current.alive and not self._over:
            self.current.callbacks.append(handle)
        return handle

    call_soon_threadsafe = call_soon  # type: ignore[assignment]  # as above

    def call_later(  # type: ignore[override]  # typed more loosely, as all the loop's users are
        self, delay: float, callback: Callable[..., object], *args: Any, context: Context | None = None
    ) -> asyncio.TimerHandle:
        """See `call_at`."""
        return self.call_at(self._now_s + max(delay, 0.0), callback, *args, context=context)

    def call_at(  # type: ignore[override]  # typed more loosely, as all the loop's users are
        self, when: float, callback: Callable[..., object], *args: Any, context: Context | None = None
    ) -> asyncio.TimerHandle:
        """Call it when nothing else is to be done before that time."""
        timer = _Timer(when, callback, args, self, context)
        timer.process = self.current
        if not self._over:
            heapq.heappush(self._timers, (when, self._dice.random(), timer))
        return timer

    def create_task(self, coro: Any, *, name: str | None = None, context: Context | None = None, **_: Any) -> Any:  # type: ignore[override]  # typed more loosely, as all the loop's users are
        """Make a task of the current process."""
        if self._over:
            coro.close()
            gone = self.create_future()
            gone.cancel()
            return gone
        self._next_number += 1
        number, process = self._next_number, self.current
        task = SimulatedTask(coro, number, process, loop=self, name=name or f"task-{number}", context=context)
        if self._policy == "priority":
            task.priority = self._dice.random()
        process.tasks.append(task)
        return task

    def call_exception_handler(self, context: dict[str, Any]) -> None:
        """Keep it as a problem: in a sound run nobody calls this."""
        culprit = context.get("task") or context.get("future")
        if self._over or (isinstance(culprit, SimulatedTask) and not culprit.process.alive):
            return
        self.problems.append(f"{context.get('message')}: {context.get('exception')!r} {culprit!r}")

    def run_in_executor(self, *_: Any) -> NoReturn:  # type: ignore[override]  # typed more loosely, as all the loop's users are
        """Refuse: threads have an order of their own."""
        raise RuntimeError("a thread in the simulation")

    def _refuse(self, *_: Any, **__: Any) -> NoReturn:
        raise RuntimeError("real input or output in the simulation")

    getaddrinfo = create_connection = create_server = add_reader = add_writer = _add_reader = _add_writer = _refuse  # type: ignore[assignment]  # whatever they take
    sock_connect = sock_recv = sock_sendall = create_datagram_endpoint = subprocess_exec = add_signal_handler = _refuse  # type: ignore[assignment]  # as above

    def _timer_handle_cancelled(self, _: asyncio.TimerHandle) -> None:
        """Nothing to do: a cancelled timer is passed over when its time comes."""

    def _asyncgen_finalizer_hook(self, agen: Any) -> None:
        if not self._over:
            super()._asyncgen_finalizer_hook(agen)  # type: ignore[misc]  # typeshed does not know it

    def _run_once(self) -> None:
        """Take one step."""
        while not (runnable := [each for each in self.processes if (each.ready or each.callbacks) and not each.paused]):
            self._pass_time()
        if self._stall and self._dice.random() < self._stall and self._next_within(LONGEST_STALL_S):
            self._pass_time()
        self.steps += 1
        if self.steps > self._max_steps:
            raise Livelock(f"{self.steps} steps, and it is {self._now_s:.3f} s")
        process = runnable[0] if len(runnable) == 1 else runnable[int(self._dice.random() * len(runnable))]
        self.at_step(process)
        if not process.alive:
            return
        process.steps += 1
        if process.callbacks:
            number, handle = 0, process.callbacks.popleft()
        else:
            number = self._choose(process.ready)
            handle = process.ready.pop(number)[0]
        self.digest = (self.digest * 1_000_003 ^ (number << 4 | process.number)) & _MASK
        if not handle.cancelled():
            self.current = process
            handle._run()
            self.current = self.world

    def _choose(self, ready: dict[int, tuple[asyncio.Handle, int]]) -> int:
        if len(ready) == 1:
            return next(iter(ready))
        match self._policy:
            case "random":
                return sorted(ready)[int(self._dice.random() * len(ready))]
            case "fifo":
                return min(ready, key=lambda number: (ready[number][1], number))
            case "priority":
                tasks = {number: entry[0]._callback.__self__ for number, entry in ready.items()}  # type: ignore[attr-defined]  # a handle of a task
                chosen: int = max(tasks, key=lambda number: (tasks[number].priority, number))
                if self._dice.random() < _CHANGE_OF_PRIORITY:
                    tasks[chosen].priority = -self._dice.random()
                return chosen

    def _next_within(self, limit_s: float) -> bool:
        self._drop_dead_timers()
        return bool(self._timers) and self._timers[0][0] <= self._now_s + limit_s

    def _drop_dead_timers(self) -> None:
        while self._timers and (self._timers[0][2].cancelled() or not self._timers[0][2].process.alive):
            heapq.heappop(self._timers)

    def _pass_time(self) -> None:
        """Go to the time of the next timer, and let all of that time come."""
        self._drop_dead_timers()
        if not self._timers:
            if any(process.callbacks or process.ready for process in self.processes if not process.paused):
                return
            raise Deadlock(f"nobody is ready at {self._now_s:.3f} s, and no timer runs")
        self._now_s = max(self._now_s, self._timers[0][0])
        while self._timers and self._timers[0][0] <= self._now_s:
            timer = heapq.heappop(self._timers)[2]
            if not timer.cancelled() and timer.process.alive:
                timer.process.callbacks.append(timer)

    # The end

    def unretrieved(self) -> Iterator[str]:
        """Give the tasks of living processes whose exception nobody has looked at."""
        for process in self._made:
            for task in process.tasks if process.alive else ():
                if task.done() and getattr(task, "_log_traceback", False):
                    yield f"nobody has looked at the exception of {task!r}"

    def dispose(self, *, collect: bool = False) -> None:
        """End what is left, quietly, and forget all; what a dead process would still do has no effect.

        `collect` calls the garbage collector too, which is quick for who has frozen all that was there before.
        """
        self._over = True
        hook, sys.unraisablehook = sys.unraisablehook, lambda _: None
        asyncio._set_running_loop(self)
        try:
            with warnings.catch_warnings():
                warnings.simplefilter("ignore")
                for process in self._made:
                    for task in process.tasks:
                        _end(task)
                    process.tasks.clear()
                self._timers.clear()
                self.at_step = lambda _: None
                if collect:
                    gc.collect()
        finally:
            asyncio._set_running_loop(None)
            sys.unraisablehook = hook
            self.close()


def _end(task: SimulatedTask) -> None:
    task._log_destroy_pending = False  # type: ignore[attr-defined]  # asyncio's own way to keep it quiet
    if task.done():
        task._log_traceback = False
        return
    coro: Any = task.get_coro()
    for _ in range(_MOST_CLOSES):
        try:
            coro.close()
        except RuntimeError:
            continue  # it awaits in a `finally`
        except BaseException:  # noqa: BLE001  whatever it raises on its way out, nobody waits for it
            return
        return
