"""An execution of a daemon that answers by HTTP: its decisions as its events tell them, and what it can be told.

Comes from: daemon/cli/debugging. Goes to: daemon/api.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import httpx
import msgspec
from msgspec import Struct

from daemon.core.errors import Rejected, SagadError
from daemon.core.events import ExecutionForked
from daemon.core.state import INITIAL
from daemon.debugger.recording import definitions_in, first_of, taken_of
from daemon.runtime.shown_events import shown_events

if TYPE_CHECKING:
    from collections.abc import Callable
    from uuid import UUID

    from daemon.core.events import Event
    from daemon.core.plan import Plan
    from daemon.debugger.moments import Taken

MOST = 10_000
"""Events that are asked for at once."""
NDJSON = "application/x-ndjson"


class Away(SagadError):
    """The daemon does not answer."""


class NotFound(Rejected):
    """The daemon knows of none, or of one that was deleted."""


class _Definition(Struct):
    definition: msgspec.Raw


class Remote:
    """Asks one daemon. All methods raise Away, Rejected for what it refuses, ExecutionNotFound."""

    def __init__(self, client: httpx.AsyncClient, compiled: Callable[[bytes], Plan]) -> None:
        """`compiled` makes a plan of a definition's document."""
        self._client = client
        self._compiled = compiled

    async def events(self, execution_id: UUID, *, after: int = 0, up_to: int | None = None) -> list[Event]:
        """Return its events after a version, and up to another."""
        found: list[Event] = []
        while True:
            path = f"/executions/{execution_id}/events"
            text = await self._send("GET", path, params={"after": after + len(found), "limit": MOST})
            page = shown_events(text)
            found += page
            if len(page) < MOST:
                return found if up_to is None else found[: max(up_to - after, 0)]

    async def plan(self, execution_id: UUID, definition: str) -> Plan:
        """Return the plan of a definition that the execution is, or was, pinned to."""
        text = await self._send("GET", f"/executions/{execution_id}/definition", params={"hash": definition})
        return self._compiled(bytes(msgspec.json.decode(text, type=_Definition).definition))

    async def taken(self, execution_id: UUID, *, up_to: int | None = None) -> list[Taken]:
        """Return all that was decided, of a fork what its source had decided before."""
        own = await self.events(execution_id, up_to=up_to)
        first = first_of(execution_id, own)
        before: list[Taken] = []
        if isinstance(first, ExecutionForked):
            before = await self.taken(first.source, up_to=first.at_version)
        plans = {each: await self.plan(execution_id, each) for each in definitions_in(own)}
        base = before[-1].after if before else INITIAL
        return [*before, *taken_of(own, plans, base)]

    async def put(self, path: str, body: Any) -> None:
        """Send a request that changes something."""
        await self._send("PUT", path, json=body)

    async def post(self, path: str, body: Any) -> None:
        """Do so."""
        await self._send("POST", path, json=body)

    async def wait(self, execution_id: UUID, after: int) -> None:
        """Return when there is an event after this version, when there will be none, or after a few seconds."""
        path = f"/executions/{execution_id}/events"
        try:
            async with self._client.stream("GET", path, params={"after": after}, headers={"Accept": NDJSON}) as answer:
                blank = 0
                async for line in answer.aiter_lines():
                    blank += not line
                    if line or blank > 1:
                        return
        except httpx.TransportError as error:
            raise Away(_no_answer(self._client, error)) from None

    async def _send(self, method: str, path: str, **more: Any) -> bytes:
        try:
            answer = await self._client.request(method, path, **more)
        except httpx.TransportError as error:
            raise Away(_no_answer(self._client, error)) from None
        if answer.is_success:
            return answer.content
        try:
            detail = str(answer.json()["detail"])
        except (ValueError, KeyError, TypeError):
            raise Away(f"{answer.url} answered {answer.status_code}, and not as sagad does") from None
        if answer.status_code in (httpx.codes.UNAUTHORIZED, httpx.codes.SERVICE_UNAVAILABLE):
            raise Away(detail)
        if answer.status_code in (httpx.codes.NOT_FOUND, httpx.codes.GONE):
            raise NotFound(detail)
        raise Rejected(detail)


def _no_answer(client: httpx.AsyncClient, error: Exception) -> str:
    return f"the daemon at {client.base_url} does not answer: {str(error) or type(error).__name__}"
