"""A receiver of OTLP over HTTP, as real on the wire as a collector: what it was sent, and answers that tests choose."""

from __future__ import annotations

import gzip
import threading
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from http import HTTPStatus
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import TYPE_CHECKING, Any

from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import (
    ExportTraceServiceRequest,
    ExportTraceServiceResponse,
)
from opentelemetry.proto.trace.v1.trace_pb2 import Span as WireSpan
from opentelemetry.proto.trace.v1.trace_pb2 import Status as WireStatus

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence
    from types import TracebackType
    from typing import Self

    from opentelemetry.proto.common.v1.common_pb2 import KeyValue

PATH = "/v1/traces"


@dataclass(frozen=True)
class Received:
    """One span. Ids are hex, times nanoseconds since 1970."""

    name: str
    kind: str
    trace_id: str
    span_id: str
    parent_id: str
    """Empty for none."""
    start_ns: int
    end_ns: int
    failed: bool
    message: str
    attributes: Mapping[str, Any]
    resource: Mapping[str, Any]


Answer = Callable[["Sequence[Received]"], int]
"""Gives the HTTP status with which a request is answered; only those answered with 200 are kept."""


class OtlpSink:
    """Receives while entered. Port 0 lets the system choose."""

    def __init__(self, *, port: int = 0, answer: Answer = lambda _spans: HTTPStatus.OK) -> None:
        self.requests = 0
        self._answer = answer
        self._spans: list[Received] = []
        self._changed = threading.Condition()
        self._server = ThreadingHTTPServer(("127.0.0.1", port), _handler(self))
        self.port: int = self._server.server_port
        self.url = f"http://127.0.0.1:{self.port}{PATH}"

    def __enter__(self) -> Self:
        threading.Thread(target=self._server.serve_forever, kwargs={"poll_interval": 0.02}, daemon=True).start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._server.shutdown()
        self._server.server_close()

    @property
    def spans(self) -> list[Received]:
        """All spans kept so far, in the order in which they came."""
        with self._changed:
            return list(self._spans)

    def wait_for(self, count: int, *, timeout_s: float = 10) -> list[Received]:
        """Return the spans when there are at least so many; fail when they do not come."""
        with self._changed:
            assert self._changed.wait_for(lambda: len(self._spans) >= count, timeout_s), (count, self._spans)
            return list(self._spans)

    def wait_for_requests(self, count: int, *, timeout_s: float = 10) -> None:
        """Return when there were at least so many requests, however answered."""
        with self._changed:
            assert self._changed.wait_for(lambda: self.requests >= count, timeout_s), (count, self.requests)

    def take(self, path: str, body: bytes) -> int:
        """Keep what one request brings; return the status to answer with."""
        if path != PATH:
            return HTTPStatus.NOT_FOUND
        spans = list(_spans_in(ExportTraceServiceRequest.FromString(body)))
        status = self._answer(spans)
        with self._changed:
            self.requests += 1
            if status == HTTPStatus.OK:
                self._spans += spans
            self._changed.notify_all()
        return status


def _handler(sink: OtlpSink) -> type[BaseHTTPRequestHandler]:
    class Handler(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            body = self.rfile.read(int(self.headers["content-length"]))
            if self.headers.get("content-encoding") == "gzip":
                body = gzip.decompress(body)
            status = sink.take(self.path, body)
            answer = ExportTraceServiceResponse().SerializeToString()
            self.send_response(status)
            self.send_header("content-type", "application/x-protobuf")
            self.send_header("content-length", str(len(answer)))
            self.end_headers()
            self.wfile.write(answer)

        def log_message(self, format: str, *args: object) -> None:  # noqa: A002  the library's name
            """Say nothing."""

    return Handler


def _spans_in(request: ExportTraceServiceRequest) -> Iterable[Received]:
    for of_resource in request.resource_spans:
        resource = _plain(of_resource.resource.attributes)
        for of_scope in of_resource.scope_spans:
            for span in of_scope.spans:
                yield Received(
                    name=span.name,
                    kind=WireSpan.SpanKind.Name(span.kind).removeprefix("SPAN_KIND_").lower(),
                    trace_id=span.trace_id.hex(),
                    span_id=span.span_id.hex(),
                    parent_id=span.parent_span_id.hex(),
                    start_ns=span.start_time_unix_nano,
                    end_ns=span.end_time_unix_nano,
                    failed=span.status.code == WireStatus.STATUS_CODE_ERROR,
                    message=span.status.message,
                    attributes=_plain(span.attributes),
                    resource=resource,
                )


def _plain(attributes: Iterable[KeyValue]) -> dict[str, Any]:
    return {each.key: getattr(each.value, each.value.WhichOneof("value") or "string_value") for each in attributes}
