"""Which hosts the daemon may call, enforced where the connection is made.

The check stands between name resolution and `connect`: the address that was checked is the one that is connected to, so
neither a redirect nor a name that changes its address between two look-ups gets round it. Link-local addresses, where
clouds answer with credentials (169.254.169.254), are always refused.
"""

from __future__ import annotations

import asyncio
import socket
import ssl
from collections.abc import Mapping
from contextlib import AsyncExitStack
from fnmatch import fnmatchcase
from functools import cache
from ipaddress import IPv4Address, IPv6Address, IPv6Network, ip_address
from typing import TYPE_CHECKING, Any

import httpcore
import httpx
from msgspec import Struct

from daemon.nodes.gates import Gate, GateRule

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Iterable

    from daemon.nodes.gates import GateStatus

_ALSO_METADATA = (ip_address("fd00:ec2::254"), ip_address("100.100.100.200"))
"""Where clouds answer with credentials, although the address is not link-local: AWS on IPv6, Alibaba."""

_NAT64 = IPv6Network("64:ff9b::/96")


class HostRefused(Exception):
    """The daemon's settings do not let it call this host. Repeating does not help."""


class OutboundPolicy(Struct, frozen=True, kw_only=True):
    """The rules of the daemon's settings for calls that node types make."""

    allow_hosts: tuple[str, ...] = ("*",)
    """Names or addresses, with `*` for any run of characters: `api.example.com`, `*.example.com`."""
    allow_private: bool = True
    """Whether addresses of private networks and of this machine may be called."""
    max_connections: int = 200
    gates: Mapping[str, GateRule] = {}
    """By name of a host, or a pattern as above, whose hosts then share one gate; the most exact one counts."""
    verify: bool | str = True
    """Checks certificates; a path is a file of authorities to trust instead of the system's."""

    def check_host(self, host: str) -> None:
        """Raise `HostRefused` for a host that is not in the list."""
        name = host.rstrip(".").lower()
        if not any(fnmatchcase(name, pattern.lower()) for pattern in self.allow_hosts):
            raise HostRefused(f"{host} is not among the hosts that may be called")

    def check_address(self, host: str, address: str) -> None:
        """Raise `HostRefused` for an address that may not be connected to."""
        ip = _unwrapped(ip_address(address.partition("%")[0]))
        if ip.is_link_local or ip in _ALSO_METADATA:
            raise HostRefused(f"{host} is at {address}, a link-local or metadata address")
        if ip.is_multicast or ip.is_unspecified:
            raise HostRefused(f"{host} is at {address}, which is no address of a service")
        if not self.allow_private and not ip.is_global:
            raise HostRefused(f"{host} is at {address}, a private address; [outbound] allow_private permits those")


class Gates:
    """The gates of hosts, for one client."""

    def __init__(self, rules: Mapping[str, GateRule]) -> None:
        by_exactness = sorted(rules, key=lambda pattern: ("*" in pattern, -len(pattern)))
        self._gates = {pattern.lower(): Gate(pattern, rules[pattern]) for pattern in by_exactness}

    def of(self, host: str) -> Gate | None:
        """Return the host's gate; None when there is none."""
        name = host.rstrip(".").lower()
        return next((gate for pattern, gate in self._gates.items() if fnmatchcase(name, pattern)), None)

    def statuses(self) -> list[GateStatus]:
        """Tell how all of them are."""
        return [gate.status for gate in self._gates.values()]


def http_client(policy: OutboundPolicy, gates: Gates | None = None) -> httpx.AsyncClient:
    """Return a client that obeys the policy on every connection. Proxies of the environment are not used.

    Its requests raise `CircuitOpen` too. Those of a host with a gate hold their place until the response is closed.
    """
    transport = _Transport(policy, gates or Gates(policy.gates))
    return httpx.AsyncClient(transport=transport, headers={"user-agent": "sagad"}, trust_env=False)


