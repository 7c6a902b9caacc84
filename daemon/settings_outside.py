"""Settings of what is outside the daemon: the hosts that it calls, remote workers, databases of workflows.

Comes from: `settings`, which reads them.
"""

from __future__ import annotations

from collections.abc import Mapping  # noqa: TC003  the reader resolves the annotations at run time
from dataclasses import dataclass, field
from pathlib import Path  # noqa: TC003  the reader resolves the annotations at run time
from typing import Annotated, Literal

from daemon.settings_reader import Between, ConnectionUrl, HandlerQueue, Name, Rate, parse_rate


@dataclass(frozen=True, kw_only=True)
class Client:
    """`[outbound.clients."api.example.com"]`: how a host is called, by this process; `*.example.com` is one for all."""

    rate: Annotated[str, Rate()] | None = None
    """`50/s`, `600/m`: so many requests may begin in that time; further ones wait."""
    max_connections: Annotated[int, Between(1, 10_000)] | None = None
    """Requests under way at once; further ones wait."""
    circuit_failures: Annotated[int, Between(0, 10_000)] = 5
    """After so many failures in a row (no answer, or 5xx) requests fail at once, with code `circuit_open`; 0: never."""
    circuit_open_s: Annotated[float, Between(0.1, 3600)] = 30.0
    """For so long; then one request at a time may try."""


@dataclass(frozen=True, kw_only=True)
class Outbound:
    """`[outbound]`: what the `http` node may reach."""

    allow_hosts: tuple[str, ...] = ("*",)
    """Names or addresses, with `*` for any run of characters: `api.example.com`, `*.example.com`."""
    allow_private: bool = False
    """Whether addresses of private networks and of this machine may be called."""
    ca_file: Path | None = None
    """Authorities to trust instead of the system's; PEM."""
    clients: Mapping[str, Client] = field(default_factory=dict)
    """Limits of single hosts, in tables of their own; without one a host has none."""


@dataclass(frozen=True, kw_only=True)
class Workers:
    """`[workers]`: how daemons and remote workers reach each other; without `broker` there are none."""

    broker: Literal["kafka", "rabbitmq", "memory"] | None = None
    """`memory` is for tests: it reaches no other process."""
    prefix: Annotated[str, Name()] = "sagad"
    """What the names of queues and topics begin with: one for each store, and the same for its daemons and workers."""
    handlers: tuple[Annotated[str, HandlerQueue()], ...] = ()
    """Handlers that remote workers run wherever a node needs them: `media.transcode=video`, a name and a queue."""
    heartbeat_s: Annotated[float, Between(0.1, 3600)] = 20.0
    """A worker that was silent for so long is lost, unless the node says `heartbeat`."""

    def sent_away(self) -> Mapping[str, str]:
        """Return the queue by the handler's name."""
        return dict(each.split("=", 1) for each in self.handlers)


@dataclass(frozen=True, kw_only=True)
class Connection:
    """`[connections.NAME]`: a database of workflows. Its variables are `SAGAD_CONNECTIONS_NAME_URL` and so on."""

    url: Annotated[str, ConnectionUrl()] = field(repr=False)
    """`postgresql://user:{{ secret.NAME }}@host/db`, `{{ secret.NAME }}` alone, or `sqlite:///file.db`."""
    max_connections: Annotated[int, Between(1, 1000)] = 10
    """Open at once, by this daemon; further statements wait."""
    connect_timeout_s: Annotated[float, Between(0.1, 300)] = 5.0
    """How long a statement waits for a connection."""
    timeout_s: Annotated[float, Between(0.001, 86_400)] = 30.0
    """How long a statement may take that says nothing itself."""
    read_only: bool = False
    """Whether every change is refused."""
    rate: Annotated[str, Rate()] | None = None
    """`50/s`, `600/m`: so many statements may begin in that time; further ones wait."""
    circuit_failures: Annotated[int, Between(0, 10_000)] = 5
    """After so many failures in a row to reach it, statements fail at once, with code `circuit_open`; 0: never."""
    circuit_open_s: Annotated[float, Between(0.1, 3600)] = 30.0
    """For so long; then one statement at a time may try."""


def rate_of(settings: Client | Connection) -> tuple[float, float] | None:
    """Return how many calls may begin, and within how many seconds; None for any number."""
    return None if settings.rate is None else parse_rate(settings.rate)
