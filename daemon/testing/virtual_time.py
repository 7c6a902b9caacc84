"""Virtual time: it stands still while anything is at work, and moves only while the test waits for something.

Everything that may take real time is counted as *work*: a call of the store, a handler. When there is no work and the
event loop has come to rest, nothing can happen but by the passing of time, and the clock leaps to the next due time
that means something: that of a durable timer, of a fake that takes its time, of an attempt's timeout. What the daemon
does now and then by itself (signs of life, looks at the store) is not waited for: it happens late, at the leap's end,
so a year of a sleeping workflow costs no more than a second of it.

Comes from: `flow`, `execution`. Goes to: `clock`.
"""

from __future__ import annotations

import asyncio
from contextlib import ExitStack, contextmanager
from contextvars import ContextVar
from datetime import timedelta
from typing import TYPE_CHECKING

from daemon.core.durations import DurationError, parse_duration
from daemon.testing.clock import FakeClock, settle
from daemon.testing.errors import Misused, Stuck

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from contextlib import AbstractContextManager
    from datetime import datetime


PATIENCE_S = 10.0
"""Real time after which work that gives no sign is told as the reason why a test does not go on."""
MOST_OVERDUE = 100
"""Leaps while something is overdue: then it is something that nobody keeps."""


def duration(given: str | float) -> timedelta:
    """Read `"1h30m"`, or seconds; raise Misused for what is neither."""
    if isinstance(given, int | float) and not isinstance(given, bool) and given >= 0:
        return timedelta(seconds=given)
    try:
        return parse_duration(given)
    except DurationError as error:
        raise Misused(str(error)) from None


class Work:
    """Something under way that virtual time waits for, until its block ends."""

    def __init__(self, time: VirtualTime, what: str) -> None:
        self.time = time
        self.what = what

    async def nap(self, seconds: float) -> None:
        """Let virtual time pass; meanwhile it is no work."""
        self.time.end(self)
        try:
            with self.time.expecting(seconds):
                await self.time.clock.sleep(seconds)
        finally:
            self.time.begin(self)


_current: ContextVar[Work | None] = ContextVar("work_of_the_testing_kit", default=None)


class VirtualTime:
    """The time of one test. Belongs to one event loop."""

    def __init__(self) -> None:
        self.clock = FakeClock()
        self.held = False
        self._works: set[Work] = set()
        self._moves = 0
        self._idle = asyncio.Event()
        self._idle.set()
        self._expected: list[datetime] = []
        self._sources: list[Callable[[], datetime | None]] = []

    @contextmanager
    def work(self, what: str) -> Iterator[Work]:
        """Have time stand still for the block; `what` names it in messages."""
        work = Work(self, what)
        self.begin(work)
        token = _current.set(work)
        try:
            yield work
        finally:
            _current.reset(token)
            self.end(work)

    def begin(self, work: Work) -> None:
        """Count it as work from now on."""
        self._moves += 1
        self._works.add(work)
        self._idle.clear()

    def end(self, work: Work) -> None:
        """Count it no longer."""
        self._moves += 1
        self._works.discard(work)
        if not self._works:
            self._idle.set()

    @contextmanager
    def expecting(self, seconds: float) -> Iterator[None]:
        """Count the moment so many seconds from now as a due time, for the block."""
        with self.expecting_at(self.clock.now() + duration(seconds)):
            yield

    @contextmanager
    def expecting_at(self, due: datetime | None) -> Iterator[None]:
        """Count this moment as a due time, for the block; None is none."""
        if due is None:
            yield
            return
        self._expected.append(due)
        try:
            yield
        finally:
            self._expected.remove(due)

    def expect(self, source: Callable[[], datetime | None]) -> None:
        """Ask this too for the next due time, from now on."""
        self._sources.append(source)

    async def rest(self) -> None:
        """Return when nothing can happen any more but by the passing of time."""
        while True:
            await self._without_work()
            before = self._moves
            await settle()
            if not self._works and self._moves == before:
                return

    async def pass_until(self, condition: Callable[[], bool], explain: Callable[[], str]) -> None:
        """Let things happen, and time pass where it must, until the condition holds; Stuck with the reason if never."""
        overdue = 0
        while True:
            await self.rest()
            if condition():
                return
            due, late = self._next()
            overdue = overdue + 1 if late else 0
            if due is None or self.held or overdue > MOST_OVERDUE:
                held = "time is held (sagad.clock.hold)" if self.held else "no time is due at which that would change"
                raise Stuck(f"{explain()}\n{held}; it is {self.clock.now():%Y-%m-%d %H:%M:%S}")
            self.clock.leap(due)

    async def advance(self, seconds: float) -> None:
        """Let exactly so much time pass, and all happen that is due meanwhile, at its own time."""
        end = self.clock.now() + duration(seconds)
        await self.rest()
        while (due := self._next()[0]) is not None and due <= end:
            self.clock.leap(due)
            await self.rest()
        self.clock.leap(end)
        await self.rest()

    def _next(self) -> tuple[datetime | None, bool]:
        """Return the next due time that means something; what is overdue (True) waits for the next who sleeps."""
        found = [due for source in self._sources if (due := source()) is not None]
        due = min([*found, *self._expected], default=None)
        late = due is not None and due <= self.clock.now()
        return (self.clock.next_due() if late else due), late

    async def _without_work(self) -> None:
        while self._works:
            before = self._moves
            try:
                async with asyncio.timeout(PATIENCE_S):
                    await self._idle.wait()
            except TimeoutError:
                if self._moves == before:
                    at_work = "\n".join(f"  {each}" for each in sorted(work.what for work in self._works))
                    message = f"nothing has happened for {PATIENCE_S:g} s of real time; at work:\n{at_work}"
                    raise Stuck(message) from None


class VirtualClock:
    """What a test does with time: `sagad.clock`."""

    def __init__(self, time: VirtualTime) -> None:
        self._time = time

    def now(self) -> datetime:
        """Return the virtual time, aware, in UTC."""
        return self._time.clock.now()

    async def advance(self, by: str | float) -> None:
        """Let time pass (`"3d"`, or seconds); all that is due meanwhile has happened when this returns."""
        await self._time.advance(duration(by).total_seconds())

    async def settle(self) -> None:
        """Let everything happen that needs no time to pass."""
        await self._time.rest()

    def hold(self) -> AbstractContextManager[object]:
        """Have time stand still from now on, whatever is waited for; only `advance` moves it.

        What is returned may be used with `with`: its end releases the time.
        """
        self._time.held = True
        end = ExitStack()
        end.callback(self.release)
        return end

    def release(self) -> None:
        """Let time move by itself again, when the test waits for something."""
        self._time.held = False

    async def sleep(self, how_long: str | float) -> None:
        """Let a fake that is an `async` function take this long."""
        work = _current.get()
        if work is None:
            raise Misused("sagad.clock.sleep is for fakes; a test says: await sagad.clock.advance(...)")
        await work.nap(duration(how_long).total_seconds())
