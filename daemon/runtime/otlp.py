"""Spans on their way to an OpenTelemetry collector: OTLP over HTTP, by OpenTelemetry's own exporter.

Its variables are honoured: `OTEL_EXPORTER_OTLP_HEADERS`, `…_CERTIFICATE`, `…_COMPRESSION`, `OTEL_RESOURCE_ATTRIBUTES`.
It blocks while it sends, so it has a thread of its own.

Comes from: `tracing`. Goes to: the collector.
"""

from __future__ import annotations

import asyncio
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime, timedelta
from importlib.metadata import version
from typing import TYPE_CHECKING, Any

import requests
import structlog
from opentelemetry.exporter.otlp.proto.http.trace_exporter import OTLPSpanExporter
from opentelemetry.sdk.resources import SERVICE_NAME, SERVICE_VERSION, Resource
from opentelemetry.sdk.trace import ReadableSpan
from opentelemetry.sdk.trace.export import SpanExportResult
from opentelemetry.sdk.util.instrumentation import InstrumentationScope
from opentelemetry.trace import SpanContext, SpanKind, Status, StatusCode, TraceFlags

from daemon.runtime.tracing import Away

if TYPE_CHECKING:
    from collections.abc import Sequence

    from daemon.core.spans import Span

TIMEOUT_S = 5.0
"""For one request, its quick repeats included."""

NO_ANSWER, FIRST_REDIRECT, BAD_REQUEST, TOO_LARGE = 0, 300, 400, 413

_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_KINDS = {"internal": SpanKind.INTERNAL, "consumer": SpanKind.CONSUMER, "server": SpanKind.SERVER}

_logger = structlog.get_logger(__name__)


class OtlpCollector:
    """One collector, at an address like `http://localhost:4318/v1/traces`. See `tracing.Collector`."""

    def __init__(self, endpoint: str, *, service_name: str = "sagad", timeout_s: float = TIMEOUT_S) -> None:
        """Nothing is connected yet."""
        release = version("sagad")
        self._resource = Resource.create({SERVICE_NAME: service_name, SERVICE_VERSION: release})
        self._scope = InstrumentationScope("sagad", release)
        self._status = NO_ANSWER
        session = requests.Session()
        session.hooks["response"].append(self._note)
        self._exporter = OTLPSpanExporter(endpoint, session=session, timeout=timeout_s)
        self._thread = ThreadPoolExecutor(max_workers=1, thread_name_prefix="otlp")

    async def send(self, spans: Sequence[Span]) -> None:
        """See `tracing.Collector`. Cancelling the caller does not take back what is under way."""
        readable = [readable_span(span, self._resource, self._scope) for span in spans]
        await asyncio.get_running_loop().run_in_executor(self._thread, self._send, readable)

    def close(self) -> None:
        """Send nothing more. Returns at once; a request under way ends with its time limit."""
        self._exporter.shutdown()  # type: ignore[no-untyped-call]  # the library does not say that it returns nothing
        self._thread.shutdown(wait=False, cancel_futures=True)

    def _send(self, spans: Sequence[ReadableSpan]) -> None:
        """Send them; halve what is refused, so that one bad span goes alone."""
        self._status = NO_ANSWER
        result = self._exporter.export(spans)
        answered = self._status
        if result is SpanExportResult.SUCCESS and NO_ANSWER < answered < FIRST_REDIRECT:
            return
        if answered not in {BAD_REQUEST, TOO_LARGE}:
            raise Away(f"the collector answers {answered}" if answered else "the collector does not answer")
        if len(spans) == 1:
            _logger.error(
                "span_refused", status=answered, name=spans[0].name, attributes=dict(spans[0].attributes or {})
            )
            return
        middle = len(spans) // 2
        self._send(spans[:middle])
        self._send(spans[middle:])

    def _note(self, response: requests.Response, *_args: Any, **_kwargs: Any) -> None:
        self._status = response.status_code


def readable_span(span: Span, resource: Resource, scope: InstrumentationScope) -> ReadableSpan:
    """Return the span in the form that OpenTelemetry exports."""
    trace = int(span.trace_id, 16)
    parent = None
    if span.parent_id is not None:
        parent = _context(trace, span.parent_id, is_remote=span.remote_parent)
    return ReadableSpan(
        name=_clean(span.name),
        context=_context(trace, span.span_id, is_remote=False),
        parent=parent,
        resource=resource,
        attributes={
            name: _clean(value) if isinstance(value, str) else value for name, value in span.attributes.items()
        },
        kind=_KINDS[span.kind],
        instrumentation_scope=scope,
        status=Status(StatusCode.ERROR, _clean(span.error)) if span.error is not None else Status(StatusCode.UNSET),
        start_time=_nanoseconds(span.start),
        end_time=_nanoseconds(span.end),
    )


def _context(trace: int, span_id: str, *, is_remote: bool) -> SpanContext:
    return SpanContext(trace, int(span_id, 16), is_remote=is_remote, trace_flags=TraceFlags(TraceFlags.SAMPLED))


def _nanoseconds(at: datetime) -> int:
    return (at - _EPOCH) // timedelta(microseconds=1) * 1000


def _clean(text: str) -> str:
    """Return the text without lone surrogates: protobuf takes none."""
    return text.encode("utf-8", "replace").decode()
