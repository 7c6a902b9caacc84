"""`debug`: moving in an execution and looking at it, on the terminal or by an editor.

Comes from: the shell. Goes to: daemon/debugger.
"""

from __future__ import annotations

import asyncio
import signal
import sys
from contextlib import asynccontextmanager, suppress
from dataclasses import replace
from pathlib import Path
from threading import Thread
from typing import TYPE_CHECKING, Annotated, Any

import typer

from daemon.cli import output
from daemon.cli.changing import read_data
from daemon.cli.checking import plain_compiler_of
from daemon.cli.faults import BadUsage, CommandError
from daemon.cli.options import Config, Url, settings_of
from daemon.cli.remotes import live, recorded_there
from daemon.cli.sources import SEARCHED, begun, whole_id
from daemon.cli.stores import is_memory, opened
from daemon.core.errors import SagadError
from daemon.debugger.adapter import Adapter, Refusal
from daemon.debugger.debuggee import Recorded
from daemon.debugger.live import Live
from daemon.debugger.live_prompt import LivePrompt
from daemon.debugger.local import local
from daemon.debugger.prompt import Prompt
from daemon.debugger.recording import recording
from daemon.debugger.session import Session
from daemon.debugger.wire import standard_streams
from daemon.nodes import all_node_types
from daemon.runtime import logs
from daemon.runtime.clock import SystemClock
from daemon.runtime.definitions import SUFFIXES
from daemon.runtime.handler_registry import PYTHON, split_name
from daemon.runtime.history import History
from daemon.runtime.plans import Plans
from eventstore.errors import StoreError
from eventstore.index import ExecutionFilter

if TYPE_CHECKING:
    from asyncio import StreamReader, StreamWriter
    from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
    from contextlib import AbstractAsyncContextManager
    from uuid import UUID

    from daemon.debugger.debuggee import Debuggee
    from daemon.settings import Settings
    from eventstore.store import Store

HOST = "127.0.0.1"


def debug(
    target: Annotated[
        str | None,
        typer.Argument(
            metavar="ID|FILE", help="A recorded execution, or a workflow to be run here: flow.yaml.", show_default=False
        ),
    ] = None,
    *,
    inputs: Annotated[
        str | None,
        typer.Option("--inputs", "-i", help="Of the execution of FILE, JSON; `@file` reads one.", show_default=False),
    ] = None,
    workflow: Annotated[
        str | None, typer.Option("--workflow", "-w", help="Which workflow of FILE.", show_default=False)
    ] = None,
    dap: Annotated[bool, typer.Option("--dap", help="Serve an editor by the Debug Adapter Protocol.")] = False,
    port: Annotated[
        int | None,
        typer.Option(min=0, max=65535, help="With --dap: this port of 127.0.0.1, not the standard streams."),
    ] = None,
    going: Annotated[
        bool, typer.Option("--live", help="One that goes on in a daemon: its breakpoints are events of it.")
    ] = False,
    tui: Annotated[bool, typer.Option("--tui", help="On the whole terminal: graph, events and state.")] = False,
    config: Config = None,
    url: Url = None,
) -> None:
    """Move in an execution, forwards and backwards, and look at it. Nothing in the store changes without --live.

    A file is run in this process, with the real handlers of the settings, on a log in memory. With --dap an editor
    moves; it names the execution, or the inputs, when it launches. With --url a daemon is asked, not the store.
    """
    if dap:
        asyncio.run(_serve(config, port))
        return
    if target is None:
        raise BadUsage("what is to be debugged?", hint="give an execution's id, a file, or --dap for an editor")
    settings = settings_of(config)
    opening: AbstractAsyncContextManager[Debuggee]
    if split_name(Path(target))[0].suffix in (PYTHON, *SUFFIXES):
        _quietly(settings)
        given = None if inputs is None else read_data(inputs, "--inputs")
        opening = local(settings, Path(target), given, workflow)
    elif going:
        opening = live(settings, target, url)
    else:
        opening = recorded(settings, target) if url is None else recorded_there(settings, target, url)
    asyncio.run(_shown(opening) if tui else _prompt(opening))


def _quietly(settings: Settings) -> None:
    logs.configure(replace(settings.log, level="error", format="console"))


async def _prompt(opening: AbstractAsyncContextManager[Debuggee]) -> None:
    async with opening as debuggee:
        kind = LivePrompt if isinstance(debuggee, Live) else Prompt
        await _served(kind(debuggee, _typed(), output.console()))


