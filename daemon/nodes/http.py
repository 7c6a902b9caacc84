"""`http`: call a service.

The idempotency key goes out as `Idempotency-Key`, the same at each attempt, and the trace context as `traceparent`.
An answer that is not expected fails the attempt with the code `http_<status>`; of these 408, 425, 429 and 5xx may be
tried again, and so may a connection that failed (`http_unreachable`, `http_timeout`).
"""

from __future__ import annotations

from base64 import b64encode
from contextlib import suppress
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

import httpx
import msgspec
from msgspec import Struct

from daemon.core.node import Beginning, NodeType, Run
from daemon.core.schema_parts import choice, either, list_of, mapping, mapping_of, ref, text, whole_number, yes_no
from daemon.core.templates import Template
from daemon.nodes.context import StepFailure
from daemon.nodes.outbound import HostRefused
from daemon.nodes.reading import Reader

if TYPE_CHECKING:
    from collections.abc import Mapping

    from daemon.nodes.context import NodeContext

DEFAULT_TIMEOUT_S = 60.0
"""For each of connecting, sending and receiving, when the node has no `timeout`."""
DEFAULT_MAX_RESPONSE_BYTES = 1024 * 1024
_METHODS = ("GET", "POST", "PUT", "PATCH", "DELETE", "HEAD", "OPTIONS")
_BODIES = ("json", "form", "body")
_REQUEST = ("method", "url", "headers", "query", *_BODIES)
_MAY_PASS = frozenset({408, 425, 429})
_SHOWN_CHARACTERS = 2_000


class Http(Struct, frozen=True, kw_only=True):
    """The request, and which answers are good."""

    request: Template
    expect: tuple[str, ...]
    """Statuses and classes of them: `204`, `2xx`."""
    follow_redirects: bool
    max_response_bytes: int


def parse(own: Mapping[str, Any]) -> Http:
    """Compile the request as one template, secrets allowed."""
    reader, given = Reader(), own["http"]
    request = {"method": "GET"} | {key: given[key] for key in _REQUEST if key in given}
    bodies = [key for key in _BODIES if key in given]
    if len(bodies) > 1:
        reader.refuse(f"a request has one body, not {' and '.join(bodies)}", ("http", bodies[1]), "keep one of them")
    expect = given.get("expect", ["2xx"])
    return reader.finish(
        Http(
            request=reader.template(request, "http", allow_secrets=True),
            expect=tuple(str(status) for status in (expect if isinstance(expect, list) else [expect])),
            follow_redirects=given.get("follow_redirects", False),
            max_response_bytes=given.get("max_response_bytes", DEFAULT_MAX_RESPONSE_BYTES),
        )
    )


def begin(config: Http, beginning: Beginning) -> Run:
    """Ask for the call."""
    rendered = config.request.render(beginning.scope)
    return Run(rendered.value, rendered.secrets)


async def execute(context: NodeContext, value: Any) -> object:
    """Call; return `{status, headers, body}`."""
    config: Http = context.config
    request = _request(context, value)
    try:
        response = await context.services.http.send(request, stream=True, follow_redirects=config.follow_redirects)
        try:
            content = await _read(response, config.max_response_bytes)
        finally:
            await response.aclose()
    except (httpx.HTTPError, HostRefused) as error:
        raise _failure(error, _origin(request.url)) from error
    output = {
        "status": response.status_code,
        "headers": dict(response.headers.items()),
        "body": _decode(response, content),
    }
    if not _expected(config.expect, response.status_code):
        raise _unexpected(response, output["body"])
    return output


def _request(context: NodeContext, value: Mapping[str, Any]) -> httpx.Request:
    headers = {"idempotency-key": context.idempotency_key}
    if context.traceparent is not None:
        headers["traceparent"] = context.traceparent
    body: dict[str, Any] = {}
    if "json" in value:
        headers["content-type"] = "application/json"
        body["content"] = msgspec.json.encode(value["json"])
    elif "form" in value:
        body["data"] = _fields("form", value["form"])
    elif "body" in value:
        headers["content-type"] = "text/plain; charset=utf-8"
        body["content"] = _text("body", value["body"]).encode()
    headers |= {name.lower(): _text(f"header {name}", each) for name, each in value.get("headers", {}).items()}
    try:
        url = httpx.URL(_text("url", value["url"]))
        if query := _fields("query", value.get("query", {})):
            url = url.copy_merge_params(query)
        if url.scheme not in ("http", "https") or not url.host:
            raise _refused("the URL must begin with http:// or https:// and name a host")
        client = context.services.http
        return client.build_request(value["method"], url, headers=headers, timeout=_timeout(context), **body)
    except (httpx.InvalidURL, UnicodeEncodeError) as error:
        raise _refused(f"the URL or a header cannot be sent: {type(error).__name__}") from error


def _timeout(context: NodeContext) -> httpx.Timeout:
    if context.deadline is None:
        return httpx.Timeout(DEFAULT_TIMEOUT_S)
    return httpx.Timeout(max((context.deadline - datetime.now(UTC)).total_seconds(), 0.001))


