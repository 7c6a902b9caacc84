"""Logs: structured lines on stderr, JSON for machines or coloured for people, the same for our own and for libraries.

Every line has a UTC time, a level, the logger's name, and what `bind_execution` has bound. Nothing secret is written:
what stands under a telling name and passwords in URLs are masked, and tracebacks have no local variables.

Comes from: daemon/cli. Goes to: the standard library's root logger.
"""

from __future__ import annotations

import logging
import re
import sys
from contextlib import AbstractContextManager
from contextvars import ContextVar
from typing import TYPE_CHECKING, Any, NamedTuple, TextIO

import structlog
from structlog.stdlib import ProcessorFormatter

from daemon.core.templates import MASK
from daemon.core.trace_ids import step_span_id, trace_id

if TYPE_CHECKING:
    from collections.abc import MutableMapping
    from uuid import UUID

    from structlog.typing import Processor

    from daemon.settings import Logging

LEVELS = {"debug": logging.DEBUG, "info": logging.INFO, "warning": logging.WARNING, "error": logging.ERROR}

CHATTY = ("aiokafka", "aio_pika", "aiormq", "asyncio", "httpx", "httpcore", "urllib3", "uvicorn.access")
"""Loggers held at warnings: below, they write a line for each request, and URLs with all that stands in them."""

SILENT = ("opentelemetry",)
"""Loggers whose errors are told by ours: `otlp` says when a collector is away."""

_SECRET_NAME = re.compile(
    r"passw|secret|token|authorization|cookie|credential|signature|api[_-]?key|private[_-]?key", re.IGNORECASE
)
_PASSWORD_IN_URL = re.compile(r"(?P<before>[a-z][a-z0-9+.-]*://[^\s:/@]*:)[^\s/]+(?=@)", re.IGNORECASE)


def configure(settings: Logging, *, stream: TextIO | None = None) -> None:
    """Set up structlog and the standard library's loggers, in place of what they had.

    uvicorn must be started with `log_config=None`, or it sets up its own.
    """
    stream = stream or sys.stderr
    level = LEVELS[settings.level]
    shared: list[Processor] = [
        structlog.contextvars.merge_contextvars,
        _add_execution,
        structlog.stdlib.add_log_level,
        structlog.stdlib.add_logger_name,
        structlog.stdlib.ExtraAdder(),
        _without_colours,
        structlog.processors.TimeStamper(fmt="iso", utc=True),
        structlog.processors.StackInfoRenderer(),
    ]
    structlog.configure(
        processors=[*shared, ProcessorFormatter.wrap_for_formatter],
        wrapper_class=structlog.make_filtering_bound_logger(level),
        logger_factory=structlog.stdlib.LoggerFactory(),
        cache_logger_on_first_use=False,
    )
    handler = logging.StreamHandler(stream)
    handler.setFormatter(ProcessorFormatter(foreign_pre_chain=shared, processors=_last(settings, stream)))
    logging.basicConfig(handlers=[handler], level=level, force=True)
    for name in ("uvicorn", "uvicorn.error", *CHATTY, *SILENT):
        logger = logging.getLogger(name)
        logger.handlers.clear()
        logger.propagate = True
    for name in CHATTY:
        logging.getLogger(name).setLevel(max(level, logging.WARNING))
    for name in SILENT:
        logging.getLogger(name).setLevel(logging.CRITICAL)


def bind_execution(
    execution_id: UUID, *, traceparent: str | None = None, address: str | None = None, attempt: int = 1
) -> AbstractContextManager[None]:
    """Add the execution, the step where there is one, and their trace ids to each line logged in the block.

    `traceparent` is what the execution was started with. Tasks and threads that the block starts inherit it. The ids
    are made when a line is logged: most steps log none.
    """
    return _Binding(_Bound(execution_id, traceparent, address, attempt))


def bind_task(execution_id: UUID, *, traceparent: str | None, address: str, attempt: int) -> None:
    """Do so for all that the current task still does: for one that belongs to the step and ends with it."""
    _bound.set(_Bound(execution_id, traceparent, address, attempt))


class _Bound(NamedTuple):
    execution_id: UUID
    traceparent: str | None
    address: str | None
    attempt: int

    def fields(self) -> dict[str, Any]:
        execution_id, attempt = self.execution_id, self.attempt
        fields: dict[str, Any] = {
            "execution_id": str(execution_id),
            "trace_id": trace_id(execution_id, self.traceparent),
        }
        if self.address is not None:
            span = step_span_id(execution_id, self.address, attempt)
            fields |= {"step": self.address, "attempt": attempt, "span_id": span}
        return fields


_bound: ContextVar[_Bound | None] = ContextVar("bound_execution", default=None)


class _Binding(AbstractContextManager[None]):
    """Binds for one block."""

    __slots__ = ("_bound", "_token")

    def __init__(self, bound: _Bound) -> None:
        self._bound = bound

    def __enter__(self) -> None:
        self._token = _bound.set(self._bound)

    def __exit__(self, *_: object) -> None:
        _bound.reset(self._token)


def _add_execution(_logger: object, _method: str, line: MutableMapping[str, Any]) -> MutableMapping[str, Any]:
    """Add what `bind_execution` has bound; what the line says itself goes before: a structlog processor."""
    bound = _bound.get()
    return line if bound is None else {**bound.fields(), **line}


def mask(_logger: object, _method: str, line: MutableMapping[str, Any]) -> MutableMapping[str, Any]:
    """Mask what is secret by its name, and passwords in URLs: a structlog processor."""
    for name, value in line.items():
        line[name] = _masked(name, value)
    return line


def _masked(name: object, value: object) -> object:
    if isinstance(name, str) and _SECRET_NAME.search(name) and value is not None:
        return MASK
    match value:
        case str():
            return _PASSWORD_IN_URL.sub(rf"\g<before>{MASK}", value)
        case dict():
            return {key: _masked(key, inner) for key, inner in value.items()}
        case list() | tuple():
            return [_masked(None, inner) for inner in value]
        case _:
            return value


def _last(settings: Logging, stream: TextIO) -> list[Processor]:
    """Return what turns a line into text, tracebacks first: they may hold URLs too."""
    renderer: Processor = structlog.processors.JSONRenderer()
    if settings.format == "console":
        plain = structlog.dev.plain_traceback
        renderer = structlog.dev.ConsoleRenderer(colors=stream.isatty(), exception_formatter=plain)
    return [ProcessorFormatter.remove_processors_meta, structlog.processors.format_exc_info, mask, renderer]


def _without_colours(_logger: object, _method: str, line: MutableMapping[str, Any]) -> MutableMapping[str, Any]:
    """Drop uvicorn's second copy of its message."""
    line.pop("color_message", None)
    return line
