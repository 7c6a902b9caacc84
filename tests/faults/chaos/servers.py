"""Private servers of one run, each behind a proxy: they are crashed, and the network to them is broken.

Comes from: `run`. Goes to: `faults`.
"""

from __future__ import annotations

import asyncio
import os
import signal
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING
from unittest.mock import patch
from urllib.parse import urlsplit

from deploy.private_services import ports, records
from deploy.private_services.kafka import ADVERTISED_VARIABLE
from tests.support import proxy
from tests.support.services import new_service

if TYPE_CHECKING:
    from collections.abc import Iterator

    from tests.support.proxy import ProxyProcess
    from tests.support.services import OwnService


@dataclass(frozen=True)
class Server:
    """One private server. `url` leads to it, `proxied` by way of the proxy."""

    name: str
    service: OwnService
    proxy: ProxyProcess
    busy: asyncio.Lock
    """Held while a fault of it lasts."""

    @property
    def url(self) -> str:
        """Where it is, for those who look on."""
        return self.service.url

    @property
    def proxied(self) -> str:
        """Where daemons are told that it is."""
        target = place(self.url)
        return self.url.replace(target, f"127.0.0.1:{self.proxy.port}")

    async def crash(self) -> None:
        """SIGKILL all its processes at once."""
        await asyncio.to_thread(self.service.kill)

    async def restart(self) -> None:
        """Start it again on the same port; return when it answers."""
        await asyncio.to_thread(self.service.restart)

    def abort(self) -> None:
        """Let Postgres end its sessions and itself at once, without a checkpoint (`pg_ctl stop -m immediate`)."""
        record = records.load(self.service.directory / f"{self.name}.json")
        assert record is not None
        os.kill(record.processes[self.name].pid, signal.SIGQUIT)


def place(url: str) -> str:
    """Return the `host:port` of a URL, or of a bootstrap server."""
    parts = urlsplit(url if "//" in url else f"kafka://{url}")
    return f"{parts.hostname}:{parts.port}"


@contextmanager
def servers(*names: str) -> Iterator[dict[str, Server]]:
    """Run these servers, each with its proxy, for the block."""
    with ExitStack() as stack:
        fronts = ports.choose(names, {})
        # Kafka tells its clients where to come, and that must be the proxy.
        advertised = {ADVERTISED_VARIABLE: f"127.0.0.1:{fronts['kafka']}"} if "kafka" in names else {}
        stack.enter_context(patch.dict(os.environ, advertised))
        with ThreadPoolExecutor(len(names) or 1) as pool:
            services = list(pool.map(lambda name: stack.enter_context(new_service(name)), names))
        found = {}
        for name, service in zip(names, services, strict=True):
            front = stack.enter_context(proxy.running(place(service.url), port=fronts[name]))
            found[name] = Server(name, service, front, asyncio.Lock())
        yield found