def _fields(what: str, given: Mapping[str, Any]) -> dict[str, str | list[str]]:
    """Return texts, or lists of texts; what is null is left out."""
    fields: dict[str, str | list[str]] = {}
    for name, value in given.items():
        if isinstance(value, list | tuple):
            fields[name] = [_text(f"{what} {name}", each) for each in value]
        elif value is not None:
            fields[name] = _text(f"{what} {name}", value)
    return fields


def _text(what: str, value: object) -> str:
    match value:
        case str():
            return value
        case bool() | int() | float():
            return msgspec.json.encode(value).decode()
        case _:
            kind = "nothing" if value is None else "a list or a mapping"
            raise _refused(f"{what} must be text, and is {kind}")


def _refused(message: str) -> StepFailure:
    return StepFailure(message, "http_request", retryable=False)


async def _read(response: httpx.Response, at_most: int) -> bytes:
    content = bytearray()
    async for chunk in response.aiter_bytes():
        content += chunk
        if len(content) > at_most:
            message = f"the answer of {_origin(response.url)} is larger than {at_most} bytes"
            raise StepFailure(message, "http_response", retryable=False)
    return bytes(content)


def _decode(response: httpx.Response, content: bytes) -> object:
    """JSON by its content type, text as text, anything else as `{base64: …}`."""
    media = response.headers.get("content-type", "").partition(";")[0].strip().lower()
    if not content:
        return None
    if media == "application/json" or media.endswith("+json"):
        try:
            return msgspec.json.decode(content)
        except (msgspec.DecodeError, RecursionError):
            return content.decode(errors="replace")
    for encoding in (response.charset_encoding or "utf-8", "utf-8"):
        with suppress(UnicodeDecodeError, LookupError):
            return content.decode(encoding)
    return {"base64": b64encode(content).decode()}


def _expected(expect: tuple[str, ...], status: int) -> bool:
    return str(status) in expect or f"{status // 100}xx" in expect


def _unexpected(response: httpx.Response, body: object) -> StepFailure:
    status = response.status_code
    shown = body if isinstance(body, str) else msgspec.json.encode(body).decode()
    details = {"status": status, "body": shown[:_SHOWN_CHARACTERS]}
    if "retry-after" in response.headers:
        details["retry_after"] = response.headers["retry-after"]
    return StepFailure(
        f"{_origin(response.url)} answered {status} {response.reason_phrase}".rstrip(),
        f"http_{status}",
        retryable=status in _MAY_PASS or status >= httpx.codes.INTERNAL_SERVER_ERROR,
        details=details,
    )


def _failure(error: httpx.HTTPError | HostRefused, where: str) -> StepFailure:
    """Say what happened without the URL's path and query, which may hold secrets."""
    match error:
        case HostRefused():
            return StepFailure(str(error), "http_refused", retryable=False)
        case httpx.TimeoutException():
            return StepFailure(f"{where} did not answer in time ({type(error).__name__})", "http_timeout")
        case httpx.TooManyRedirects():
            return StepFailure(f"{where} redirects without end", "http_redirects", retryable=False)
        case httpx.UnsupportedProtocol() | httpx.LocalProtocolError():
            return _refused(f"the request cannot be sent: {type(error).__name__}")
        case _:
            reason = str(error) or type(error).__name__
            return StepFailure(f"{where} cannot be reached: {reason}", "http_unreachable")


def _origin(url: httpx.URL) -> str:
    port = f":{url.port}" if url.port is not None else ""
    return f"{url.scheme}://{url.host}{port}"


_STATUS = either(
    "A status such as 204, or a class such as 2xx.",
    whole_number("A status.", minimum=100, maximum=599),
    text("A class of statuses, or a status.", pattern="^([1-5]xx|[1-5][0-9][0-9])$", examples=["2xx"])
    | {"x-expected": "a class of statuses"},
)
_HTTP = mapping(
    "The request. Secrets may be used in all its texts: `{{ secret.NAME }}`.",
    {
        "method": choice("The method.", *_METHODS, default="GET"),
        "url": ref("template", "The address, with http:// or https://."),
        "headers": mapping_of("Headers by name.", ref("value", "The header's value.")),
        "query": mapping_of("Added to the URL's query; lists repeat a name.", ref("value", "The value, or several.")),
        "json": ref("value", "The body, sent as JSON."),
        "form": mapping_of("The body, sent as a form.", ref("value", "The field's value, or several.")),
        "body": ref("template", "The body, sent as text."),
        "expect": either(
            "Which statuses are good; 2xx if not given.",
            _STATUS,
            list_of("Statuses and classes of them.", _STATUS, minItems=1),
        ),
        "follow_redirects": yes_no("Whether redirects are followed; each must be allowed too.", default=False),
        "max_response_bytes": whole_number(
            "A longer answer fails the step.", minimum=1, maximum=1024**3, default=DEFAULT_MAX_RESPONSE_BYTES
        ),
    },
    "url",
)

NODE_TYPE = NodeType(
    name="http",
    summary="Calls a service over HTTP; its output is `{status, headers, body}`.",
    schema=_HTTP,
    parse=parse,
    templates=lambda config: (config.request,),
    begin=begin,
    execute=execute,
)
