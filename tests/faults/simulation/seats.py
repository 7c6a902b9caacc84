"""Daemons in the simulation: real ones, wired by the composition root, in processes that are killed and restarted."""

from __future__ import annotations

import asyncio
from contextlib import ExitStack, contextmanager
from datetime import UTC, datetime, timedelta
from functools import lru_cache
from typing import TYPE_CHECKING, Any
from unittest.mock import patch

from daemon import foundations, main
from daemon.nodes.outbound import OutboundPolicy, http_client
from daemon.runtime.brokers import Brokers
from daemon.runtime.databases import Databases
from daemon.runtime.definitions import Compiler, Loaded
from daemon.runtime.handler_registry import load_handlers
from daemon.runtime.services import Outgoing
from daemon.settings import Daemon, Limits, Settings
from eventstore.errors import Unavailable
from tests.faults.simulation.workflows import node_types, plan_of

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from random import Random

    import httpx

    from daemon import assembled
    from daemon.core.plan import Plan
    from eventstore.store import Store
    from tests.faults.simulation.broker import SimulatedBroker
    from tests.faults.simulation.loop import Process, SimulatedLoop
    from tests.faults.simulation.profile import Profile

EPOCH = datetime(2026, 1, 1, tzinfo=UTC)
GRACE_S = 2.0
LEFTOVERS_S = 60.0
"""Longer than a slow store takes: a request that reads then outlives its daemon that long."""
LATE_S = 0.002
LONGEST_STOP_S = 60.0
LONGEST_ABSENCE_S = 5.0
"""Until a daemon that has gone is started again."""
HANDLERS = load_handlers(["tests.faults.simulation.handlers"])


class SkewedClock:
    """A machine's clock: the virtual time, wrong by `skew_s`. It wakes a little late, so no two wake at one moment."""

    def __init__(self, loop: SimulatedLoop, skew_s: float, dice: Random) -> None:
        self._loop = loop
        self._dice = dice
        self.skew_s = skew_s

    def now(self) -> datetime:
        """See `daemon.runtime.clock.Clock`."""
        return EPOCH + timedelta(seconds=self._loop.time() + self.skew_s)

    async def sleep(self, seconds: float) -> None:
        """See `daemon.runtime.clock.Clock`."""
        await asyncio.sleep(seconds + self._dice.random() * LATE_S if seconds > 0 else 0)


class Seat:
    """The place of one daemon: it is started again whenever it has gone, until `close`."""

    def __init__(
        self,
        name: str,
        *,
        loop: SimulatedLoop,
        clock: SkewedClock,
        dice: Random,
        settings: Settings,
        store: Callable[[], Store],
        tell: Callable[[str], None],
    ) -> None:
        self.name = name
        self.clock = clock
        self.daemon: assembled.Daemon | None = None
        """There from its start to its end."""
        self.lives: list[Process] = []
        self.problems: list[str] = []
        self._loop = loop
        self._dice = dice
        self._settings = settings
        self._store = store
        self._tell = tell
        self._leave = asyncio.Event()
        self._gone = asyncio.Event()
        self._closed = False

    @property
    def process(self) -> Process:
        """The process of its newest life."""
        return self.lives[-1]

    @property
    def up(self) -> bool:
        """Whether a daemon is there and takes calls."""
        return self.daemon is not None and self.process.alive and not self.daemon.stopping

    @property
    def receiving(self) -> bool:
        """Whether its daemon has subscribed to all triggers."""
        return self.up and self.daemon is not None and self.daemon.receiving

    async def keep(self) -> None:
        """Start a daemon again and again."""
        while not self._closed:
            self._leave, self._gone = asyncio.Event(), asyncio.Event()
            self.lives.append(self._loop.process(f"{self.name}.{len(self.lives) + 1}"))
            life = self._loop.spawn(self.process, self._live())
            self._loop.spawn(self._loop.world, self._watch(life, self._gone))
            await self._gone.wait()
            self.daemon = None
            if self.process.alive:
                await self._look_for_leftovers()
            if not self._closed:
                await asyncio.sleep(self._dice.random() * LONGEST_ABSENCE_S)

    def kill(self) -> bool:
        """End the daemon as SIGKILL does; False when there is none."""
        if not self.lives or not self.process.alive or self._gone.is_set():
            return False
        self._tell(f"kill {self.process.name}")
        self._loop.kill(self.process)
        self.daemon = None
        self._gone.set()
        return True

    async def stop(self) -> None:
        """Stop the daemon in order, in bounded time."""
        if not self.lives or self._gone.is_set() or not self.process.alive:
            return
        self._tell(f"stop {self.process.name}")
        gone, process = self._gone, self.process
        self._leave.set()
        try:
            await asyncio.wait_for(gone.wait(), LONGEST_STOP_S)
        except TimeoutError:
            named = [str(task.get_coro()) for task in process.unfinished()]
            self.problems.append(f"{process.name} has not stopped within {LONGEST_STOP_S} s: {named}")
            self.kill()

    async def close(self) -> None:
        """Stop for good."""
        self._closed = True
        await self.stop()

    async def _live(self) -> None:
        async with main.open_daemon(
            self._settings,
            clock=self.clock,
            environ={},
            jitter=self._dice.random,
            store=self._store(),
            handlers=HANDLERS,
            functions=HANDLERS.functions,
            node_types=node_types(),
        ) as daemon:
            self.daemon = daemon
            starting = asyncio.ensure_future(daemon.start())
            leaving = asyncio.ensure_future(self._leave.wait())
            try:
                await asyncio.wait({starting, leaving}, return_when=asyncio.FIRST_COMPLETED)
                if starting.done():
                    await starting
                    await leaving
            finally:
                starting.cancel()
                leaving.cancel()

    async def _watch(self, life: asyncio.Task[None], gone: asyncio.Event) -> None:
        await asyncio.wait({life})
        error = life.exception()
        if error is not None and not _only(error, Unavailable):
            self.problems.append(f"{self.process.name} has ended with {_all_of(error)}")
        elif error is not None:
            self._tell(f"given up {self.process.name}: {error}")
        gone.set()

    async def _look_for_leftovers(self) -> None:
        process = self.process
        for _ in range(50):
            if not process.unfinished():
                return
            await asyncio.sleep(0)
        await asyncio.sleep(LEFTOVERS_S)
        self.problems += [f"{process.name} has left behind {task!r}" for task in process.unfinished()]