async def _shown(opening: AbstractAsyncContextManager[Debuggee]) -> None:
    try:
        from daemon.debugger.screen import screen  # noqa: PLC0415  an extra, and seldom needed
    except ModuleNotFoundError as error:
        raise BadUsage(f"--tui needs {error.name}", hint="pip install 'sagad[tui]'") from None
    async with opening as debuggee:
        await screen(debuggee).run_async()


async def _served(prompt: Prompt) -> None:
    task = asyncio.ensure_future(prompt.run())
    with suppress(ValueError, RuntimeError, NotImplementedError):  # only the main thread has signals
        loop = asyncio.get_running_loop()
        loop.add_signal_handler(signal.SIGINT, lambda: prompt.interrupt() or task.cancel())
    try:
        await task
    except asyncio.CancelledError:
        raise KeyboardInterrupt from None


def _typed() -> Callable[[], Awaitable[str | None]]:
    """Return what gives the lines of the standard input, and None at its end.

    They are read in a thread that nobody waits for: an interrupt need not wait for the next line.
    """
    loop, lines = asyncio.get_running_loop(), asyncio.Queue[str | None]()

    def read() -> None:
        with suppress(RuntimeError, ValueError):  # the loop has ended, or the input is closed
            for line in sys.stdin:
                loop.call_soon_threadsafe(lines.put_nowait, line)
            loop.call_soon_threadsafe(lines.put_nowait, None)

    Thread(target=read, daemon=True).start()

    async def next_line() -> str | None:
        if sys.stdin.isatty() and lines.empty():
            sys.stdout.write("(debug) ")
            sys.stdout.flush()
        return await lines.get()

    return next_line


async def _serve(config: Path | None, port: int | None) -> None:
    if port is None:
        reader, writer = await standard_streams()
        await _adapt(reader, writer, config)
        return

    async def connected(reader: StreamReader, writer: StreamWriter) -> None:
        try:
            await _adapt(reader, writer, config)
        finally:
            writer.close()

    try:
        server = await asyncio.start_server(connected, HOST, port)
    except OSError as error:
        raise BadUsage(f"cannot listen on {HOST}:{port}: {error.strerror or error}") from None
    host, number = server.sockets[0].getsockname()[:2]
    typer.echo(f"listening on {host}:{number}", err=True)
    async with server:
        await server.serve_forever()


async def _adapt(reader: StreamReader, writer: StreamWriter, config: Path | None) -> None:
    @asynccontextmanager
    async def open_(arguments: Mapping[str, Any]) -> AsyncIterator[Debuggee]:
        try:
            named = arguments.get("config")
            opened_ = _debuggee(settings_of(Path(named) if named else config), arguments)
            debuggee = await opened_.__aenter__()
        except (CommandError, SagadError, StoreError) as error:
            hint = getattr(error, "hint", None)
            raise Refusal(f"{error}{f' ({hint})' if hint else ''}") from error
        try:
            yield debuggee
        finally:
            await opened_.__aexit__(None, None, None)

    await Adapter(reader, writer, open_, all_node_types()).serve()


def _debuggee(settings: Settings, arguments: Mapping[str, Any]) -> AbstractAsyncContextManager[Debuggee]:
    execution, program, url = arguments.get("execution"), arguments.get("program"), arguments.get("url")
    if isinstance(execution, str) and execution and arguments.get("live") is True:
        return live(settings, execution, url, stays=False)
    if isinstance(execution, str) and execution and isinstance(url, str):
        return recorded_there(settings, execution, url)
    if isinstance(execution, str) and execution:
        return recorded(settings, execution)
    if isinstance(program, str) and "inputs" in arguments:
        _quietly(settings)
        return local(settings, Path(program), arguments["inputs"], arguments.get("workflow"))
    raise BadUsage("`execution` is missing: the id of the execution", hint="or give `program` and `inputs`")


@asynccontextmanager
async def recorded(settings: Settings, text: str) -> AsyncIterator[Recorded]:
    """Open what the store has recorded of an execution, by its id or how that begins; the store is read once."""
    if is_memory(settings):
        raise BadUsage("a store in memory belongs to the daemon's process and is gone with it")
    async with opened(settings) as store:
        plans = Plans(store.definitions, plain_compiler_of(settings).compile_stored, SystemClock())
        taken = await recording(History(store.log, store.snapshots, store.deletions), plans, await found(store, text))
        session = await asyncio.to_thread(Session, taken)
    yield Recorded(session)


async def found(store: Store, text: str) -> UUID:
    """Return the id that the text is, or is the beginning of, among the newest executions."""
    whole = whole_id(text)
    if whole is not None:
        return whole
    rows = await store.index.executions(ExecutionFilter(limit=SEARCHED))
    return begun(text, (str(row.execution_id) for row in rows))
