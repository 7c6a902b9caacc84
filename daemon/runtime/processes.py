"""Processes for handlers that compute: kept and used again, and killed when their attempt is given up.

They are programs of their own (`process_worker`) that are spoken to over a socket, not forks: no lock, thread or open
connection of the daemon is copied into them, a crash in one fails one attempt, and a timeout really stops the work.
One that is killed with its handler at work is replaced when the next one is needed.

Comes from: `steps`. Goes to: `process_worker`.
"""

from __future__ import annotations

import asyncio
import json
import socket
import subprocess
import sys
from typing import TYPE_CHECKING, NamedTuple

from daemon.core.values import to_json
from daemon.nodes.context import StepFailure
from daemon.runtime import process_frames as f
from daemon.runtime.step_answers import Paused, Postponed, Returned, answer_of
from daemon.runtime.step_errors import ProcessFailure, describe

if TYPE_CHECKING:
    from daemon.nodes.context import NodeContext
    from daemon.runtime.handler_registry import Handler
    from daemon.runtime.lanes import Place

_PROGRAM = """
import json, sys
sys.path[:] = json.loads(sys.argv[2])
from daemon.runtime.process_worker import main
main(int(sys.argv[1]))
"""
_FRAME_LIMIT = 1 << 20
"""Bytes the stream reads ahead; frames may be longer."""


class Processes:
    """A bounded number of processes, started when they are needed."""

    def __init__(self, size: int) -> None:
        self._free = asyncio.Semaphore(size)
        self._idle: list[_Process] = []
        self._closed = False

    async def take(self, handler: Handler) -> Place:
        """Return a place in a process that has the handler's module imported: that does not count as work."""
        await self._free.acquire()
        process: _Process | None = None
        try:
            while self._idle and process is None:
                process = self._idle.pop()
                if not process.usable:
                    process.kill()
                    process = None
            process = process or await _Process.start()
            await process.prepare(handler.source)
        except OSError as error:
            self._free.release()
            return _NoPlace(error)
        except BaseException:
            if process is not None:
                process.kill()
            self._free.release()
            raise
        return _ProcessPlace(process, self)

    async def close(self) -> None:
        """End the processes that nobody uses; the others are killed when they are given back."""
        self._closed = True
        while self._idle:
            self._idle.pop().kill()
        await asyncio.sleep(0)

    def give_back(self, process: _Process) -> None:
        """Keep the process for the next handler, or kill it if it is at work or broken."""
        if process.usable and not self._closed:
            self._idle.append(process)
        else:
            process.kill()
        self._free.release()


class _ProcessPlace:
    def __init__(self, process: _Process, owner: Processes) -> None:
        self._process = process
        self._owner: Processes | None = owner

    async def run(self, handler: Handler, value: object, context: NodeContext) -> object:
        """Run the handler in the process."""
        return await self._process.call(handler, value, context)

    def leave(self) -> None:
        """Give the process back; one that is still at work is killed."""
        owner, self._owner = self._owner, None
        if owner is not None:
            owner.give_back(self._process)


class _NoPlace:
    """Stands for a process that the system did not let us start."""

    def __init__(self, error: OSError) -> None:
        self._error = error

    async def run(self, handler: Handler, value: object, context: NodeContext) -> object:  # noqa: ARG002  as in `Place`
        raise StepFailure(f"no process could be started: {self._error}", "process_not_started")

    def leave(self) -> None:
        """Nothing to do."""


class _Streams(NamedTuple):
    reader: asyncio.StreamReader
    writer: asyncio.StreamWriter


class _Process:
    def __init__(self, program: subprocess.Popen[bytes], streams: _Streams) -> None:
        self._program = program
        self._reader, self._writer = streams
        self._sources: dict[str, f.Failed | None] = {}
        self._at_work = False
        self._broken = False

    @classmethod
    async def start(cls) -> _Process:
        ours, theirs = socket.socketpair()
        with theirs:
            try:
                program = _start(theirs.fileno())
            except OSError:
                ours.close()
                raise
        streams = _Streams(*await asyncio.open_unix_connection(sock=ours, limit=_FRAME_LIMIT))
        return cls(program, streams)

    @property
    def usable(self) -> bool:
        return not self._at_work and not self._broken and self._program.poll() is None

    async def prepare(self, source: str) -> None:
        """Have the source imported. That it cannot be is told by `call`, when the step is under way."""
        if source in self._sources:
            return
        try:
            reply = await self._ask(f.Load(source), None)
        except StepFailure as died:
            reply = f.Failed(*describe(died, 1))
        self._sources[source] = reply if isinstance(reply, f.Failed) else None
        self._broken = self._broken or isinstance(reply, f.Failed)

    async def call(self, handler: Handler, value: object, context: NodeContext) -> object:
        if (failed := self._sources[handler.source]) is not None:
            raise ProcessFailure(failed.error, retryable=failed.retryable)
        request = f.Call(
            source=handler.source,
            handler=handler.name,
            input=to_json(value),
            execution_id=context.execution_id,
            workflow=context.workflow,
            address=context.address,
            attempt=context.attempt,
            idempotency_key=context.idempotency_key,
            deadline=context.deadline,
            traceparent=context.traceparent,
            state=to_json(context.state),
            max_output_bytes=context.max_output_bytes,
            resumed=to_json(context.resumed),
        )
        match await self._ask(request, context):
            case Returned() | Postponed() | Paused() as read:
                return answer_of(read)
            case f.Failed(error=error, retryable=retryable):
                raise ProcessFailure(error, retryable=retryable)
            case reply:
                raise TypeError(f"the handler process answered with {type(reply).__name__}")

    async def _ask(self, request: f.Request, context: NodeContext | None) -> f.Reply:
        """Send; pass on what comes before the last reply, and return that. When cancelled it is not usable any more."""
        self._at_work = True
        try:
            self._writer.write(f.frame(request))
            await self._writer.drain()
            while isinstance(reply := await self._reply(), f.Progressed | f.Alive | f.Chunk):
                if context is not None:
                    await _pass_on(reply, context)
        except (ConnectionError, asyncio.IncompleteReadError) as error:
            self._broken = True
            message = f"the handler's process ended ({_how(self._program)})"
            raise StepFailure(message, "process_died") from error
        self._at_work = False
        return reply

    async def _reply(self) -> f.Reply:
        length = await self._reader.readexactly(f.LENGTH_BYTES)
        return f.read_reply(await self._reader.readexactly(int.from_bytes(length, "big")))

    def kill(self) -> None:
        """End the process at once. It is gone, and reaped, when this returns."""
        self._writer.close()
        self._program.kill()
        self._program.wait()


async def _pass_on(told: f.Progressed | f.Alive | f.Chunk, context: NodeContext) -> None:
    """Pass on what a handler tells; a stream that is full keeps the socket from being read on."""
    match told:
        case f.Progressed(value=value):
            context.progress(value)
        case f.Chunk(value=value):
            await context.stream(value)
        case f.Alive():
            context.heartbeat()


def _start(descriptor: int) -> subprocess.Popen[bytes]:
    command = [sys.executable, "-c", _PROGRAM, str(descriptor), json.dumps(sys.path)]
    return subprocess.Popen(command, pass_fds=(descriptor,), stdin=subprocess.DEVNULL)  # noqa: S603  our own module


def _how(program: subprocess.Popen[bytes]) -> str:
    program.kill()
    code = program.wait()
    return f"signal {-code}" if code < 0 else f"exit code {code}"
