"""The `http` node against a real service."""

from __future__ import annotations

import threading
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Any

import msgspec
import pytest

from daemon.nodes.context import StepFailure
from daemon.nodes.http import execute
from daemon.nodes.outbound import OutboundPolicy, http_client
from tests.support.http_server import Answer, Service, service
from tests.support.nodes import FakeContext, FakeServices, executed, type_and_config

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Iterator

JSON = {"content-type": "application/json"}


@pytest.fixture
def called() -> Iterator[Service]:
    with service() as running:
        yield running


@pytest.fixture
async def services() -> AsyncIterator[FakeServices]:
    async with http_client(OutboundPolicy()) as client:
        yield FakeServices(http=client)


async def failure(text: str, services: FakeServices, **scope: Any) -> StepFailure:
    with pytest.raises(StepFailure) as failed:
        await executed(text, services, **scope)
    return failed.value


async def test_an_answer_is_status_headers_and_body(called: Service, services: FakeServices) -> None:
    called.answer(Answer(201, b'{"id": 7}', JSON))
    output = await executed(
        "{http: {url: '{{ input }}/orders', method: POST, json: {total: 2.5}}}", services, input=called.url
    )
    assert (output["status"], output["body"]) == (201, {"id": 7})
    assert output["headers"]["content-type"] == "application/json"
    [asked] = called.asked
    assert (asked.method, asked.path, msgspec.json.decode(asked.body)) == ("POST", "/orders", {"total": 2.5})
    assert asked.headers["content-type"] == "application/json"


async def test_every_attempt_carries_the_key_and_the_trace(called: Service, services: FakeServices) -> None:
    await executed("{http: {url: '{{ input }}'}}", services, input=called.url)
    [asked] = called.asked
    assert asked.headers["idempotency-key"] == "execution/b"
    assert asked.headers["traceparent"] == "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01"
    assert asked.headers["user-agent"] == "sagad"


async def test_headers_of_the_node_win(called: Service, services: FakeServices) -> None:
    text = "{http: {url: '{{ input }}', headers: {Idempotency-Key: mine, X-Count: 3, X-Fresh: true}, body: 'a b'}}"
    await executed(text, services, input=called.url)
    [asked] = called.asked
    assert (asked.headers["idempotency-key"], asked.headers["x-count"], asked.headers["x-fresh"]) == (
        "mine",
        "3",
        "true",
    )
    assert (asked.headers["content-type"], asked.body) == ("text/plain; charset=utf-8", b"a b")


async def test_query_and_form_are_encoded(called: Service, services: FakeServices) -> None:
    text = "{http: {url: '{{ input }}/?a=1', method: PUT, query: {b: [x y, 2], c: null}, form: {d: ä, e: 1.5}}}"
    await executed(text, services, input=called.url)
    [asked] = called.asked
    assert asked.path == "/?a=1&b=x+y&b=2"
    assert asked.body == b"d=%C3%A4&e=1.5"
    assert asked.headers["content-type"] == "application/x-www-form-urlencoded"


@pytest.mark.parametrize(
    ("body", "content_type", "value"),
    [
        (b"", "application/json", None),
        (b"[1]", "application/problem+json; charset=utf-8", [1]),
        (b"<oops>", "application/json", "<oops>"),
        ("grün".encode(), "text/plain", "grün"),
        ("grün".encode("latin-1"), "text/plain; charset=latin-1", "grün"),
        (b"x", "text/plain; charset=nonsense", "x"),
        (b"\xff\x00", "image/png", {"base64": "/wA="}),
    ],
)
async def test_bodies_become_json_values(
    body: bytes, content_type: str, value: Any, called: Service, services: FakeServices
) -> None:
    called.answer(Answer(200, body, {"content-type": content_type}))
    output = await executed("{http: {url: '{{ input }}'}}", services, input=called.url)
    assert output["body"] == value


@pytest.mark.parametrize(
    ("status", "retryable"),
    [(400, False), (404, False), (408, True), (425, True), (429, True), (500, True), (503, True)],
)
async def test_a_status_that_is_not_expected_fails(
    status: int, *, retryable: bool, called: Service, services: FakeServices
) -> None:
    called.answer(Answer(status, b'{"why": "no"}', {**JSON, "retry-after": "7"}))
    failed = await failure("{http: {url: '{{ input }}/secret?k=1'}}", services, input=called.url)
    assert (failed.code, failed.retryable) == (f"http_{status}", retryable)
    assert failed.details == {"status": status, "body": '{"why":"no"}', "retry_after": "7"}
    assert "secret" not in failed.message


async def test_what_is_expected_can_be_said(called: Service, services: FakeServices) -> None:
    called.answer(Answer(404), Answer(418), Answer(200))
    text = "{http: {url: '{{ input }}', expect: [4xx, 204]}}"
    assert (await executed(text, services, input=called.url))["status"] == 404
    assert (await executed(text, services, input=called.url))["status"] == 418
    failed = await failure(text, services, input=called.url)
    assert (failed.code, failed.message, failed.details) == (
        "http_200",
        f"{called.url} answered 200 OK",
        {"status": 200, "body": "null"},
    )
    called.answer(Answer(404))
    assert (await executed("{http: {url: '{{ input }}', expect: 404}}", services, input=called.url))["status"] == 404


