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
        running = asyncio.create_task(worker.run())
        try:
            yield worker
        finally:
            await worker.stop(grace_s)
            await running


async def died(worker: Worker) -> None:
    """End the traffic of a worker that takes no more: nothing is said, acknowledged or given back, as in a crash."""
    silent: Any = _Silent()
    worker._channel = silent
    for work in worker._at_work.values():
        work._channel = silent
    assert worker._beating is not None
    worker._beating.cancel()


class _Silent:
    async def send(self, *_: Any, **__: Any) -> None:
        await asyncio.Event().wait()
