"""The composition root of a remote worker: settings become a process that runs handlers for daemons.

It has the daemon's settings, its handlers, secrets, databases and rules for outgoing calls, and no store.

Comes from: daemon/cli. Goes to: daemon/runtime/worker.
"""

from __future__ import annotations

import asyncio
import os
import random
import socket
from contextlib import AsyncExitStack, asynccontextmanager
from typing import TYPE_CHECKING

from daemon.runtime.brokers import Brokers
from daemon.runtime.clock import Clock, SystemClock
from daemon.runtime.databases import Databases
from daemon.runtime.handler_registry import handlers_of
from daemon.runtime.remote_channel import Channel
from daemon.runtime.remote_work import Bench
from daemon.runtime.secrets import SecretResolver
from daemon.runtime.services import Lanes, Outgoing, outbound_policy
from daemon.runtime.worker import Worker, new_worker_id

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Mapping, Sequence

    from daemon.runtime.handler_registry import Handler
    from daemon.settings import Settings


@asynccontextmanager
async def open_worker(
    settings: Settings,
    queues: Sequence[str],
    *,
    concurrency: int,
    handlers: Mapping[str, Handler] | None = None,
    environ: Mapping[str, str] | None = None,
    clock: Clock | None = None,
    brokers: Brokers | None = None,
) -> AsyncIterator[Worker]:
    """Wire everything; `Worker.run` begins the work, `Worker.stop` ends it.

    Raises Misconfigured for settings and handlers that cannot work. A `brokers` that is given is used, and left open.
    """
    clock = clock or SystemClock()
    resolve = SecretResolver(os.environ if environ is None else environ, settings.secrets.dir)
    own_brokers = brokers is None
    brokers = brokers or Brokers(settings, now=clock.now)
    lanes = Lanes(max_threads=settings.limits.max_threads, max_processes=settings.limits.max_processes)
    async with AsyncExitStack() as stack:
        if own_brokers:
            stack.push_async_callback(brokers.close)
        databases = Databases(settings.connections, resolve)
        policy = outbound_policy(settings.outbound)
        outgoing = await stack.enter_async_context(Outgoing(brokers.publishers, policy, databases))
        tasks = await stack.enter_async_context(asyncio.TaskGroup())
        stack.push_async_callback(lanes.close)
        bench = Bench(
            worker=new_worker_id(settings.daemon.name or f"{socket.gethostname()}-{os.getpid()}"),
            handlers=handlers_of(settings) if handlers is None else handlers,
            outgoing=outgoing,
            lanes=lanes,
            clock=clock,
            secrets=resolve,
            jitter=random.random,
            spawn=tasks.create_task,
        )
        channel = Channel(brokers, settings.workers, now=clock.now)
        yield Worker(channel, queues, bench, concurrency=concurrency)
