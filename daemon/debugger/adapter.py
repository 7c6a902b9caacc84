"""The Debug Adapter Protocol: an editor's requests become moves and looks at an execution.

An execution is one thread. Its frames are the step, the turns of loops and fan-outs around it, and the execution; the
lines are those of its nodes in the file, or in the recorded definition where there is no file of it.

Comes from: daemon/cli/debugging. Goes to: `debuggee`, `showing`, `wire`.
"""

from __future__ import annotations

import asyncio
from contextlib import AsyncExitStack, suppress
from typing import TYPE_CHECKING, Any

from daemon.core.errors import SagadError
from daemon.core.evaluation import EvaluationError
from daemon.core.events import BreakpointHit
from daemon.debugger.acting import ABILITIES, EDIT, WHILE_LIVE, Acting
from daemon.debugger.asked import FILTERS, Asked, at_errors, by_name, in_lines
from daemon.debugger.looking import said
from daemon.debugger.showing import Showing
from daemon.debugger.wire import BadMessage, read_message, write_message

if TYPE_CHECKING:
    from asyncio import StreamReader, StreamWriter
    from collections.abc import Awaitable, Callable, Mapping
    from contextlib import AbstractAsyncContextManager

    from daemon.core.node import NodeType
    from daemon.debugger.breakpoints import Breakpoint
    from daemon.debugger.debuggee import Debuggee
    from daemon.debugger.moments import Moment

THREAD = 1
MOVES = {
    "next": "over",
    "stepIn": "into",
    "stepOut": "out",
    "stepBack": "back",
    "continue": "continue",
    "reverseContinue": "reverse",
}
CAPABILITIES = {
    "supportsConfigurationDoneRequest": True,
    "supportsStepBack": True,
    "supportsConditionalBreakpoints": True,
    "supportsHitConditionalBreakpoints": True,
    "supportsLogPoints": True,
    "supportsFunctionBreakpoints": True,
    "supportsGotoTargetsRequest": True,
    "supportsEvaluateForHovers": True,
    "supportsExceptionInfoRequest": True,
    "supportsTerminateRequest": True,
    "supportsExceptionFilterOptions": True,
    "exceptionBreakpointFilters": [
        {"filter": name, "label": label, "default": name == "failed", "supportsCondition": True}
        for name, label in FILTERS.items()
    ],
}
"""Of any execution; what can be done to one that is not only looked at is told when it is there: `acting.ABILITIES`."""
GO_ON = "go on"
"""A move to where the execution is after it was told something."""


class Refusal(Exception):
    """A request that cannot be carried out, and why."""


