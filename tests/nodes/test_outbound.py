"""What may be called: names, addresses, and that the checked address is the one connected to."""

from __future__ import annotations

import asyncio
import socket
from typing import Any

import httpcore
import httpx
import pytest

from daemon.nodes.outbound import HostRefused, OutboundPolicy, http_client
from tests.support.http_server import Answer, service


@pytest.mark.parametrize(
    ("patterns", "host", "allowed"),
    [
        (("*",), "x.example.com", True),
        (("api.example.com",), "API.Example.com.", True),
        (("*.example.com",), "a.b.example.com", True),
        (("*.example.com",), "example.com", False),
        (("*.example.com",), "evil-example.com", False),
        (("api.example.com", "10.0.0.*"), "10.0.0.7", True),
        ((), "x", False),
    ],
)
def test_hosts_are_allowed_by_pattern(patterns: tuple[str, ...], host: str, *, allowed: bool) -> None:
    policy = OutboundPolicy(allow_hosts=patterns)
    if allowed:
        policy.check_host(host)
    else:
        with pytest.raises(HostRefused):
            policy.check_host(host)


@pytest.mark.parametrize(
    "address",
    [
        "169.254.169.254",
        "::ffff:169.254.169.254",
        "fe80::1%eth0",
        "fd00:ec2::254",
        "100.100.100.200",
        "0.0.0.0",  # noqa: S104  an address that is refused
        "::",
        "224.0.0.1",
        "2002:a9fe:a9fe::1",
        "64:ff9b::a9fe:a9fe",
    ],
)
def test_metadata_and_nonsense_addresses_are_always_refused(address: str) -> None:
    with pytest.raises(HostRefused):
        OutboundPolicy().check_address("x", address)


@pytest.mark.parametrize("address", ["10.0.0.1", "192.168.1.1", "127.0.0.1", "::1", "fd00::1", "::ffff:10.0.0.1"])
def test_private_addresses_may_be_refused(address: str) -> None:
    OutboundPolicy().check_address("x", address)
    with pytest.raises(HostRefused, match="a private address"):
        OutboundPolicy(allow_private=False).check_address("x", address)


def test_public_addresses_are_called() -> None:
    OutboundPolicy(allow_private=False).check_address("x", "93.184.216.34")
    OutboundPolicy(allow_private=False).check_address("x", "2606:2800:220:1:248:1893:25c8:1946")


def names(monkeypatch: pytest.MonkeyPatch, **addresses: list[str]) -> None:
    """Have these names resolve to these addresses."""

    async def resolve(_loop: Any, host: str, port: int, **_: Any) -> list[Any]:
        return [(socket.AF_INET, socket.SOCK_STREAM, 6, "", (address, port)) for address in addresses[host]]

    monkeypatch.setattr(asyncio.BaseEventLoop, "getaddrinfo", resolve)


async def test_a_name_that_leads_to_a_refused_address_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    names(monkeypatch, inside=["93.184.216.34", "169.254.169.254"])
    async with http_client(OutboundPolicy()) as client:
        with pytest.raises(HostRefused, match=r"inside is at 169\.254\.169\.254"):
            await client.get("http://inside/")


async def test_a_redirect_to_a_refused_host_is_refused() -> None:
    with service() as first:
        first.answer(Answer(302, headers={"location": "http://169.254.169.254/latest/meta-data/"}))
        async with http_client(OutboundPolicy()) as client:
            with pytest.raises(HostRefused):
                await client.get(first.url, follow_redirects=True)


async def test_the_next_address_is_tried_when_one_does_not_answer(monkeypatch: pytest.MonkeyPatch) -> None:
    with service() as running:
        port = running.url.rpartition(":")[2]
        names(monkeypatch, two=["127.0.0.2", "127.0.0.1"], none=["127.0.0.2", "127.0.0.3"])
        async with http_client(OutboundPolicy()) as client:
            assert (await client.get(f"http://two:{port}/")).status_code == 200
            with pytest.raises(httpx.ConnectError):
                await client.get("http://none:1/")
    assert running.asked[0].headers["host"] == f"two:{port}"


async def test_a_name_that_is_slow_to_resolve_times_out(monkeypatch: pytest.MonkeyPatch) -> None:
    async def resolve(*_: Any, **__: Any) -> list[Any]:
        found: asyncio.Future[list[Any]] = asyncio.get_running_loop().create_future()
        return await found

    monkeypatch.setattr(asyncio.BaseEventLoop, "getaddrinfo", resolve)
    async with http_client(OutboundPolicy()) as client:
        with pytest.raises(httpx.ConnectTimeout):
            await client.get("http://slow/", timeout=0.01)


async def test_proxies_of_the_environment_are_not_used(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HTTP_PROXY", "http://127.0.0.1:1")
    with service() as running:
        async with http_client(OutboundPolicy()) as client:
            assert (await client.get(running.url)).status_code == 200


async def test_the_pool_of_the_client_is_ours() -> None:
    """The library keeps its pool private: this test notices when a new version keeps it elsewhere."""
    async with http_client(OutboundPolicy(allow_hosts=())) as client:
        transport: Any = client._transport
        assert isinstance(transport._pool, httpcore.AsyncConnectionPool)
        with pytest.raises(HostRefused):
            await client.get("http://127.0.0.1:1/")


@pytest.mark.parametrize("verify", [True, False])
def test_certificates_are_checked_unless_told_otherwise(*, verify: bool) -> None:
    http_client(OutboundPolicy(verify=verify))


def test_a_file_of_authorities_must_be_one(tmp_path: Any) -> None:
    with pytest.raises(OSError, match="No such file"):
        http_client(OutboundPolicy(verify=str(tmp_path / "none.pem")))
