"""Daemons that take work up, on a store in memory and a clock that the test moves."""

from __future__ import annotations

import asyncio
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Any
from uuid import UUID, uuid4

from daemon.core.events import ExecutionStarted
from daemon.core.state import INITIAL, State
from daemon.core.values import NULL
from daemon.runtime.leases import Membership
from daemon.runtime.recovery import Recovery
from daemon.testing.clock import FakeClock, settle
from eventstore.errors import Unavailable
from eventstore.index import IndexChange
from eventstore.log import Append

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from eventstore.leases import Leases
    from eventstore.store import Store

TTL = timedelta(seconds=9)


class Engine:
    """Notes what it is to resume; an execution stays in memory until `finish`."""

    def __init__(self, max_active: int) -> None:
        self.max_active = max_active
        self.resumed: list[UUID] = []
        self.memory: set[UUID] = set()
        self.most = 0
        self.old_waits = False
        self.refuses: dict[UUID, Exception] = {}
        self.states: dict[UUID, State] = {}
        self._room = asyncio.Event()
        self._room.set()

    @property
    def active(self) -> int:
        return len(self.memory)

    async def room_for_old(self) -> None:
        await self._room.wait()

    def old_first(self, *, waits: bool) -> None:
        self.old_waits = waits

    def holds(self, execution_id: UUID) -> bool:
        return execution_id in self.memory

    async def resume(self, execution_id: UUID) -> State:
        self.resumed.append(execution_id)
        if execution_id in self.refuses:
            raise self.refuses[execution_id]
        self.memory.add(execution_id)
        self._update()
        return self.states.get(execution_id, INITIAL)

    def finish(self, execution_id: UUID) -> None:
        self.memory.discard(execution_id)
        self._update()

    def _update(self) -> None:
        self.most = max(self.most, self.active)
        self._room.set() if self.active < self.max_active else self._room.clear()

    def act_as(self, daemon: UUID | None) -> None:
        pass

    def forget_all(self) -> None:
        self.memory.clear()

    def abandon(self) -> None:
        pass


class Daemon:
    """What takes up work, on a store of the test's choice."""

    def __init__(self, bench: Bench, max_active: int) -> None:
        self.engine = Engine(max_active)
        self.membership = Membership(bench.leases, bench.clock, name="d", ttl=TTL)
        self.membership.engine, self.membership.steps = self.engine, self.engine
        self.recovery = Recovery(
            bench.leases, self.engine, self.membership, bench.clock, ttl=TTL, max_active=max_active
        )
        self.tasks: list[asyncio.Task[None]] = []

    async def start(self) -> int:
        await self.membership.join()
        count = await self.recovery.start()
        self.tasks = [asyncio.create_task(self.membership.run()), asyncio.create_task(self.recovery.run())]
        await settle()
        return count

    async def kill(self) -> None:
        for task in self.tasks:
            task.cancel()
        await asyncio.gather(*self.tasks, return_exceptions=True)


class Counting:
    """Leases that count what they are asked."""

    def __init__(self, inner: Leases) -> None:
        self.inner = inner
        self.asked: list[str] = []
        self.fails: dict[str, Exception] = {}
        self.after: dict[str, Callable[[], None]] = {}
        self.away: set[str] = set()

    def __getattr__(self, name: str) -> Any:
        method = getattr(self.inner, name)
        if name == "news":
            return method

        async def counted(*args: Any, **options: Any) -> Any:
            self.asked.append(name)
            if name in self.away:
                raise Unavailable("away")
            answer = await method(*args, **options)
            if name in self.after:
                self.after.pop(name)()
            if name in self.fails:
                raise self.fails.pop(name)
            return answer

        return counted


class Bench:
    def __init__(self, store: Store, clock: FakeClock) -> None:
        self.store, self.clock = store, clock
        self.leases = Counting(store.leases)
        self.daemons: list[Daemon] = []

    async def daemon(self, max_active: int = 100) -> Daemon:
        self.daemons.append(Daemon(self, max_active))
        return self.daemons[-1]

    async def started(self, max_active: int = 100) -> Daemon:
        daemon = await self.daemon(max_active)
        await daemon.start()
        return daemon

    async def busy(self, count: int = 1, by: UUID | None = None) -> Sequence[UUID]:
        """Put so many executions with a handler owed into the store."""
        ids = [uuid4() for _ in range(count)]
        await self.store.log.insert([self._append(each, 0, IndexChange(busy=True), by) for each in ids])
        return ids

    async def change(self, execution_id: UUID, change: IndexChange) -> None:
        version = len(await self.store.log.read(execution_id))
        await self.store.log.insert([self._append(execution_id, version, change, None)])

    def _append(self, execution_id: UUID, version: int, change: IndexChange, by: UUID | None) -> Append:
        return Append(execution_id, version, (started(execution_id),), change, by)


def started(execution_id: UUID) -> ExecutionStarted:
    return ExecutionStarted(
        execution_id=execution_id,
        workflow="w",
        definition="d",
        input=NULL,
        actor="test",
        at=datetime(2026, 1, 1, tzinfo=UTC),
    )
