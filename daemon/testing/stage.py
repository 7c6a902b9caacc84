"""A stage: one workflow with its store and its record, and the lives of the daemons that run it, one after the other.

The next life opens the same store, and takes up what is owed there, as after a crash.

Comes from: `flow`, `crashes`. Goes to: `lives`.
"""

from __future__ import annotations

import asyncio
from contextlib import ExitStack
from typing import TYPE_CHECKING, Any, TypeVar

from daemon.runtime.opening import store_of
from daemon.settings import Daemon as DaemonSettings
from daemon.settings import Limits, Settings, Throttle, Workflows
from daemon.settings import Store as StoreSettings
from daemon.testing.databases import new_store
from daemon.testing.errors import Stuck
from daemon.testing.fakes import Record
from daemon.testing.lives import Life
from daemon.testing.tape import Tape

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

    from daemon.assembled import Daemon
    from daemon.testing.lives import Fault, Script
    from daemon.testing.staged_log import StoreFaults
    from daemon.testing.virtual_time import VirtualTime
    from eventstore.store import Store

    T = TypeVar("T")


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
            throttle=dict.fromkeys(script.shared, Throttle(concurrency=1_000_000)),
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
            self._store = await store_of(self.settings, auto_migrate=True)
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
