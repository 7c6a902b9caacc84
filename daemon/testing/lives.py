"""A stage: one workflow with its store and its record, and the lives of the daemons that run it, one after the other.

Each life is a whole daemon, wired by the composition root, in a task of its own. A life that is killed reaches nothing
any more from that moment on; the next one opens the same store and takes up what is owed, as after a crash.

Comes from: `flow`, `crashes`. Goes to: daemon/main.
"""

from __future__ import annotations

import asyncio
from contextlib import ExitStack
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any, Literal, TypeVar

import msgspec

from daemon.main import open_daemon
from daemon.runtime.codec import codec_of
from daemon.settings import Daemon as DaemonSettings
from daemon.settings import Limits, Settings, Workflows
from daemon.settings import Store as StoreSettings
from daemon.testing.databases import new_store
from daemon.testing.errors import Misused, Stuck
from daemon.testing.fakes import Record
from daemon.testing.ports import Crash, Mortal, mortal
from daemon.testing.tape import Tape
from daemon.testing.virtual_time import Work
from eventstore.errors import Unavailable
from eventstore.store import open_store

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Mapping, Sequence

    from daemon.core.node import NodeType
    from daemon.main import Daemon
    from daemon.testing.fakes import Cast
    from daemon.testing.virtual_time import VirtualTime
    from eventstore.log import Append
    from eventstore.store import Store

    T = TypeVar("T")

STOP_S = 1.0
"""Real time that a stopping daemon gets before virtual time moves on for a handler that ignores its cancellation."""


@dataclass(frozen=True, kw_only=True)
class Script:
    """What is the same in every life: the workflow's text, who plays in it, and the environment."""

    text: str
    file: str
    """For messages."""
    node_types: Mapping[str, NodeType]
    cast: Cast
    environ: Mapping[str, str]
    env: tuple[str, ...]
    """Names of the variables that expressions may read."""


@dataclass(frozen=True)
class Fault:
    """Where a life ends: before or after its append of this number, from 1."""

    append: int
    where: Literal["before", "after"]


class StoreFaults:
    """How the store fails, for all workflows of a test: `sagad.store`."""

    def __init__(self) -> None:
        self._good = 0
        self._bad = 0
        self._answer_lost = False
        self.failed = 0
        """How many appends have failed so far."""

    def fails(self, *, after: int = 0, times: int = 1, answer_lost: bool = False) -> None:
        """Let so many appends from now on succeed, then this many fail: the store is away, and then back.

        With `answer_lost` they are written all the same, and only the answer does not come.
        """
        if after < 0 or times < 1:
            raise Misused(f"fails(after={after}, times={times}): after counts from 0, times from 1")
        self._good, self._bad, self._answer_lost = after, times, answer_lost

    def strike(self) -> Literal["no", "refused", "lost"]:
        """Return what becomes of the next append."""
        if not self._bad:
            return "no"
        if self._good:
            self._good -= 1
            return "no"
        self._bad -= 1
        self.failed += 1
        return "lost" if self._answer_lost else "refused"


