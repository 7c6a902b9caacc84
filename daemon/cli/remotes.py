"""Executions that a daemon is asked for by HTTP, for the debugger and for replays.

Comes from: `debugging`, `replaying`. Goes to: daemon/debugger/remote.
"""

from __future__ import annotations

from contextlib import asynccontextmanager, suppress
from typing import TYPE_CHECKING

import httpx

from daemon.cli.checking import plain_compiler_of
from daemon.cli.connection import TIMEOUT_S, Connection
from daemon.cli.sources import DaemonSource, find
from daemon.core.errors import SagadError
from daemon.debugger.debuggee import Recorded
from daemon.debugger.live import Live
from daemon.debugger.remote import Remote
from daemon.debugger.session import Session

if TYPE_CHECKING:
    from collections.abc import AsyncIterator
    from uuid import UUID

    from daemon.settings import Settings


@asynccontextmanager
async def live(settings: Settings, text: str, url: str | None, *, stays: bool = True) -> AsyncIterator[Live]:
    """Open an execution that goes on, by its id or how that begins; if it does not stay, it is let go on at the end."""
    async with _asked(settings, text, url) as (remote, execution_id):
        found = Live(remote, execution_id)
        await found.open()
        try:
            yield found
        finally:
            if not stays:
                with suppress(SagadError):  # a daemon that is away has nobody to tell
                    await found.detach()


@asynccontextmanager
async def recorded_there(settings: Settings, text: str, url: str) -> AsyncIterator[Recorded]:
    """Open what a daemon has recorded of an execution."""
    async with _asked(settings, text, url) as (remote, execution_id):
        taken = await remote.taken(execution_id)
    yield Recorded(Session(taken))


@asynccontextmanager
async def _asked(settings: Settings, text: str, url: str | None) -> AsyncIterator[tuple[Remote, UUID]]:
    with Connection(settings, url) as connection:
        found = find(DaemonSource(connection), text)
        address, headers = connection.url, connection.headers
    async with httpx.AsyncClient(base_url=address, headers=headers, timeout=TIMEOUT_S, trust_env=False) as client:
        yield Remote(client, plain_compiler_of(settings).compile_stored), found
