"""Remote workers in the test's own process, on a daemon's own brokers."""

from __future__ import annotations

import asyncio
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING, Any

from daemon.remote import open_worker
from daemon.runtime.handler_registry import load_handlers

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Mapping

    from daemon.runtime.brokers import Brokers
    from daemon.runtime.handler_registry import Handler
    from daemon.runtime.worker import Worker
    from daemon.settings import Settings

HANDLERS = "tests.support.gated_handlers"


@asynccontextmanager
async def working(
    settings: Settings,
    brokers: Brokers | None,
    *,
    queue: str = "far",
    concurrency: int = 4,
    grace_s: float = 5.0,
    handlers: Mapping[str, Handler] | None = None,
    environ: dict[str, str] | None = None,
) -> AsyncIterator[Worker]:
    """Run a worker for the block; at the end it is drained."""
    found = handlers or load_handlers([HANDLERS])
    opening = open_worker(
        settings, [queue], concurrency=concurrency, handlers=found, environ=environ or {}, brokers=brokers
    )
    async with opening as worker:
        running = _running[worker.id] = asyncio.create_task(worker.run())
        try:
            yield worker
        finally:
            if not running.cancelled():
                await worker.stop(grace_s)
                await running
            del _running[worker.id]


async def died(worker: Worker) -> None:
    """End a worker as a crash would: it says nothing more, and the broker delivers again what it has not acknowledged.

    What it was doing goes on unseen, until the test ends it.
    """
    silent: Any = _Silent()
    worker._channel = silent
    for work in worker._at_work.values():
        work._channel = silent
    running = _running[worker.id]
    running.cancel()
    await asyncio.wait({running})


class _Silent:
    async def send(self, *_: Any, **__: Any) -> None:
        await asyncio.Event().wait()


_running: dict[str, asyncio.Task[None]] = {}