class Life:
    """One daemon, from its opening to its end. Implements `ports.Gate`."""

    def __init__(self, stage: Stage, fault: Fault | None) -> None:
        self._stage = stage
        self._fault = fault
        self._appends = 0
        self._leave = asyncio.Event()
        self._opened = asyncio.Event()
        self._repeat = Work(stage.time, "the daemon's pause before it asks the store again")
        self.dead = False
        self.daemon: Daemon
        """There once it has begun."""
        self.task: asyncio.Task[None]

    @property
    def over(self) -> bool:
        """Whether it was killed, or has ended by itself, which is a fault."""
        return self.dead or self.task.done()

    async def begin(self, store: Store) -> None:
        """Open the daemon and have it take up what it finds."""
        self.task = asyncio.create_task(self._live(store))
        opening = asyncio.ensure_future(self._opened.wait())
        await asyncio.wait({self.task, opening}, return_when=asyncio.FIRST_COMPLETED)
        opening.cancel()
        if self.task.done() and not self.dead:
            self.task.result()

    async def end(self) -> None:
        """Stop in order, or what is left of it when it is dead. Raises what a daemon must not end with."""
        self._leave.set()
        if self.dead:
            self.task.cancel()
        while not (await asyncio.wait({self.task}, timeout=STOP_S))[0]:
            if (due := self._stage.time.clock.next_due()) is not None:
                self._stage.time.clock.leap(due)
        self._stage.time.end(self._repeat)
        if not self.task.cancelled() and (error := self.task.exception()) is not None:
            only_crashes(error)

    def check(self) -> None:
        """See `ports.Gate`."""
        if self.dead:
            raise Crash("dead")

    async def through(self, call: Callable[[], Awaitable[Any]]) -> Any:
        """See `ports.Gate`."""
        with self._stage.time.work("a call of the store"):
            return await call()

    def append_begins(self) -> None:
        """Pass the point before an append."""
        self.check()
        self._stage.time.end(self._repeat)
        self._appends += 1
        self._die_at(Fault(self._appends, "before"))

    def append_ends(self) -> None:
        """Pass the point after an append."""
        self._die_at(Fault(self._appends, "after"))

    def repeats(self) -> None:
        """Note that the daemon will append again, after a pause of real time."""
        self._stage.time.begin(self._repeat)

    def _die_at(self, here: Fault) -> None:
        if here == self._fault:
            self.dead = True
            raise Crash(f"{here.where} append {here.append}")

    async def _live(self, store: Store) -> None:
        stage, script = self._stage, self._stage.script
        node_types = script.cast.node_types(script.node_types, stage.time, stage.record, self.check)
        log = StagedLog(store.log, self, stage)
        async with open_daemon(
            stage.settings,
            clock=stage.time.clock,
            environ=script.environ,
            jitter=lambda: 0.0,
            store=replace(mortal(store, self, log), url="testing"),  # a Postgres would have the clock go by its own
            handlers=script.cast.handlers,
            node_types=node_types,
        ) as daemon:
            compiler = msgspec.structs.replace(daemon.compiler, handlers=None)
            await daemon.plans.install(compiler.load_text(script.text, script.file).plans)
            await daemon.supervisor.start()
            self.daemon = daemon
            self._opened.set()
            await self._leave.wait()


class StagedLog(Mortal):
    """The log: it fails as the test says, and tells the tape what it has taken."""

    def __init__(self, inner: object, life: Life, stage: Stage) -> None:
        super().__init__(inner, life)
        self._life = life
        self._stage = stage

    async def insert(self, batch: Sequence[Append]) -> None:
        """See `eventstore.log.EventLog`."""
        self._life.append_begins()
        strike = self._stage.faults.strike()
        if strike == "refused":
            self._life.repeats()
            raise Unavailable("the test has the store fail")
        await self._call(self._inner.insert, (batch,), {})  # type: ignore[attr-defined]  # it is a log
        self._stage.tape.record(batch)
        self._life.append_ends()
        if strike == "lost":
            self._life.repeats()
            raise Unavailable("the test has the store's answer lost")