def settings_of(profile: Profile) -> Settings:
    """Return the settings of all daemons of a world."""
    limits = Limits(max_active_executions=profile.max_active, max_running_steps=profile.max_running, grace_s=GRACE_S)
    return Settings(limits=limits, daemon=Daemon(lease_ttl_s=profile.ttl_s))


@contextmanager
def wired(profile: Profile, broker: SimulatedBroker) -> Iterator[tuple[Plan, ...]]:
    """Let the composition root make daemons that share one broker, and look up once what is slow to look up.

    What they are made of is the product's own; only the way to definition files, plugins, handlers, TLS and sockets is
    shorter. Gives the plans.
    """
    plans = tuple(plan_of(number) for number in profile.workflows)

    def brokers(settings: Settings, *, now: Callable[[], datetime]) -> Brokers:
        made = Brokers(settings, now=now)
        made.memory = broker
        return made

    with ExitStack() as stack:
        for module, name, substitute in (
            (foundations, "Brokers", brokers),
            (foundations, "Compiler", lambda **parts: _Compiled(**parts, plans=plans)),
            (main, "Outgoing", _SharedHttp),
        ):
            stack.enter_context(patch.object(module, name, substitute))
        yield plans


class _Compiled(Compiler, frozen=True, kw_only=True):
    plans: tuple[Plan, ...]

    def load_files(self, _: Any) -> Loaded:
        return Loaded(self.plans, ())


@lru_cache(maxsize=1)
def _http() -> httpx.AsyncClient:
    """Make one client for all: reading the authorities' certificates is slow, and nobody calls."""
    return http_client(OutboundPolicy())


class _SharedHttp(Outgoing):
    def __init__(self, publishers: Any, *_: Any, smtp: Any, link: Any) -> None:
        self.http = _http()
        self.databases = Databases({}, str)
        self.link = link
        self._smtp = smtp
        self._publishers = dict(publishers)

    async def __aexit__(self, *_: object) -> None:
        """Nothing was opened."""


def _only(error: BaseException, kind: type[BaseException]) -> bool:
    if isinstance(error, BaseExceptionGroup):
        return all(_only(each, kind) for each in error.exceptions)
    return isinstance(error, kind)


def _all_of(error: BaseException) -> str:
    if isinstance(error, BaseExceptionGroup):
        return "; ".join(_all_of(each) for each in error.exceptions)
    trace, where = error.__traceback__, ""
    while trace is not None:
        where, trace = f" at {trace.tb_frame.f_code.co_filename.rpartition('/')[2]}:{trace.tb_lineno}", trace.tb_next
    return f"{error!r}{where}"
