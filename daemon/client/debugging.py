"""The debugger of one execution.

Comes from: `execution`. Goes to: `link`.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Literal

from daemon.client.link import given
from daemon.client.past import UNSET, Handle

if TYPE_CHECKING:
    from collections.abc import Mapping

    from daemon.client.link import Answer


class Debugging(Handle):
    """Breakpoints of an execution that goes on, and the moments of any."""

    async def breakpoints(self) -> Answer:
        """Return its breakpoints, and where it stands."""
        return await self._link.ask("GET", f"{self._path}/breakpoints")

    async def set_breakpoints(self, *breakpoints: Mapping[str, Any], stop_next: bool = False) -> Answer:
        """Have it stop at these and no others, each with `node`, `condition` or `errors`.

        With `stop_next` before its next step, too.
        """
        body = {"breakpoints": breakpoints, "next": stop_next}
        return await self._link.ask("PUT", f"{self._path}/breakpoints", body=body)

    async def leave(
        self,
        how: Literal["continue", "over", "into", "out", "skip", "retry"] = "continue",
        *,
        output: Any = None,
        port: str = "out",
        stop: int | None = None,
    ) -> Answer:
        """Let it go on from where it stands, or from this stop; a step that is skipped gives `output` at `port`."""
        body = {"output": output, "port": port, **given({"stop": stop})}
        return await self._link.ask("POST", f"{self._path}/debug/{how}", body=body)

    async def edit(
        self,
        *,
        variables: Mapping[str, Any] | None = None,
        input: Any = UNSET,  # noqa: A002  the word of the API
        stop: int | None = None,
    ) -> Answer:
        """Change variables, or what the step is sent that it stands at."""
        body = {"variables": variables or {}, **given({"stop": stop})}
        if input is not UNSET:
            body["input"] = input
        return await self._link.ask("POST", f"{self._path}/debug/edit", body=body)

    async def moments(self, *, first: int = 1, limit: int = 100) -> Answer:
        """Return where a debugger can stop in what was recorded."""
        query: dict[str, Any] = {"from": first, "limit": limit}
        return await self._link.ask("GET", f"{self._path}/moments", **query)

    async def moment(self, number: int) -> Answer:
        """Return what templates see there, the step, what is around it, and what the fold knows."""
        return await self._link.ask("GET", f"{self._path}/moments/{number}")

    async def evaluate(self, expression: str, *, moment: int | None = None, turn: str | None = None) -> Any:
        """Return the value of an expression over what templates see at a moment, the newest if none is named."""
        body = {"expression": expression, **given({"moment": moment, "turn": turn})}
        answer = await self._link.ask("POST", f"{self._path}/evaluate", body=body)
        return answer["value"]

    async def definition(self, definition_hash: str | None = None) -> Answer:
        """Return the definition that it is pinned to, or was before, and its text."""
        return await self._link.ask("GET", f"{self._path}/definition", hash=definition_hash)