class Stage:
    """See the module. What is asked of it is asked again of the next life when a life is killed meanwhile."""

    def __init__(
        self, script: Script, time: VirtualTime, faults: StoreFaults, store: str, *, fault: Fault | None = None
    ) -> None:
        """`store` is `memory`, `sqlite` or a URL of Postgres; the first life ends at `fault`."""
        self.script = script
        self.time = time
        self.faults = faults
        self.tape = Tape()
        self.record = Record()
        self.lives = 0
        self.signals = 0
        """How many have been sent: each has an id of its own."""
        self._fault = fault
        self._place = ExitStack()
        url = self._place.enter_context(new_store(store))
        self.settings = Settings(
            store=StoreSettings(url=url),
            limits=Limits(grace_s=0.0),
            workflows=Workflows(env=script.env),
            daemon=DaemonSettings(name="test", lease_ttl_s=3600),
        )
        self._store: Store | None = None
        self._life: Life | None = None
        time.expect(self.tape.next_due)

    async def act(self, ask: Callable[[Daemon], Awaitable[T]], what: str) -> T:
        """Ask the daemon for something that must be harmless when repeated; return its answer as soon as it comes."""
        while True:
            life = await self._living()
            asked = asyncio.ensure_future(ask(life.daemon))
            try:
                await self._pass_until(asked, lambda: life.over, lambda: f"{what} gets no answer")  # noqa: B023  this round's
                if asked.done() and not (life.over and asked.exception() is not None):
                    return asked.result()
            finally:
                asked.cancel()
                await asyncio.wait({asked})

    async def until(self, condition: Callable[[], bool], explain: Callable[[], str]) -> None:
        """Let things happen until the condition holds when all is at rest. Stuck with the reason when it never will."""
        while not condition():
            life = await self._living()
            await self.time.pass_until(lambda: condition() or life.over, explain)  # noqa: B023  this round's

    async def until_told(self, condition: Callable[[], bool], explain: Callable[[], str]) -> None:
        """Do so, but return as soon as an append makes the condition hold: handlers may be at work."""
        while not condition():
            life = await self._living()
            with self.tape.told_when(condition) as told:
                await self._pass_until(told, lambda: condition() or life.over, explain)  # noqa: B023  this round's

    async def _pass_until(
        self, either: asyncio.Future[Any], condition: Callable[[], bool], explain: Callable[[], str]
    ) -> None:
        """Let things happen until the one is done, or the other holds when all is at rest."""
        passing = asyncio.ensure_future(self.time.pass_until(lambda: either.done() or condition(), explain))
        try:
            await asyncio.wait({either, passing}, return_when=asyncio.FIRST_COMPLETED)
            if not either.done():
                await passing
        finally:
            passing.cancel()
            await asyncio.gather(passing, return_exceptions=True)

    async def rest(self) -> None:
        """Have a daemon live, and let it do all that needs no time to pass."""
        await self._living()
        await self.time.rest()

    async def kill(self) -> None:
        """Kill the daemon as it is, if there is one."""
        if self._life is not None:
            self._life.dead = True
            await self._bury(self._life)

    async def close(self) -> None:
        """End the daemon and remove the store. Raises what the daemon has ended with, when that was by itself."""
        try:
            if self._life is not None:
                await self._life.end()
        finally:
            if self._store is not None:
                await self._store.close()
            self._place.close()

    async def stored(self) -> Store:
        """Return the store itself, to look at what is in it."""
        if self._store is None:
            self._store = await open_store(self.settings.store.url, codec_of(self.settings))
        return self._store

    async def _living(self) -> Life:
        """Return the life that is lived now; begin one when there is none."""
        while True:
            if self._life is not None and not self._life.over:
                return self._life
            if self._life is not None:
                await self._bury(self._life)
            self.script.cast.check_complete()
            fault, self._fault = self._fault, None
            life = self._life = Life(self, fault)
            self.lives += 1
            await life.begin(await self.stored())

    async def _bury(self, life: Life) -> None:
        """Have the store see that the daemon is gone, and let go of all that it had in memory."""
        self._life = None
        await life.end()
        if not life.dead:
            raise Stuck("the daemon has ended by itself")
        store = await self.stored()
        for member in await store.leases.members():
            await store.leases.leave(member.id)
        if store.schema is not None:
            self._store = None
            await store.close()


def only_crashes(error: BaseException) -> None:
    """Let what a dead process raises pass; anything else is a bug that death brought to light."""
    if isinstance(error, BaseExceptionGroup):
        for each in error.exceptions:
            only_crashes(each)
    elif not isinstance(error, Crash | asyncio.CancelledError):
        raise error
