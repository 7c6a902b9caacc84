"""A daemon: executions by name and by filter, people, operations.

Comes from: users. Goes to: `execution`, `operations`, `link`.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Literal, Self
from urllib.parse import quote

import httpx

from daemon.client.execution import Execution
from daemon.client.link import Link, given
from daemon.client.operations import Operations

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Mapping, Sequence
    from datetime import datetime
    from uuid import UUID

    from daemon.client.link import Answer

URL = "http://127.0.0.1:8750"
TIMEOUT_S = 30.0


class Client(Operations):
    """One daemon, or what balances the load of several: any of them takes any request.

    All methods raise ClientError's kinds. One event loop; as many tasks as you like.
    """

    def __init__(
        self,
        url: str = URL,
        *,
        token: str | None = None,
        actor: str = "python",
        timeout_s: float = TIMEOUT_S,
        http: httpx.AsyncClient | None = None,
    ) -> None:
        """`actor` is recorded with what the client does. An `http` that is given is used, and left open."""
        self._own = http is None
        self._http = http or httpx.AsyncClient(base_url=url.rstrip("/"), trust_env=False)
        headers = {"Sagad-Actor": actor} | ({"Authorization": f"Bearer {token}"} if token else {})
        super().__init__(Link(self._http, headers, timeout_s))

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, *_: object) -> None:
        await self.close()

    async def close(self) -> None:
        """Free the connections; harmless when repeated."""
        if self._own:
            await self._http.aclose()

    def execution(self, execution_id: UUID | str) -> Execution:
        """Return the execution of this id, which is not asked for. Raises ValueError for what is no id."""
        return Execution(self._link, execution_id)

    async def start(
        self,
        workflow: str,
        input: Any = None,  # noqa: A002  the word of the API
        *,
        key: str | None = None,
        breakpoints: Sequence[Mapping[str, Any]] = (),
        traceparent: str | None = None,
    ) -> Execution:
        """Start an execution; return it when that is durable. The same `key` gives the same execution, at any time."""
        path = f"/workflows/{quote(workflow, safe='')}/executions"
        headers = given({"traceparent": traceparent})
        body = {"input": input, "breakpoints": breakpoints}
        answer = await self._link.ask("POST", path, body=body, key=key, headers=headers)
        return self.execution(answer["execution_id"])

    async def signal_or_start(
        self,
        workflow: str,
        key: str,
        name: str,
        data: Any = None,
        *,
        input: Any = None,  # noqa: A002  the word of the API
        signal_key: str | None = None,
    ) -> Execution:
        """Give a signal to the execution that was started with this key; start it in the same commit if need be."""
        path = f"/workflows/{quote(workflow, safe='')}/signals/{quote(name, safe='')}"
        answer = await self._link.ask("POST", path, body={"key": key, "input": input, "data": data}, key=signal_key)
        return self.execution(answer["execution_id"])

    async def publish(self, topic: str, message: Any, *, key: str | None = None) -> Answer:
        """Publish JSON to a topic of the daemon's own broker, for development."""
        return await self._link.ask("POST", f"/topics/{quote(topic, safe='')}/messages", body=message, key=key)

    async def executions(
        self,
        *,
        workflow: str | None = None,
        status: str | None = None,
        trigger: str | None = None,
        since: datetime | None = None,
        until: datetime | None = None,
    ) -> AsyncIterator[Answer]:
        """Give the rows of executions, newest start first."""
        which: dict[str, Any] = {
            "workflow": workflow,
            "status": status,
            "trigger": trigger,
            "since": since,
            "until": until,
        }
        async for page in self._link.pages("GET", "/executions", **which):
            for row in page["executions"]:
                yield row

    async def as_of(
        self, at: datetime, where: str | None = None, *, show: Sequence[str] = (), **which: Any
    ) -> AsyncIterator[Answer]:
        """Give the executions that matched at a time, as they were then; `which` takes what `executions` does."""
        async for page in self._link.pages("GET", "/as-of", at=at, where=where, show=list(show) or None, **which):
            for row in page["executions"]:
                yield row

    async def pause(self, *, reason: str = "", **which: Any) -> int:
        """Pause all that match (`workflow`, `status`, `trigger`, `since`, `until`); return how many were changed."""
        return await self._many("/executions/pause", reason, which)

    async def resume(self, *, reason: str = "", **which: Any) -> int:
        """Resume all that match; return how many were changed."""
        return await self._many("/executions/resume", reason, which)

    async def _many(self, path: str, reason: str, which: Mapping[str, Any]) -> int:
        body = {"filter": given(which), "reason": reason}
        return sum([page["changed"] async for page in self._link.pages("POST", path, body=body)])

    async def workflows(self) -> Answer:
        """Return the loaded workflows."""
        return await self._link.ask("GET", "/workflows")

    async def workflow(self, name: str) -> Answer:
        """Return a workflow's current definition."""
        return await self._link.ask("GET", f"/workflows/{quote(name, safe='')}")

    async def versions(self, workflow: str) -> Answer:
        """Return the definitions that its executions are pinned to, and how many are open."""
        return await self._link.ask("GET", f"/workflows/{quote(workflow, safe='')}/versions")

    async def definition_schema(self) -> Answer:
        """Return the JSON Schema of definitions."""
        return await self._link.ask("GET", "/definition-schema")

    def check(self, definition: str, **which: Any) -> AsyncIterator[Answer]:
        """Decide executions again under another definition, YAML; give a report of each page of them.

        `which` takes `workflow`, `status`, `since`, `until`, and `limit` of a page.
        """
        return self._link.pages("POST", "/check", body=given({"definition": definition, **which}))

    async def shadow(
        self,
        definition: str,
        *,
        first: int | datetime | None = None,
        last: int | datetime | None = None,
        missing: Literal["stop", "fail", "null"] = "stop",
        **which: Any,
    ) -> Answer:
        """Live executions again that have started between two positions or times, under another definition.

        `which` takes `workflow`, `trigger`, `limit`. Nothing is sent, nothing is written.
        """
        body = given({"definition": definition, "from": first, "to": last, "missing": missing, **which})
        return await self._link.ask("POST", "/replay/shadow", body=body)

    async def approvals(self, approver: str | None = None, **which: Any) -> AsyncIterator[Answer]:
        """Give what people are asked, oldest first; `which` takes `workflow` and `status`."""
        async for page in self._link.pages("GET", "/approvals", approver=approver, **which):
            for row in page["approvals"]:
                yield row
