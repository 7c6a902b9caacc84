"""One life of a daemon: wired by the composition root, in a task of its own, until it is ended or killed.

A life that is killed reaches nothing any more from that moment on.

Comes from: `stage`. Goes to: daemon/main.
"""

from __future__ import annotations

import asyncio
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any, Literal, Protocol

import msgspec

from daemon.main import open_daemon
from daemon.testing.ports import Crash, mortal, only_crashes
from daemon.testing.staged_log import StagedLog, StoreFaults
from daemon.testing.virtual_time import Work

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Mapping

    from daemon.assembled import Daemon
    from daemon.core.node import NodeType
    from daemon.settings import Settings
    from daemon.testing.fakes import Cast, Record
    from daemon.testing.tape import Tape
    from daemon.testing.virtual_time import VirtualTime
    from eventstore.store import Store

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
    shared: frozenset[str] = frozenset()
    """Names of the limits of the settings that the workflows name; here they let everything through."""


@dataclass(frozen=True)
class Fault:
    """Where a life ends: before or after its append of this number, from 1."""

    append: int
    where: Literal["before", "after"]


class Staged(Protocol):
    """What stays from one life to the next; see `stage.Stage`."""

    script: Script
    settings: Settings
    time: VirtualTime
    faults: StoreFaults
    tape: Tape
    record: Record


class Life:
    """One daemon, from its opening to its end. Implements `ports.Gate`."""

    def __init__(self, stage: Staged, fault: Fault | None) -> None:
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
        """See `staged_log.Appending`."""
        self.check()
        self._stage.time.end(self._repeat)
        self._appends += 1
        self._die_at(Fault(self._appends, "before"))

    def append_ends(self) -> None:
        """See `staged_log.Appending`."""
        self._die_at(Fault(self._appends, "after"))

    def repeats(self) -> None:
        """See `staged_log.Appending`."""
        self._stage.time.begin(self._repeat)

    def _die_at(self, here: Fault) -> None:
        if here == self._fault:
            self.dead = True
            raise Crash(f"{here.where} append {here.append}")

    async def _live(self, store: Store) -> None:
        stage, script = self._stage, self._stage.script
        node_types = script.cast.node_types(script.node_types, stage.time, stage.record, self.check)
        log = StagedLog(store.log, self, stage.faults, stage.tape)
        async with open_daemon(
            stage.settings,
            clock=stage.time.clock,
            environ=script.environ,
            jitter=lambda: 0.0,
            store=replace(mortal(store, self, log), url="testing"),  # a Postgres would have the clock go by its own
            handlers=script.cast.handlers,
            functions=script.cast.functions,
            node_types=node_types,
        ) as daemon:
            compiler = msgspec.structs.replace(daemon.compiler, handlers=None, connections=None)
            await daemon.plans.install(compiler.load_text(script.text, script.file).plans)
            await daemon.supervisor.start()
            self.daemon = daemon
            self._opened.set()
            await self._leave.wait()
