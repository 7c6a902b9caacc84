"""The debugger on a terminal, of an execution that goes on in a daemon.

Comes from: daemon/cli/debugging. Goes to: `prompt`, `live`.
"""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

from daemon.core.errors import SagadError
from daemon.debugger.live import WAIT, Live
from daemon.debugger.prompt import HELP, MOVES, Prompt

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

    from rich.console import Console

    from daemon.debugger.debuggee import Debuggee

LIVE_HELP = """\
wait                until it stands at a breakpoint, without letting it go on
pause               have it stop before its next step
skip [JSON] [by PORT]
                    give the step that it stands at this output, without its handler
retry               try the step again that has failed
set NAME JSON       change a variable of the execution
input JSON          have the step's handler sent this
signal NAME [JSON]  give the execution a signal
detach              take all breakpoints away, let it go on, and end
quit                end; the execution stays where it stands"""


class LivePrompt(Prompt):
    """Reads commands and shows what they give."""

    def __init__(self, debuggee: Debuggee, read: Callable[[], Awaitable[str | None]], console: Console) -> None:
        super().__init__(debuggee, read, console)
        if not isinstance(debuggee, Live):
            raise TypeError("this one does not go on")
        live = self._live = debuggee
        self._commands |= {
            "wait": lambda _: self._go(live.move(WAIT)),
            "pause": self._pause,
            "skip": self._skip,
            "retry": self._retry,
            "set": self._set,
            "input": self._input,
            "signal": self._signal,
            "detach": self._detach,
            "help": lambda _: self._say(f"{HELP.rpartition(chr(10))[0]}\n{LIVE_HELP}"),
        }

    async def do(self, name: str, rest: str) -> None:
        """Carry out one command."""
        try:
            if name in MOVES:
                await self._move(MOVES[name])
            else:
                await super().do(name, rest)
        except (SagadError, ValueError) as error:
            self._say(str(error))

    async def run(self) -> None:
        """Serve until `quit`, `detach`, or the end of the input."""
        if self._live.stop is not None:
            await self._live.move(WAIT)
        await super().run()
        if self._live.stop is not None:
            self._say("It stays where it stands; `sagad debug --live` comes back to it.")

    async def _pause(self, _: str) -> None:
        await self._live.stop_next()
        await self._go(self._live.move(WAIT))

    async def _skip(self, rest: str) -> None:
        text, by, port = rest.rpartition(" by ")
        if not by or not port.isidentifier():
            text, port = rest, "out"
        await self._live.skip(_json(text or "null"), port)
        await self._go(self._live.go_on())

    async def _retry(self, _: str) -> None:
        await self._live.retry()
        await self._go(self._live.go_on())

    async def _set(self, rest: str) -> None:
        name, _, value = rest.partition(" ")
        await self._live.edit(variables={name: _json(value)})
        self._stand()

    async def _input(self, rest: str) -> None:
        await self._live.edit(input=_json(rest))
        self._stand()

    async def _signal(self, rest: str) -> None:
        name, _, value = rest.partition(" ")
        await self._live.signal(name, _json(value or "null"))

    async def _detach(self, _: str) -> None:
        await self._live.detach()
        self.over = True


def _json(text: str) -> Any:
    try:
        return json.loads(text)
    except ValueError as error:
        raise ValueError(f"That is not JSON: {error}") from None
