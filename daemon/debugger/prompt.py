"""The debugger on a terminal: one line is one command.

Comes from: daemon/cli/debugging. Goes to: `debuggee`, `looking`.
"""

from __future__ import annotations

import asyncio
import json
from inspect import isawaitable
from typing import TYPE_CHECKING, Any

from daemon.core.errors import SagadError
from daemon.core.evaluation import EvaluationError, ExpressionError
from daemon.core.expressions import compile_expression
from daemon.debugger.breakpoints import Breakpoint
from daemon.debugger.local import Local
from daemon.debugger.looking import evaluate, frames, said, seen
from daemon.debugger.values import INPUT, VARIABLES

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Coroutine

    from rich.console import Console

    from daemon.debugger.debuggee import Debuggee

MOVES = {
    "next": "over",
    "n": "over",
    "step": "into",
    "s": "into",
    "out": "out",
    "o": "out",
    "back": "back",
    "b": "back",
    "continue": "continue",
    "c": "continue",
    "reverse": "reverse",
    "r": "reverse",
}
LOCAL = frozenset({"skip", "edit", "retry", "set", "input", "signal"})
HELP = """\
next, step, out     to the next step; into loops and fan-outs; out of them
back                to the step before
continue, reverse   to the next breakpoint, or the one before
break NODE [if EXPRESSION] | break if EXPRESSION | break error
                    stop at a node or a step's address, where a condition becomes true, where something fails
breaks, clear       list the breakpoints; take them away
where               the loops and fan-outs around the step
show [ROOT]         the step; or what templates see: input, vars, steps, loop, trigger, execution
eval EXPRESSION     its value here
list                all moments
goto NUMBER         to one of them
quit                end"""
LOCAL_HELP = """\
skip JSON           give the next step this answer, without its handler
edit JSON           record this in place of what a step has answered
retry               run its handler again, in place of recording its answer
set NAME JSON       change a variable of the execution
input JSON          have the handler of the step that is held sent this
signal NAME [JSON]  give the execution a signal"""


