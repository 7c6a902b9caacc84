"""`run`: the daemon with its HTTP server, until a signal or a fault ends it, or the one execution that it is to run.

The first SIGINT or SIGTERM stops in order: no new messages, handlers at work get `grace_s`, exit code 0. The second
ends the process at once (130 or 143); nothing that was acknowledged is lost. SIGHUP reads the definitions again.

Comes from: the shell. Goes to: daemon/main, daemon/api.
"""

from __future__ import annotations

import asyncio
import os
import signal
import socket
from contextlib import contextmanager, suppress
from dataclasses import replace
from importlib.metadata import version
from pathlib import Path  # noqa: TC003  read by typer
from typing import TYPE_CHECKING, Annotated, Any

import structlog
import typer
import uvicorn

from daemon.api.app import create_app
from daemon.cli import output
from daemon.cli.changing import read_data
from daemon.cli.faults import BadUsage
from daemon.cli.options import Config, settings_of
from daemon.cli.single import Single
from daemon.main import open_daemon
from daemon.runtime import logs
from daemon.runtime.collection import calm_garbage_collector

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from fastapi import FastAPI

    from daemon.assembled import Daemon
    from daemon.settings import Http, Settings

STREAMS_END_S = 5.0
"""How long requests that are still being answered may take at the stop, beyond the handlers' grace."""

_logger = structlog.get_logger(__name__)


class Server(uvicorn.Server):
    """uvicorn without its signal handlers: the daemon's own decide."""

    @contextmanager
    def capture_signals(self) -> Iterator[None]:
        """Leave signals alone."""
        yield


def run(
    files: Annotated[
        list[Path] | None,
        typer.Argument(help="Definitions in place of those of the settings: YAML, JSON, flow.py.", show_default=False),
    ] = None,
    *,
    input_text: Annotated[
        str | None,
        typer.Option(
            "--input", "-i", help="Start one execution with this JSON, print its output, and end.", show_default=False
        ),
    ] = None,
    config: Config = None,
    port: Annotated[int | None, typer.Option(min=0, max=65535, help="Instead of the settings' port.")] = None,
) -> None:
    """Run the daemon, until it is told to stop by SIGINT or SIGTERM.

    With --input it carries out one execution and nothing else. The exit code is 1 when that failed or was cancelled.
    """
    single = None if input_text is None else Single(read_data(input_text, "--input"))
    if port is not None:
        os.environ["SAGAD_HTTP_PORT"] = str(port)
    settings = settings_of(config)
    if files:
        settings = replace(settings, workflows=replace(settings.workflows, paths=tuple(files)))
    listening = listen(settings.http)
    logs.configure(settings.log if single is None else replace(settings.log, level="warning"))
    with asyncio.Runner(loop_factory=_loop_factory()) as runner:
        runner.run(_run(settings, listening, single))
    if single is not None and single.view is not None:
        _print_ended(single.view)


def _print_ended(view: dict[str, Any]) -> None:
    if view["status"] == "completed":
        output.print_json(view["output"])
        return
    typer.echo(f"{view['execution_id']} {view['status']}: {output.error_text(view['error'])}", err=True)
    raise typer.Exit(1)


def listen(http: Http) -> socket.socket:
    """Bind the address of the settings. Raises BadUsage when that is not possible."""
    family = socket.AF_INET6 if ":" in http.host else socket.AF_INET
    try:
        return socket.create_server((http.host, http.port), family=family, backlog=2048)
    except OSError as error:
        hint = "another daemon may be running; choose another port with [http] port or SAGAD_HTTP_PORT"
        raise BadUsage(f"cannot listen on {http.host}:{http.port}: {error.strerror or error}", hint=hint) from None


async def _run(settings: Settings, listening: socket.socket, single: Single | None) -> None:
    """Five steps: open, serve, start, wait for a signal, stop. HTTP answers while old work is still taken up."""
    async with open_daemon(settings) as daemon:
        server = _server(create_app(daemon), settings)
        serving = asyncio.create_task(server.serve(sockets=[listening]))
        starting = asyncio.create_task(daemon.start() if single is None else single.run(daemon))
        told_to_stop = asyncio.create_task(_signal(daemon))
        try:
            host, port = listening.getsockname()[:2]
            _logger.info("listening", host=host, port=port, version=version("sagad"), store=daemon.store.url)
            await asyncio.wait({starting, serving, told_to_stop}, return_when=asyncio.FIRST_COMPLETED)
            if starting.done():
                await starting
            if starting.done() and single is None:
                calm_garbage_collector()
                _logger.info("ready", workflows=daemon.plans.workflows())
                await asyncio.wait({serving, told_to_stop}, return_when=asyncio.FIRST_COMPLETED)
            _logger.info("stopping", grace_s=settings.limits.grace_s)
        finally:
            starting.cancel()
            told_to_stop.cancel()
            await _stop(daemon, server, serving)
    _logger.info("stopped")


async def _stop(daemon: Daemon, server: Server, serving: asyncio.Task[None]) -> None:
    server.should_exit = True
    stopping = asyncio.create_task(daemon.stop())
    await asyncio.sleep(0)
    daemon.changes.wake_all()  # streams see that the daemon stops, and end
    try:
        await stopping
    finally:
        with suppress(asyncio.CancelledError):
            await serving


def _server(app: FastAPI, settings: Settings) -> Server:
    grace_s = settings.limits.grace_s + STREAMS_END_S
    return Server(
        uvicorn.Config(
            app,
            log_config=None,
            access_log=False,
            lifespan="off",
            server_header=False,
            timeout_graceful_shutdown=round(grace_s),
        )
    )


async def _signal(daemon: Daemon) -> None:
    """Return at the first signal to stop; from then on the second ends the process."""
    loop, stop = asyncio.get_running_loop(), asyncio.Event()
    reloads: set[asyncio.Task[None]] = set()

    def on_stop(number: int) -> None:
        if stop.is_set():
            os._exit(128 + number)
        stop.set()

    def on_reload() -> None:
        task = asyncio.create_task(daemon.reload())
        reloads.add(task)
        task.add_done_callback(reloads.discard)

    for wanted in (signal.SIGINT, signal.SIGTERM):
        loop.add_signal_handler(wanted, on_stop, wanted.value)
    loop.add_signal_handler(signal.SIGHUP, on_reload)
    await stop.wait()


def _loop_factory() -> Callable[[], asyncio.AbstractEventLoop] | None:
    try:
        import uvloop  # noqa: PLC0415  not everywhere
    except ImportError:
        return None
    factory: Callable[[], asyncio.AbstractEventLoop] = uvloop.new_event_loop
    return factory
