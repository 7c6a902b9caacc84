"""A whole daemon on a fresh store, in this process, wired as `sagad run` does it, and the work to give it."""

from __future__ import annotations

import asyncio
import time
from contextlib import asynccontextmanager
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any, TypeAlias

from daemon.main import open_daemon
from daemon.runtime.codec import codec_of
from daemon.runtime.collection import calm_garbage_collector
from daemon.settings import Limits, Settings, Store, Workflows
from eventstore.store import open_store
from tests.bench.figures import WrongOutcomeError
from tests.bench.workflows import NAME

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Awaitable, Callable, Mapping, Sequence
    from pathlib import Path
    from uuid import UUID

    from daemon.assembled import Daemon
    from eventstore.log import Append, EventLog, Recorded

Note: TypeAlias = "Callable[[float, Sequence[Append]], object]"

POLL_S = 0.002
PATIENCE_S = 120
TIMER_GRAIN_S = 0.001
"""What the loop's timers may be late by themselves."""

WIDE = Limits(max_active_executions=20_000, max_running_steps=20_000, grace_s=0.1)
"""Limits that do not hold back executions that are started all at once."""
SHIPPED = Limits(grace_s=0.1)


class ClockedLog:
    """A log that tells when each of its commits was durable, by the monotonic clock."""

    def __init__(self, inner: EventLog, note: Note) -> None:
        self.inner = inner
        self.note = note

    async def insert(self, batch: Sequence[Append]) -> None:
        """See `log.EventLog`."""
        await self.inner.insert(batch)
        self.note(time.monotonic(), batch)

    async def read(
        self, execution_id: UUID, *, after_version: int = 0, up_to_version: int | None = None
    ) -> Sequence[Recorded]:
        """See `log.EventLog`."""
        return await self.inner.read(execution_id, after_version=after_version, up_to_version=up_to_version)

    async def read_many(self, execution_ids: Sequence[UUID], *, limit: int) -> Mapping[UUID, Sequence[Recorded]]:
        """See `log.EventLog`."""
        return await self.inner.read_many(execution_ids, limit=limit)

    async def read_all(self, *, after_position: int = 0, limit: int = 1000) -> Sequence[Recorded]:
        """See `log.EventLog`."""
        return await self.inner.read_all(after_position=after_position, limit=limit)

    async def head(self) -> int:
        """See `log.EventLog`."""
        return await self.inner.head()


@dataclass(frozen=True)
class Rig:
    """A started daemon."""

    daemon: Daemon

    async def run(self, count: int, key: str) -> float:
        """Start so many executions at once; return the seconds until the log has the end of every one."""
        began = time.perf_counter()
        await asyncio.gather(*(self.start(f"{key}-{number}") for number in range(count)))
        await self.idle()
        return time.perf_counter() - began

    async def start(self, key: str) -> UUID:
        """Start one; return when that is durable."""
        execution_id, _ = await self.daemon.intake.start(NAME, {"n": 1}, key=key, actor="bench")
        return execution_id

    async def idle(self) -> None:
        """Return when no execution has work in flight."""
        await until(lambda: not self.daemon.engine.active)

    async def check(self, **by_status: int) -> None:
        """Raise unless the store has exactly so many executions of each status."""
        found = {status: count for (_, status), count in (await self.daemon.store.index.counts()).items()}
        if found != by_status:
            raise WrongOutcomeError(f"the store has {found}, expected {by_status}")


@asynccontextmanager
async def started(settings: Settings) -> AsyncIterator[Rig]:
    """Run a daemon for the block."""
    async with open_daemon(settings) as daemon:
        await daemon.start()
        calm_garbage_collector()
        yield Rig(daemon)


@asynccontextmanager
async def clocked(settings: Settings, note: Note) -> AsyncIterator[Rig]:
    """Run a daemon whose commits are noted."""
    store = await open_store(settings.store.url, codec_of(settings))
    try:
        async with open_daemon(settings, store=replace(store, log=ClockedLog(store.log, note))) as daemon:
            await daemon.start()
            calm_garbage_collector()
            yield Rig(daemon)
    finally:
        await store.close()


def settings_of(url: str, folder: Path, workflow: str, limits: Limits, **brokers: Any) -> Settings:
    """Put the definition into a file; return the settings of a daemon that runs it."""
    file = folder / "workflow.yaml"
    file.write_text(workflow)
    workflows = Workflows(paths=(file,), handlers=("tests.bench.handlers",))
    return Settings(store=Store(url=url), workflows=workflows, limits=limits, **brokers)


async def until(condition: Callable[[], bool]) -> None:
    """Return when it holds, noticed within `POLL_S`; TimeoutError after `PATIENCE_S`."""
    async with asyncio.timeout(PATIENCE_S):
        while not condition():  # noqa: ASYNC110  a poll costs what is measured less than a hook would
            await asyncio.sleep(POLL_S)


async def offer(rate: float, count: int, action: Callable[[int, float], Awaitable[object]]) -> None:
    """Begin `action(number, due)` at an even rate, whether those before have ended or not; return when all have.

    `due` is by the monotonic clock. When the loop is late, it is still the time at which the action should have begun,
    so that a slow daemon does not make its own load lighter; only a timer's grain is forgiven.
    """
    first = time.monotonic() + 0.01
    async with asyncio.TaskGroup() as tasks:
        for number in range(count):
            due = first + number / rate
            await asyncio.sleep(max(0.0, due - time.monotonic()))
            tasks.create_task(_run(action, number, max(due, min(time.monotonic(), due + TIMER_GRAIN_S))))


async def _run(action: Callable[[int, float], Awaitable[object]], number: int, due: float) -> None:
    await action(number, due)