class Prompt:
    """Reads commands and shows what they give. `read` gives a line, None at the end."""

    def __init__(self, debuggee: Debuggee, read: Callable[[], Awaitable[str | None]], console: Console) -> None:
        self._debuggee = debuggee
        self._session = debuggee.session
        self._read = read
        self._console = console
        self._commands: dict[str, Callable[[str], Any]] = {
            "break": self._break,
            "breaks": self._breaks,
            "clear": self._clear,
            "where": self._where,
            "show": self._show,
            "eval": self._eval,
            "list": self._list,
            "goto": self._goto,
            "help": lambda _: self._say(HELP if self._local is None else f"{HELP}\n{LOCAL_HELP}"),
        }
        self._local = debuggee if isinstance(debuggee, Local) else None
        self._moving: asyncio.Future[bool] | None = None
        self.over = False
        """Whether a command has ended it."""

    async def run(self) -> None:
        """Serve until `quit` or the end of the input."""
        self._stand()
        while not self.over and (line := await self._read()) is not None:
            name, _, rest = line.strip().partition(" ")
            if name in ("quit", "q"):
                return
            if name:
                await self.do(name, rest.strip())

    def interrupt(self) -> bool:
        """Come back from a move that waits; tell whether there was one."""
        return self._moving is not None and self._moving.cancel()

    async def do(self, name: str, rest: str) -> None:
        """Carry out one command."""
        if name in MOVES:
            await self._move(MOVES[name])
        elif self._local is not None and name in LOCAL:
            await self._act(self._local, name, rest)
        elif name in self._commands:
            try:
                done = self._commands[name](rest)
                if isawaitable(done):
                    await done
            except (ExpressionError, SagadError) as error:
                self._say(str(error))
        else:
            self._say(f"There is no command {name!r}; `help` lists them.")

    async def _move(self, how: str) -> None:
        await self._go(self._debuggee.move(how))

    async def _go(self, moving: Coroutine[Any, Any, bool]) -> None:
        """Wait for a move, and tell where it has led."""
        self._moving = asyncio.ensure_future(moving)
        try:
            found = await self._moving
        except asyncio.CancelledError:
            task = asyncio.current_task()
            if task is not None and task.cancelling():
                raise
            self._say("Interrupted. What is at work goes on; `next` waits for it again.")
            return
        finally:
            self._moving = None
        self._stand()
        if not found:
            self._say(self._debuggee.note or "There is nothing more this way.")

    async def _act(self, local: Local, name: str, rest: str) -> None:
        """Do what only an execution under way can be told; then go on to what comes of it."""
        first, _, data = rest.partition(" ")
        try:
            value = json.loads((data if name in ("signal", "set") else rest).strip() or "null")
        except ValueError as error:
            self._say(f"That is not JSON: {error}")
            return
        try:
            if await self._told(local, name, first, value):
                await self._go(local.go_on())
            else:
                self._stand()
        except SagadError as error:
            self._say(str(error))

    async def _told(self, local: Local, name: str, first: str, value: Any) -> bool:
        """Tell the execution; return whether it goes on then."""
        match name:
            case "skip":
                await local.skip(value)
            case "edit":
                await local.answer(value)
            case "retry":
                await local.retry()
            case "signal":
                await local.signal(first, value)
                await local.read()
                self._session.move("into")
            case _:
                await local.put((VARIABLES, first) if name == "set" else INPUT, value)
        return name in ("skip", "edit", "retry")

    def _stand(self) -> None:
        moment = self._session.here
        number = f"{self._session.position + 1}/{len(self._session.moments)}"
        self._say(f"{number} {moment.at:%H:%M:%S} version {moment.version}: {said(moment)}")

    async def _break(self, rest: str) -> None:
        where, _, condition = f" {rest} ".partition(" if ")
        where, condition = where.strip(), condition.strip()
        if not where and not condition:
            self._say("Write: break NODE, break NODE if EXPRESSION, break if EXPRESSION, break error")
            return
        if condition:
            compile_expression(condition)
        errors = "attempt" if where == "error" else ""
        added = Breakpoint(node="" if errors else where, condition=condition, errors=errors)
        if added.node and added.node.rpartition(".")[2].partition("[")[0] not in self._session.here.plan.nodes:
            self._say(f"There is no node {added.node!r}.")
            return
        await self._debuggee.break_at((*self._session.breakpoints, added))
        self._breaks()

    def _breaks(self, _: str = "") -> None:
        for each in self._session.breakpoints:
            where = each.node or ("error" if each.errors else "")
            self._say(f"break {where}{f' if {each.condition}' if each.condition else ''}".replace("  ", " "))
        if not self._session.breakpoints:
            self._say("There are no breakpoints.")

    async def _clear(self, _: str) -> None:
        await self._debuggee.break_at(())

    def _where(self, _: str) -> None:
        for frame in frames(self._session.here):
            self._say(frame.name)

    def _show(self, rest: str) -> None:
        moment = self._session.here
        if not rest:
            self._value(self._debuggee.step())
            return
        try:
            known = seen(moment, self._session.outputs())
        except EvaluationError as error:
            self._say(str(error))
            return
        if rest in known:
            self._value(known[rest])
        else:
            self._say(f"There is no {rest!r} here; there are: {', '.join(known)}.")

    def _eval(self, rest: str) -> None:
        self._value(evaluate(rest, self._session.here, self._session.outputs()))

    def _list(self, _: str) -> None:
        for number, moment in enumerate(self._session.moments):
            mark = "->" if number == self._session.position else "  "
            self._say(f"{mark} {number + 1:>4} {moment.at:%H:%M:%S} {said(moment)}")

    def _goto(self, rest: str) -> None:
        if not rest.isdecimal() or not 0 < int(rest) <= len(self._session.moments):
            self._say(f"Write a number from 1 to {len(self._session.moments)}.")
            return
        self._session.position = int(rest) - 1
        self._stand()

    def _value(self, value: Any) -> None:
        self._say(json.dumps(value, indent=2, ensure_ascii=False))

    def _say(self, text: str) -> None:
        self._console.print(text, markup=False, soft_wrap=True)
