"""What an editor can have done to an execution: values set, a step skipped, tried again, or given another result.

The protocol has requests for some of it; the others are ours, and begin with `sagad/`.

Comes from: `adapter`. Goes to: `debuggee`, `showing`.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from daemon.core.errors import Rejected
from daemon.debugger.values import INPUT, VARIABLES, place_in

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Mapping

    from daemon.debugger.debuggee import Debuggee
    from daemon.debugger.showing import Showing

SKIP, RETRY, EDIT = "sagad/skip", "sagad/retry", "sagad/edit"
ABILITIES = {"supportsSetVariable": True, "supportsSetExpression": True, "supportsRestartFrame": True}
"""Of an execution that can be told what to go on with."""
WHILE_LIVE = {"supportsHitConditionalBreakpoints": False}
"""Of one that goes on in a daemon besides."""
GOES_ON = frozenset({SKIP, RETRY, "restartFrame"})
"""Requests after which the execution goes on; so it does after an edit of what a step has given."""
VARIABLES_OF_EDIT = frozenset({"variables", "input", "output"})


class Acting:
    """Carries out what an editor asks. All requests raise Rejected, and then nothing has changed."""

    def __init__(self, debuggee: Debuggee, showing: Showing) -> None:
        self._debuggee = debuggee
        self._showing = showing
        self.requests: Mapping[str, Callable[[Mapping[str, Any]], Awaitable[Any]]] = {
            "setVariable": self._set_variable,
            "setExpression": self._set_expression,
            "restartFrame": self._restart_frame,
            SKIP: self._skip,
            RETRY: self._retry,
            EDIT: self._edit,
        }

    def goes_on(self, command: str, arguments: Mapping[str, Any]) -> bool:
        """Tell whether the execution goes on after this request."""
        return command in GOES_ON or (command == EDIT and "output" in arguments)

    async def _set_variable(self, arguments: Mapping[str, Any]) -> Any:
        reference, name = int(arguments.get("variablesReference", 0)), str(arguments.get("name", ""))
        self._check()
        place = self._showing.place_of(reference, name)
        value = self._showing.value_of(str(arguments.get("value", "")))
        await self._debuggee.put(place, value)
        return self._showing.put(reference, name, value)

    async def _set_expression(self, arguments: Mapping[str, Any]) -> Any:
        text, frame = str(arguments.get("expression", "")), arguments.get("frameId")
        self._check()
        place = place_in(text)
        if place is None:
            raise Rejected(f"{text!r} is computed: only `vars.NAME`, and what is in it, can be set")
        value = self._showing.value_of(str(arguments.get("value", "")), frame)
        await self._debuggee.put(place, value)
        return self._showing.assigned(value, place)

    async def _restart_frame(self, arguments: Mapping[str, Any]) -> None:
        if arguments.get("frameId", 1) != 1:
            raise Rejected("only the step itself can be tried again: the innermost frame")
        await self._retry({})

    async def _skip(self, arguments: Mapping[str, Any]) -> None:
        self._check()
        await self._debuggee.skip(arguments.get("output"), str(arguments.get("port") or "out"))

    async def _retry(self, _: Mapping[str, Any]) -> None:
        self._check()
        await self._debuggee.retry()

    async def _edit(self, arguments: Mapping[str, Any]) -> None:
        self._check()
        variables = arguments.get("variables", {})
        if not arguments.keys() & VARIABLES_OF_EDIT or not isinstance(variables, dict):
            raise Rejected("an edit names `variables`, the `input` of the step that is held, or its `output`")
        for name, value in variables.items():
            await self._debuggee.put((VARIABLES, name), value)
        if "input" in arguments:
            await self._debuggee.put(INPUT, arguments["input"])
        if "output" in arguments:
            await self._debuggee.answer(arguments["output"])

    def _check(self) -> None:
        if problem := self._debuggee.refusal():
            raise Rejected(problem)
