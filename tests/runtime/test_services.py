"""What nodes may use: outgoing HTTP under the daemon's rules, and the brokers."""

import asyncio
import socket
from collections.abc import AsyncIterator, Callable
from typing import Any

import httpx
import pytest

from daemon.nodes.context import Publication, StepFailure
from daemon.nodes.outbound import HostRefused, OutboundPolicy
from daemon.runtime.services import Outgoing
from triggers.errors import BrokerUnavailable, Unroutable
from triggers.memory_broker import MemoryBroker
from triggers.message import ConnectionStatus
from triggers.publishing import Outbound

DEFAULT = OutboundPolicy()


@pytest.fixture
async def server() -> AsyncIterator[str]:
    """Run a server that redirects `/away` to where clouds keep credentials, and answers all else."""

    async def answer(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        request = await reader.readuntil(b"\r\n\r\n")
        if request.startswith(b"GET /away"):
            writer.write(b"HTTP/1.1 302 Found\r\nlocation: http://169.254.169.254/latest\r\n")
        else:
            writer.write(b"HTTP/1.1 200 OK\r\n")
        writer.write(b"content-length: 2\r\nconnection: close\r\n\r\nok")
        await writer.drain()
        writer.close()
        await writer.wait_closed()

    async with await asyncio.start_server(answer, "127.0.0.1", 0) as listening:
        port = listening.sockets[0].getsockname()[1]
        yield f"http://127.0.0.1:{port}"


def resolving_to(*addresses: str) -> Callable[..., Any]:
    """Return a stand-in for the name service."""

    async def getaddrinfo(host: str, port: int, **_: object) -> list[Any]:
        return [(socket.AF_INET, socket.SOCK_STREAM, 6, "", (address, port)) for address in addresses]

    return getaddrinfo


async def get(url: str, policy: OutboundPolicy = DEFAULT, **options: Any) -> str:
    async with Outgoing({}, policy) as outgoing:
        return (await outgoing.http.get(url, **options)).text


async def test_private_services_may_be_called_by_default(server: str) -> None:
    assert await get(server) == "ok"


@pytest.mark.parametrize(
    "host", ["169.254.169.254", "[fe80::1]", "[::ffff:169.254.169.254]", "[fd00:ec2::254]", "[::]"]
)
async def test_addresses_that_give_out_credentials_may_never_be_called(host: str) -> None:
    with pytest.raises(HostRefused):
        await get(f"http://{host}/")


@pytest.mark.parametrize("addresses", [("169.254.169.254",), ("127.0.0.1", "169.254.169.254"), ("fe80::1%eth0",)])
async def test_names_that_lead_there_may_not_be_called_either(
    monkeypatch: pytest.MonkeyPatch, addresses: tuple[str, ...]
) -> None:
    monkeypatch.setattr(asyncio.get_running_loop(), "getaddrinfo", resolving_to(*addresses))
    with pytest.raises(HostRefused, match="metadata"):
        await get("http://harmless.example/")


async def test_a_redirect_may_not_lead_there(server: str) -> None:
    with pytest.raises(HostRefused):
        await get(f"{server}/away", follow_redirects=True)


async def test_private_addresses_may_be_forbidden(server: str) -> None:
    with pytest.raises(HostRefused, match="private"):
        await get(server, OutboundPolicy(allow_private=False))


@pytest.mark.parametrize(("pattern", "allowed"), [("*.internal", True), ("API.Internal", True), ("internal", False)])
async def test_hosts_may_be_listed_with_wildcards(
    monkeypatch: pytest.MonkeyPatch, server: str, pattern: str, *, allowed: bool
) -> None:
    monkeypatch.setattr(asyncio.get_running_loop(), "getaddrinfo", resolving_to("127.0.0.1"))
    url = server.replace("127.0.0.1", "api.internal")
    if allowed:
        assert await get(url, OutboundPolicy(allow_hosts=(pattern,))) == "ok"
    else:
        with pytest.raises(HostRefused, match="not among"):
            await get(url, OutboundPolicy(allow_hosts=(pattern,)))


async def test_the_client_is_closed_at_the_end() -> None:
    async with Outgoing({}) as outgoing:
        client = outgoing.http
    assert client.is_closed


async def test_a_name_without_an_address_is_unreachable(monkeypatch: pytest.MonkeyPatch) -> None:
    async def nothing(*_: object, **__: object) -> list[Any]:
        raise socket.gaierror(socket.EAI_NONAME, "unknown")

    monkeypatch.setattr(asyncio.get_running_loop(), "getaddrinfo", nothing)
    with pytest.raises(httpx.ConnectError, match="cannot be resolved"):
        await get("http://nowhere.example/")


# Brokers.


def publication(**changes: Any) -> Publication:
    fields = {
        "broker": "memory",
        "destination": "orders.done",
        "body": b'{"a":1}',
        "content_type": "application/json",
        "message_id": "execution/notify",
        "headers": {"traceparent": "00-a-b-01"},
    }
    return Publication(**(fields | changes))


async def test_a_message_is_published_with_its_idempotency_key() -> None:
    broker = MemoryBroker()
    async with Outgoing({"memory": broker}) as outgoing:
        assert await outgoing.publish(publication(key="k")) == "memory:orders.done@0"
    (stored,) = broker.messages("orders.done")
    assert stored.message == Outbound(
        destination="orders.done",
        body=b'{"a":1}',
        key="k",
        headers={"traceparent": "00-a-b-01"},
        content_type="application/json",
        message_id="execution/notify",
    )


@pytest.mark.parametrize(
    ("broker", "header"), [("memory", "ce-type"), ("kafka", "ce_type"), ("rabbitmq", "cloudEvents_type")]
)
async def test_a_cloudevent_is_written_as_its_broker_wants_it(broker: str, header: str) -> None:
    publisher = MemoryBroker()
    event = {"id": "1", "source": "/orders", "type": "done"}
    async with Outgoing({broker: publisher}) as outgoing:
        await outgoing.publish(publication(broker=broker, cloudevent=event))
    (stored,) = publisher.messages("orders.done")
    assert stored.message.headers[header] == "done"
    assert stored.message.headers["traceparent"] == "00-a-b-01"


async def test_a_structured_cloudevent_holds_the_data() -> None:
    broker = MemoryBroker()
    event = {"id": "1", "source": "/orders", "type": "done"}
    async with Outgoing({"memory": broker}) as outgoing:
        await outgoing.publish(publication(cloudevent=event, cloudevent_mode="structured"))
    (stored,) = broker.messages("orders.done")
    assert b'"data":{"a":1}' in stored.message.body
    assert (stored.message.content_type or "").startswith("application/cloudevents+json")


class Broken:
    """A publisher whose broker has this to say."""

    status = ConnectionStatus("broken", connected=False)

    def __init__(self, error: Exception) -> None:
        self.error = error

    async def publish(self, message: Outbound) -> str:
        raise self.error

    async def close(self) -> None: ...


@pytest.mark.parametrize(
    ("publishers", "changes", "code", "retryable"),
    [
        ({"memory": Broken(BrokerUnavailable("away"))}, {}, "broker_unavailable", True),
        ({"memory": Broken(Unroutable("no queue"))}, {}, "unroutable", False),
        ({"memory": MemoryBroker()}, {"broker": "kafka"}, "broker_unknown", False),
        ({"memory": MemoryBroker()}, {"cloudevent": {"id": "1"}}, "cloudevent", False),
    ],
)
async def test_what_goes_wrong_is_a_step_failure(
    publishers: dict[str, Any], changes: dict[str, Any], code: str, *, retryable: bool
) -> None:
    async with Outgoing(publishers) as outgoing:
        with pytest.raises(StepFailure) as raised:
            await outgoing.publish(publication(**changes))
    assert (raised.value.code, raised.value.retryable) == (code, retryable)