async def test_redirects_are_followed_when_asked(called: Service, services: FakeServices) -> None:
    called.answer(Answer(302, headers={"location": "/there"}), Answer(200, b"x"))
    output = await executed("{http: {url: '{{ input }}/here', follow_redirects: true}}", services, input=called.url)
    assert (output["body"], [asked.path for asked in called.asked]) == ("x", ["/here", "/there"])
    called.answer(Answer(302, headers={"location": "/there"}))
    assert (await failure("{http: {url: '{{ input }}'}}", services, input=called.url)).code == "http_302"
    failed = await failure("{http: {url: '{{ input }}', follow_redirects: true}}", services, input=called.url)
    assert (failed.code, failed.retryable) == ("http_redirects", False)


async def test_an_answer_that_is_too_large_fails(called: Service, services: FakeServices) -> None:
    called.answer(Answer(200, b"x" * 2000))
    failed = await failure("{http: {url: '{{ input }}', max_response_bytes: 1000}}", services, input=called.url)
    assert (failed.code, failed.retryable) == ("http_response", False)
    output = await executed("{http: {url: '{{ input }}', max_response_bytes: 2000}}", services, input=called.url)
    assert len(output["body"]) == 2000


async def test_a_service_that_cannot_be_reached_may_be_tried_again(called: Service, services: FakeServices) -> None:
    called.answer(Answer(hang_up=True))
    failed = await failure("{http: {url: '{{ input }}/secret'}}", services, input=called.url)
    assert (failed.code, failed.retryable) == ("http_unreachable", True)
    assert "secret" not in failed.message
    failed = await failure("{http: {url: 'http://127.0.0.1:1/'}}", services)
    assert (failed.code, failed.retryable) == ("http_unreachable", True)
    failed = await failure("{http: {url: 'http://nowhere.invalid/'}}", services)
    assert (failed.code, failed.message) == (
        "http_unreachable",
        "http://nowhere.invalid cannot be reached: the name nowhere.invalid cannot be resolved",
    )


async def test_a_call_ends_at_the_deadline(called: Service, services: FakeServices) -> None:
    _, config = type_and_config(f"{{http: {{url: '{called.url}'}}}}")
    context = FakeContext(config, services, deadline=datetime.now(UTC) - timedelta(seconds=1))
    over = threading.Event()
    called.answer(Answer(after=over, hang_up=True))
    with pytest.raises(StepFailure) as failed:
        await execute(context, {"method": "GET", "url": called.url})
    over.set()
    assert (failed.value.code, failed.value.retryable) == ("http_timeout", True)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("{http: {url: 'ftp://x/'}}", "the URL must begin with http:// or https:// and name a host"),
        ("{http: {url: '/orders'}}", "the URL must begin with http:// or https:// and name a host"),
        ("{http: {url: 'http://x:port/'}}", "the URL or a header cannot be sent: InvalidURL"),
        ("{http: {url: '{{ input }}'}}", "url must be text, and is a list or a mapping"),
        ("{http: {url: 'http://127.0.0.1:1/', headers: {a: '{{ none }}'}}}", "header a must be text, and is nothing"),
        (
            "{http: {url: 'http://127.0.0.1:1/', headers: {a: ☃}}}",
            "the URL or a header cannot be sent: UnicodeEncodeError",
        ),
        (
            "{http: {url: 'http://127.0.0.1:1/', query: {a: {b: 1}}}}",
            "query a must be text, and is a list or a mapping",
        ),
    ],
)
async def test_a_request_that_cannot_be_sent_is_not_tried_again(
    text: str, message: str, services: FakeServices
) -> None:
    failed = await failure(text, services, input=[])
    assert (failed.code, failed.message, failed.retryable) == ("http_request", message, False)


async def test_a_host_that_is_not_allowed_is_not_called(called: Service) -> None:
    async with http_client(OutboundPolicy(allow_hosts=("*.example.com",))) as client:
        failed = await failure("{http: {url: '{{ input }}'}}", FakeServices(http=client), input=called.url)
    assert (failed.code, failed.message, failed.retryable) == (
        "http_refused",
        "127.0.0.1 is not among the hosts that may be called",
        False,
    )
    assert called.asked == []


async def test_without_a_trace_none_is_sent(called: Service, services: FakeServices) -> None:
    _, config = type_and_config("{http: {url: 'http://x'}}")
    await execute(FakeContext(config, services, traceparent=None), {"method": "GET", "url": called.url})
    assert "traceparent" not in called.asked[0].headers


async def test_a_header_cannot_smuggle_another(called: Service, services: FakeServices) -> None:
    failed = await failure("{http: {url: '{{ input }}', headers: {a: \"x\\r\\ny: z\"}}}", services, input=called.url)
    assert (failed.code, failed.retryable) == ("http_request", False)
    assert called.asked == []