class _Transport(httpx.AsyncHTTPTransport):
    """httpx offers no place for a network backend, so its connection pool is replaced by one that has ours."""

    def __init__(self, policy: OutboundPolicy, gates: Gates) -> None:
        self._gates = gates
        context = _ssl_context(policy.verify)
        super().__init__(verify=context)
        self._pool = httpcore.AsyncConnectionPool(
            ssl_context=context,
            max_connections=policy.max_connections,
            max_keepalive_connections=20,
            keepalive_expiry=30.0,
            network_backend=_Guarded(policy),
        )

    async def handle_async_request(self, request: httpx.Request) -> httpx.Response:
        """Send it when its host's gate lets it through; a service that does not answer, or with 5xx, has failed."""
        gate = self._gates.of(request.url.host)
        if gate is None:
            return await super().handle_async_request(request)
        async with AsyncExitStack() as stack:
            call = await stack.enter_async_context(gate.passed())
            try:
                response = await super().handle_async_request(request)
            except (httpx.TransportError, httpcore.NetworkError, httpcore.TimeoutException):
                call.went(good=False)
                raise
            call.went(good=response.status_code < httpx.codes.INTERNAL_SERVER_ERROR)
            response.stream = _Held(response.stream, stack.pop_all())
            return response


class _Held(httpx.AsyncByteStream):
    """A response's body that gives the place at its gate back when it is closed."""

    def __init__(self, inner: object, place: AsyncExitStack) -> None:
        self._inner: Any = inner
        self._place = place

    async def __aiter__(self) -> AsyncIterator[bytes]:
        async for chunk in self._inner:
            yield chunk

    async def aclose(self) -> None:
        """Close, also when the connection is broken."""
        try:
            await self._inner.aclose()
        finally:
            await self._place.aclose()


class _Guarded(httpcore.AsyncNetworkBackend):
    """Resolves, checks and connects."""

    def __init__(self, policy: OutboundPolicy) -> None:
        self._policy = policy
        self._inner = httpcore.AnyIOBackend()

    async def connect_tcp(
        self,
        host: str,
        port: int,
        timeout: float | None = None,  # noqa: ASYNC109  the library's signature
        local_address: str | None = None,
        socket_options: Iterable[httpcore.SOCKET_OPTION] | None = None,
    ) -> httpcore.AsyncNetworkStream:
        """Connect to the first address of the host that answers, if all of them may be called."""
        self._policy.check_host(host)
        try:
            async with asyncio.timeout(timeout):
                found = await asyncio.get_running_loop().getaddrinfo(host, port, type=socket.SOCK_STREAM)
        except TimeoutError as error:
            raise httpcore.ConnectTimeout(f"the name {host} was not resolved in time") from error
        except OSError as error:
            raise httpcore.ConnectError(f"the name {host} cannot be resolved") from error
        addresses = list(dict.fromkeys(str(info[4][0]) for info in found))
        for address in addresses:
            self._policy.check_address(host, address)
        *others, last = addresses
        for address in others:
            try:
                return await self._inner.connect_tcp(address, port, timeout, local_address, socket_options)
            except (httpcore.ConnectError, httpcore.ConnectTimeout):
                continue
        return await self._inner.connect_tcp(last, port, timeout, local_address, socket_options)

    async def sleep(self, seconds: float) -> None:
        """Wait between two tries of the pool."""
        await self._inner.sleep(seconds)


@cache
def _ssl_context(verify: bool | str) -> ssl.SSLContext:  # noqa: FBT001  the setting's own two forms
    """Return what checks certificates: one for all clients, as it takes 30 ms to read the authorities."""
    if verify is True:
        return ssl.create_default_context()
    if verify is False:
        context = ssl.create_default_context()
        context.check_hostname = False
        context.verify_mode = ssl.CERT_NONE
        return context
    return ssl.create_default_context(cafile=verify)


def _unwrapped(ip: IPv4Address | IPv6Address) -> IPv4Address | IPv6Address:
    """Return the IPv4 address that an IPv6 one stands for."""
    if isinstance(ip, IPv4Address):
        return ip
    if ip in _NAT64:
        return IPv4Address(int(ip) & 0xFFFFFFFF)
    return ip.ipv4_mapped or ip.sixtofour or (ip.teredo[1] if ip.teredo else ip)