class Adapter:
    """Serves one editor. `open_` opens what the arguments of `launch` or `attach` name; it raises Refusal."""

    def __init__(
        self,
        reader: StreamReader,
        writer: StreamWriter,
        open_: Callable[[Mapping[str, Any]], AbstractAsyncContextManager[Debuggee]],
        node_types: Mapping[str, NodeType],
    ) -> None:
        self._reader = reader
        self._writer = writer
        self._open = open_
        self._node_types = node_types
        self._number = 0
        self._stack = AsyncExitStack()
        self._debuggee: Debuggee | None = None
        self._showing: Showing | None = None
        self._acting: Acting | None = None
        self._moving: asyncio.Task[None] | None = None
        self._stop_on_entry = True
        self._invalidates = False
        self._breakpoints: dict[Any, tuple[Breakpoint, ...]] = {}
        self._requests: Mapping[str, Callable[[Mapping[str, Any]], Awaitable[Any]]] = {
            "initialize": self._initialize,
            "launch": self._launch,
            "attach": self._launch,
            "configurationDone": self._configured,
            "setBreakpoints": self._set_breakpoints,
            "setFunctionBreakpoints": self._set_function_breakpoints,
            "setExceptionBreakpoints": self._set_exception_breakpoints,
            "pause": self._pause,
            "goto": self._goto,
        }

    async def serve(self) -> None:
        """Answer requests until the editor disconnects or goes away."""
        async with self._stack:
            try:
                with suppress(BadMessage, ConnectionError):
                    while (message := await read_message(self._reader)) is not None:
                        await self._answer(message)
                        await self._writer.drain()
                        if message.get("command") in ("disconnect", "terminate"):
                            return
            finally:
                await self._halt()

    async def _answer(self, request: Mapping[str, Any]) -> None:
        command = str(request.get("command"))
        arguments = request.get("arguments") or {}
        response = {"type": "response", "request_seq": request.get("seq", 0), "command": command, "success": True}
        try:
            if command in self._requests:
                response["body"] = await self._requests[command](arguments)
            elif command in MOVES:
                response["body"] = {"allThreadsContinued": True}
                self._refuse_while_moving()
            elif self._acting is not None and command in self._acting.requests:
                self._refuse_while_moving()
                response["body"] = await self._acting.requests[command](arguments)
            elif command in ("disconnect", "terminate"):
                await self._halt()
            else:
                response["body"] = self._shown(command, arguments)
        except (Refusal, EvaluationError, SagadError) as error:
            response |= {"success": False, "message": str(error)}
            response["body"] = {"error": {"id": 1, "format": str(error), "showUser": command in ("launch", "attach")}}
        self._send(response)
        if response["success"]:
            self._after(command, arguments)

    def _after(self, command: str, arguments: Mapping[str, Any]) -> None:
        """Do what an answer is followed by."""
        if command in ("launch", "attach"):
            if self._debuggee is not None and self._debuggee.changes:
                self._event("capabilities", {"capabilities": ABILITIES | (WHILE_LIVE if self._live else {})})
            self._event("initialized")
        elif self._acting is not None and self._acting.goes_on(command, arguments):
            self._go(GO_ON, "step")
        elif command in ("setVariable", "setExpression", EDIT):
            self._shown_by().follow()
            if self._invalidates:
                self._event("invalidated", {"areas": ["stacks", "variables"], "threadId": THREAD})
        elif command == "goto":
            self._stopped("goto")
        elif command in MOVES:
            self._go(MOVES[command], "step")
        elif command == "configurationDone":
            if self._debuggee is not None and self._debuggee.live:
                self._go("wait", "entry")
            elif self._stop_on_entry:
                self._stopped("entry")
            else:
                self._go("continue", "breakpoint")
        elif command == "terminate":
            self._event("terminated")

    async def _initialize(self, arguments: Mapping[str, Any]) -> Any:
        self._invalidates = arguments.get("supportsInvalidatedEvent") is True
        return CAPABILITIES

    async def _launch(self, arguments: Mapping[str, Any]) -> None:
        if self._debuggee is not None:
            raise Refusal("there is an execution already")
        self._stop_on_entry = arguments.get("stopOnEntry", True) is not False
        debuggee = await self._stack.enter_async_context(self._open(arguments))
        self._debuggee = debuggee
        self._showing = Showing(debuggee, arguments.get("program"), self._node_types)
        self._acting = Acting(debuggee, self._showing)

    async def _configured(self, _: Mapping[str, Any]) -> None:
        self._shown_by()

    async def _set_breakpoints(self, arguments: Mapping[str, Any]) -> Any:
        showing = self._shown_by()
        source = arguments.get("source", {})
        key = source.get("path") or source.get("sourceReference")
        return await self._break_at(key, in_lines(arguments, showing.lines_in(source), live=self._live))

    async def _set_function_breakpoints(self, arguments: Mapping[str, Any]) -> Any:
        return await self._break_at("nodes", by_name(arguments, live=self._live))

    async def _set_exception_breakpoints(self, arguments: Mapping[str, Any]) -> Any:
        return await self._break_at("errors", at_errors(arguments, live=self._live))

    async def _break_at(self, key: Any, asked: Asked) -> Any:
        self._breakpoints[key] = tuple(asked.holding)
        if self._debuggee is not None:
            await self._debuggee.break_at([each for some in self._breakpoints.values() for each in some])
        return {"breakpoints": asked.answers}

    @property
    def _live(self) -> bool:
        return self._debuggee is not None and self._debuggee.live

    def _shown(self, command: str, arguments: Mapping[str, Any]) -> Any:
        """Answer what only looks."""
        showing = self._shown_by()
        match command:
            case "threads":
                return {"threads": [{"id": THREAD, "name": showing.name}]}
            case "stackTrace":
                return showing.stack()
            case "scopes":
                return showing.scopes(arguments.get("frameId", 0))
            case "variables":
                return showing.variables(arguments.get("variablesReference", 0))
            case "evaluate":
                return showing.evaluated(str(arguments.get("expression", "")), arguments.get("frameId"))
            case "gotoTargets":
                lines = showing.lines_in(arguments.get("source", {}))
                node = None if lines is None else lines.node_at(arguments.get("line", 0))
                return {"targets": [] if node is None else showing.places_at(node)}
            case "exceptionInfo":
                return showing.error()
            case "source":
                return {"content": showing.text(), "mimeType": "text/x-yaml"}
            case "loadedSources":
                return {"sources": []}
            case _:
                raise Refusal(f"there is no request {command!r} here")

    async def _pause(self, _: Mapping[str, Any]) -> None:
        if self._moving is not None and (self._debuggee is None or not await self._debuggee.stop_next()):
            await self._halt()
            self._stopped("pause")

    async def _goto(self, arguments: Mapping[str, Any]) -> None:
        """Look at another moment; the execution is where it was."""
        self._refuse_while_moving()
        session, number = self._shown_by().session, arguments.get("targetId")
        if not isinstance(number, int) or not 0 <= number < len(session.moments):
            raise Refusal("there is no such place")
        session.position = number

    def _shown_by(self) -> Showing:
        if self._showing is None:
            raise Refusal("launch or attach first")
        return self._showing

    def _refuse_while_moving(self) -> None:
        self._shown_by()
        if self._moving is not None and not self._moving.done():
            raise Refusal("it is going on already; pause it first")

    def _go(self, how: str, reason: str) -> None:
        self._moving = asyncio.create_task(self._move(how, reason))

    async def _move(self, how: str, reason: str) -> None:
        """Move, and say where that has led; a fault of the execution's own is told, and ends the session."""
        if self._debuggee is None:
            return
        debuggee, session = self._debuggee, self._debuggee.session
        before = session.position
        try:
            found = await (debuggee.go_on() if how == GO_ON else debuggee.move(how))
        except SagadError as error:
            self._moving = None
            self._event("output", {"category": "stderr", "output": f"{error}\n"})
            self._event("terminated")
            return
        hit = session.hit(session.position) if found else None
        if found and (held := held_by(session.here)):
            reason = held
        elif hit is not None and how in ("continue", "reverse"):
            reason = "exception" if hit.errors else "breakpoint"
        self._moving = None
        for number in range(before + 1, session.position + 1):
            for text in session.logged(number):
                self._event("output", {"category": "console", "output": f"{text}\n"})
        if found:
            self._stopped(reason)
            return
        unrecorded = debuggee.failure() is not session.here.error
        self._stopped("exception" if unrecorded else "step", debuggee.note or "there is nothing more this way")

    async def _halt(self) -> None:
        moving, self._moving = self._moving, None
        if moving is not None:
            moving.cancel()
            with suppress(asyncio.CancelledError):
                await moving

    def _stopped(self, reason: str, more: str = "") -> None:
        showing = self._shown_by()
        moment = showing.stop()
        line = f"{moment.at:%H:%M:%S} version {moment.version}: {said(moment)}"
        self._event("output", {"category": "console", "output": f"{line}{f' ({more})' if more else ''}\n"})
        described = {"reason": reason, "description": said(moment), "threadId": THREAD, "allThreadsStopped": True}
        self._event("stopped", described)

    def _event(self, name: str, body: Mapping[str, Any] | None = None) -> None:
        self._send({"type": "event", "event": name, "body": body or {}})

    def _send(self, message: dict[str, Any]) -> None:
        self._number += 1
        write_message(self._writer, {"seq": self._number, **message})


def held_by(moment: Moment) -> str:
    """Return why an editor is told that the execution stands at a moment; empty where it does not stand."""
    if not isinstance(moment.event, BreakpointHit):
        return ""
    if moment.event.error is not None:
        return "exception"
    return "step" if moment.event.breakpoint is None else "breakpoint"
