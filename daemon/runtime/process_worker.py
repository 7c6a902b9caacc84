"""A process that runs handlers one after the other, as it is asked over a socket.

It ends when the daemon closes its end of the socket, or is killed. Signals that are meant for the daemon (Ctrl-C in a
terminal, a stop of the whole service) leave it alone: the daemon decides how long it may go on.

Comes from: `processes`. Goes to: the handlers.
"""

from __future__ import annotations

import signal
import socket
import sys
from functools import cached_property
from typing import TYPE_CHECKING, Never, cast

import structlog

from daemon.core.events import StepError
from daemon.core.values import bounded_json, from_json
from daemon.nodes.context import StepFailure
from daemon.runtime import process_frames as f
from daemon.runtime.generators import drain_here
from daemon.runtime.handler_registry import HandlerRegistry, load_handlers
from daemon.runtime.signatures import encode_output
from daemon.runtime.step_answers import read_answer
from daemon.runtime.step_context import Done
from daemon.runtime.step_errors import describe

if TYPE_CHECKING:
    from collections.abc import Awaitable
    from io import BufferedRWPair

    from structlog.typing import FilteringBoundLogger

    from daemon.nodes.context import NodeContext


class ProcessContext:
    """The attempt, as a handler in a process sees it. It is never cancelled: the process is killed."""

    cancelled = False

    def __init__(self, call: f.Call, replies: BufferedRWPair) -> None:
        self.execution_id = call.execution_id
        self.workflow = call.workflow
        self.address = call.address
        self.attempt = call.attempt
        self.idempotency_key = call.idempotency_key
        self.deadline = call.deadline
        self.traceparent = call.traceparent
        self.state = from_json(call.state)
        self.max_output_bytes = call.max_output_bytes
        self.resumed = from_json(call.resumed)
        self._replies = replies

    @cached_property
    def logger(self) -> FilteringBoundLogger:
        """Writes JSON lines to standard error."""
        logger: FilteringBoundLogger = structlog.get_logger("sagad.handler").bind(
            execution_id=self.execution_id, workflow=self.workflow, step=self.address, attempt=self.attempt
        )
        return logger

    @property
    def services(self) -> Never:
        """Refuse: HTTP, databases and brokers are shared in the daemon's own process."""
        raise StepFailure("a `cpu=True` handler has no context.services", "no_services", retryable=False)

    def heartbeat(self) -> None:
        """Tell that the attempt is alive."""
        _send(self._replies, f.Alive())

    def progress(self, value: object) -> None:
        """Record how far the attempt is."""
        _send(self._replies, f.Progressed(bounded_json(value)))

    def stream(self, chunk: object) -> Awaitable[None]:
        """Give readers another chunk. Held back by the socket: the daemon reads on when it has room."""
        _send(self._replies, f.Chunk(bounded_json(chunk)))
        return Done()


class _Worker:
    def __init__(self) -> None:
        self._loaded: dict[str, HandlerRegistry] = {}

    def answer(self, request: f.Request, replies: BufferedRWPair) -> f.Reply:
        attempt = request.attempt if isinstance(request, f.Call) else 1
        try:
            if isinstance(request, f.Load):
                self._loaded[request.source] = load_handlers([request.source])
                return f.Loaded()
            return read_answer(self._call(request, replies))
        except Exception as error:  # noqa: BLE001  told to the daemon
            described, retryable = describe(error, attempt)
        except SystemExit as error:
            described, retryable = StepError(f"the handler ended its process: {error}", "error", "SystemExit"), True
        return f.Failed(described, retryable)

    def _call(self, call: f.Call, replies: BufferedRWPair) -> object:
        handler = self._loaded[call.source][call.handler]
        context = ProcessContext(call, replies)
        positional, named = handler.signature.bind(from_json(call.input), context)
        if handler.streams:
            return drain_here(handler.function(*positional, **named), handler, cast("NodeContext", context))
        return encode_output(handler.function(*positional, **named))


def main(descriptor: int) -> None:
    """Answer requests until there are no more."""
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, signal.SIG_IGN)
    structlog.configure(
        processors=[
            structlog.stdlib.add_log_level,
            structlog.processors.TimeStamper(fmt="iso", utc=True),
            structlog.processors.format_exc_info,
            structlog.processors.JSONRenderer(),
        ],
        logger_factory=structlog.PrintLoggerFactory(sys.stderr),
    )
    worker = _Worker()
    try:
        with socket.socket(fileno=descriptor) as connection, connection.makefile("rwb") as stream:
            while body := _next_body(stream):
                _send(stream, worker.answer(f.read_request(body), stream))
    except ConnectionError:
        return  # the daemon has gone while a handler was at work; the step is still owed


def _next_body(requests: BufferedRWPair) -> bytes:
    """Return the next frame's body; empty when the daemon is gone."""
    length = requests.read(f.LENGTH_BYTES)
    return requests.read(int.from_bytes(length, "big")) if len(length) == f.LENGTH_BYTES else b""


def _send(replies: BufferedRWPair, reply: f.Reply) -> None:
    replies.write(f.frame(reply))
    replies.flush()
