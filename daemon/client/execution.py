"""One execution: act on it, look at it, wait for its end.

Comes from: `client`. Goes to: `link`, `past`, `debugging`.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any
from urllib.parse import quote

from daemon.client.debugging import Debugging
from daemon.client.errors import NotCompleted
from daemon.client.link import given
from daemon.client.past import Past

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Mapping

    from daemon.client.link import Answer

ENDED = frozenset({"completed", "failed", "cancelled"})
WAIT_S = 60.0
"""How long one request waits for the end."""


class Execution(Past, Debugging):
    """An execution by its id, whether or not there is one. `Past` and `Debugging` have more of its methods."""

    async def show(self, *, wait_s: float = 0.0) -> Answer:
        """Return it with its steps; wait so long for its end first, 600 s at most."""
        return await self._link.ask(
            "GET", self._path, wait_s=wait_s, wait=f"{round(wait_s * 1000)}ms" if wait_s else None
        )

    async def result(self) -> Any:
        """Wait for its end, however long, and return its output.

        Raises NotCompleted when it has failed or was cancelled.
        """
        while (shown := await self.show(wait_s=WAIT_S))["status"] not in ENDED:
            pass
        if shown["status"] != "completed":
            raise NotCompleted(shown)
        return shown["output"]

    async def why(self) -> Answer:
        """Return what it waits for, or how it ended."""
        return await self._link.ask("GET", f"{self._path}/why")

    async def events(self, *, after: int = 0, limit: int = 1000) -> Answer:
        """Return its events after this version; `finished` tells whether there will be more."""
        return await self._link.ask("GET", f"{self._path}/events", after=after, limit=limit)

    def follow(self, *, after: int = 0) -> AsyncIterator[Answer]:
        """Give its events as they come, until the last."""
        return self._link.told(f"{self._path}/events", after=after)

    def stream(self, address: str, *, after: str = "0") -> AsyncIterator[Answer]:
        """Give the chunks of a step as they come, then the `end` with its output."""
        return self._link.told(f"{self._path}/steps/{quote(address, safe='')}/stream", after=after)

    async def signal(
        self, name: str, data: Any = None, *, key: str | None = None, before_start: bool = False
    ) -> Answer:
        """Give it a signal; the same `key` counts once. With `before_start` also when it has not started yet."""
        path = f"{self._path}/signals/{quote(name, safe='')}"
        return await self._link.ask("POST", path, body=data, key=key, before_start=before_start)

    async def update(self, name: str, data: Any = None, *, key: str | None = None) -> Answer:
        """Give it an update; `result` has what that returns. Raises Refused for one that its validator refuses."""
        return await self._link.ask("POST", f"{self._path}/updates/{quote(name, safe='')}", body=data, key=key)

    async def query(self, name: str, data: Any = None) -> Any:
        """Ask it, going on or ended; nothing is recorded."""
        answer = await self._link.ask("POST", f"{self._path}/queries/{quote(name, safe='')}", body=data)
        return answer["result"]

    async def cancel(self, *, reason: str = "", undo: bool = True) -> Answer:
        """End it without a result; what it has done is undone first."""
        return await self._link.ask("POST", f"{self._path}/cancel", body={"reason": reason, "undo": undo})

    async def pause(self, *, reason: str = "") -> Answer:
        """Begin no more handlers for it until it is resumed."""
        return await self._link.ask("POST", f"{self._path}/pause", body={"reason": reason})

    async def resume(self) -> Answer:
        """End a pause, and carry out what is owed."""
        return await self._link.ask("POST", f"{self._path}/resume")

    async def resume_step(self, address: str, data: Any = None, *, key: str | None = None) -> Answer:
        """Give a handler that has paused its input."""
        return await self._link.ask("POST", f"{self._path}/steps/{quote(address, safe='')}/resume", body=data, key=key)

    async def pin(self, *, reason: str = "") -> Answer:
        """Keep it, with its payloads, whatever the rules of retention and the quotas say."""
        return await self._link.ask("PUT", f"{self._path}/pin", body={"reason": reason})

    async def unpin(self) -> Answer:
        """Let the rules and the quotas count for it again."""
        return await self._link.ask("DELETE", f"{self._path}/pin")

    async def approvals(self) -> Answer:
        """Return what it asks people, and has asked."""
        return await self._link.ask("GET", f"{self._path}/approvals")

    async def decide(self, address: str, decision: str, **more: Any) -> Answer:
        """`approve`, `reject` or `delegate` (with `to`), as the client's actor; also `comment`, `data`, `question`."""
        body = given({"decision": decision, **more})
        return await self._link.ask("POST", f"{self._path}/approvals/{quote(address, safe='')}", body=body)

    async def undo(self) -> Answer:
        """Return the undo plan, its questions, and the side-effect log."""
        return await self._link.ask("GET", f"{self._path}/undo")

    async def begin_undo(self, *, note: str = "") -> Answer:
        """Undo what a completed execution has done."""
        return await self._link.ask("POST", f"{self._path}/undo", body={"choice": "start", "note": note})

    async def answer_undo(self, address: str, question: int, choice: str, *, note: str = "") -> Answer:
        """Answer what the undo asks about a step: `go`, `retry`, `skip` or `done`."""
        body: Mapping[str, Any] = {"address": address, "question": question, "choice": choice, "note": note}
        return await self._link.ask("POST", f"{self._path}/undo", body=body)
