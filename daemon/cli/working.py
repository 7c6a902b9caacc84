"""`worker`: a process that runs handlers for daemons, by way of a broker.

The first SIGINT or SIGTERM drains it: no new request is begun, handlers at work get `grace_s`, what is not done by then
is given back, exit code 0. The second ends the process at once; daemons notice, and the retry policy decides.

Comes from: the shell. Goes to: daemon/remote.
"""

from __future__ import annotations

import asyncio
import os
import signal
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import structlog
import typer

from daemon.cli.faults import BadUsage
from daemon.cli.options import Config, settings_of
from daemon.remote import open_worker
from daemon.runtime import logs
from daemon.runtime.handler_registry import handlers_of

if TYPE_CHECKING:
    from collections.abc import Sequence

    from daemon.settings import Settings

BROKERS = ("kafka", "rabbitmq")

_logger = structlog.get_logger(__name__)


def worker(
    *,
    queue: Annotated[list[str], typer.Option(help="Queue to work for; may be repeated.", show_default=False)],
    handlers: Annotated[
        list[str] | None, typer.Option(help="Module or .py file of handlers, in place of the settings'; repeatable.")
    ] = None,
    broker: Annotated[str | None, typer.Option(help="kafka or rabbitmq, in place of [workers] broker.")] = None,
    concurrency: Annotated[int, typer.Option(min=1, max=10_000, help="Requests at work at once.")] = 10,
    config: Config = None,
) -> None:
    """Run handlers for daemons, until told to stop by SIGINT or SIGTERM."""
    settings = settings_of(config)
    if handlers:
        named = tuple(str(Path(each).resolve()) if each.endswith(".py") else each for each in handlers)
        settings = replace(settings, workflows=replace(settings.workflows, handlers=named))
    if broker is not None:
        os.environ["SAGAD_WORKERS_BROKER"] = broker
        settings = replace(settings, workers=settings_of(config).workers)
    if settings.workers.broker not in BROKERS:
        raise BadUsage("a worker needs a broker", hint="add --broker kafka or rabbitmq, or set [workers] broker")
    found = handlers_of(settings)
    if not found:
        raise BadUsage("there are no handlers", hint="add --handlers MODULE, or set [workflows] handlers")
    logs.configure(settings.log)
    _logger.info("worker_handlers", handlers=sorted(found), queues=queue)
    asyncio.run(_work(settings, queue, concurrency))


async def _work(settings: Settings, queues: Sequence[str], concurrency: int) -> None:
    """Work until a signal comes, then drain."""
    async with open_worker(settings, queues, concurrency=concurrency) as opened:
        running = asyncio.create_task(opened.run())
        stopped = asyncio.create_task(_signal())
        await asyncio.wait({running, stopped}, return_when=asyncio.FIRST_COMPLETED)
        if not running.done():
            _logger.info("worker_drains", at_work=opened.busy)
            await opened.stop(settings.limits.grace_s)
        await running
        stopped.cancel()


async def _signal() -> None:
    """Return at the first signal to stop; from then on the second ends the process."""
    loop, stop = asyncio.get_running_loop(), asyncio.Event()

    def on_stop(number: int) -> None:
        if stop.is_set():
            os._exit(128 + number)
        stop.set()

    for wanted in (signal.SIGINT, signal.SIGTERM):
        loop.add_signal_handler(wanted, on_stop, wanted.value)
    await stop.wait()
