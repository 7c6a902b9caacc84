"""An execution of a daemon under the debugger: its breakpoints are events, and so is how it goes on.

What has been decided is looked at as any recording is, and forwards from its newest moment the execution itself goes
on. Who debugs may leave: it stays where it stands.

Comes from: daemon/cli/debugging. Goes to: `remote`.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any
from urllib.parse import quote

from daemon.core.errors import Rejected
from daemon.core.events import BreakpointHit, ExecutionMigrated, ExecutionRewound
from daemon.core.evolve_breaks import MOVES
from daemon.core.state import INITIAL, Finished, Running, cause
from daemon.core.values import from_json
from daemon.debugger.breakpoints import Breakpoint
from daemon.debugger.debuggee import Debuggee
from daemon.debugger.looking import to_be_sent
from daemon.debugger.recording import following
from daemon.debugger.session import BACKWARDS, Session
from daemon.debugger.values import INPUT, VARIABLES, expression_of, replaced

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence
    from uuid import UUID

    from daemon.core.state import State
    from daemon.core.state_breaks import Stop
    from daemon.debugger.moments import Taken
    from daemon.debugger.remote import Remote
    from daemon.debugger.values import Place

OUTSIDE = frozenset({"signal", "person", "pause"})
"""Causes that nothing but somebody outside ends."""
WAIT = "wait"
"""A move to where it stands, without letting it go on."""


class Live(Debuggee):
    """The execution. Its methods raise what those of `Remote` raise."""

    live = True
    changes = True

    def __init__(self, remote: Remote, execution_id: UUID) -> None:
        self.session = Session()
        self.note = ""
        self._state: State = INITIAL
        self._remote = remote
        self._id = execution_id

    async def open(self) -> None:
        """Read all that was decided so far, and stand at its end."""
        self._take(await self._remote.taken(self._id))
        self.session.position = len(self.session.moments) - 1
        stop = self._state.breaking if isinstance(self._state, Running) else None
        points = () if stop is None else stop.breakpoints
        self.session.breakpoints = tuple(
            Breakpoint(node=each.node, condition=each.condition, errors="failed" if each.errors else "")
            for each in points
        )

    @property
    def stop(self) -> Stop | None:
        """Where it stands."""
        return self._state.stop if isinstance(self._state, Running) else None

    async def break_at(self, breakpoints: Sequence[Breakpoint]) -> None:
        """Have these and no others."""
        await self._break(breakpoints)
        self.session.breakpoints = tuple(breakpoints)

    async def stop_next(self) -> bool:
        """Have it stop before the next step, whichever that is."""
        await self._break(self.session.breakpoints, stop_next=True)
        return True

    async def move(self, how: str) -> bool:
        """Move in what was decided; from its end on, have the execution go on, and wait until it stands or has ended.

        False where it does not come to that: `note` tells why. One that does not stand is stopped before its next step,
        where a move is to end there.
        """
        self.note, session = "", self.session
        if how in BACKWARDS or not (session.newest or how == WAIT):
            found = session.find(how, session.here, session.position)
            session.position = (0 if how in BACKWARDS else len(session.moments) - 1) if found is None else found
            return found is not None or how not in BACKWARDS
        if how != WAIT and self.stop is not None:  # the one that was seen: another may have come since
            await self._leave(how)
        elif how in MOVES:
            await self._read()
            if self.stop is None and isinstance(self._state, Running):
                await self.stop_next()
        return await self._stands()

    def refusal(self) -> str:
        """See `Debuggee`."""
        stop, here = self.stop, self.session.here
        if isinstance(self._state, Finished):
            return f"the execution has ended: {self._state.status}"
        if stop is None:
            return "the execution does not stand at a breakpoint"
        if here.address != stop.address or here.version < stop.version:
            return f"this is the past; go forwards to {stop.address}, where the execution stands"
        return ""

    def settable(self, place: Place) -> bool:
        """See `Debuggee`. What a step is to be sent can be put as a whole only where it has secrets."""
        if self.refusal():
            return False
        if place[:2] != INPUT:
            return place[0] == VARIABLES and len(place) > 1
        sent = to_be_sent(self.session.here, self.session.outputs())
        return sent is not None and (place == INPUT or not sent.secrets)

    async def put(self, place: Place, value: Any) -> None:
        """See `Debuggee`. It is an event of the execution."""
        if problem := self.refusal():
            raise Rejected(problem)
        if not self.settable(place):
            raise Rejected(f"{expression_of(place)} cannot be set; a variable of the execution can, and step.input")
        if place[:2] == INPUT:
            await self.edit(input=replaced(self.step().get("input"), place[2:], value))
        else:
            name = str(place[1])
            variables = self.session.here.context.variables
            old = from_json(variables[name]) if name in variables else None
            await self.edit(variables={name: replaced(old, place[2:], value)})

    async def skip(self, output: Any, port: str = "out") -> None:
        """See `Debuggee`; of the step that it stands at."""
        await self._leave("skip", output=output, port=port)

    async def answer(self, output: Any) -> None:
        """See `Debuggee`; of a step that has failed."""
        if self.session.here.error is None:
            raise Rejected("the step that the execution stands at has not failed; skip it, and its handler is not sent")
        await self.skip(output)

    async def retry(self) -> None:
        """See `Debuggee`; of a step that has failed."""
        await self._leave("retry")

    async def go_on(self) -> bool:
        """See `Debuggee`."""
        self.note = ""
        return await self._stands()

    def step(self) -> dict[str, Any]:
        """See `Debuggee`: with what a step is to be sent that has not begun."""
        shown = super().step()
        sent = to_be_sent(self.session.here, self.session.outputs())
        return shown if sent is None else {**shown, "input": sent.input}

    async def edit(self, **changes: Any) -> None:
        """Change `variables`, or the `input` of the step that it stands at."""
        await self._remote.post(f"/executions/{self._id}/debug/edit", changes)
        await self._read()
        self.session.position = len(self.session.moments) - 1
        if self.stop is not None:
            self._to_the_stop(self.stop)

    async def signal(self, name: str, value: Any) -> None:
        """Give it a signal."""
        await self._remote.post(f"/executions/{self._id}/signals/{quote(name, safe='')}", value)

    async def detach(self) -> None:
        """Take all breakpoints away, and let it go on."""
        await self._read()
        if isinstance(self._state, Finished):
            return
        await self.break_at(())
        while self.stop is not None:
            await self._leave("continue")
            await self._read()

    async def _break(self, breakpoints: Sequence[Breakpoint], *, stop_next: bool = False) -> None:
        points = [
            {"node": each.node, "condition": each.condition, "errors": bool(each.errors)}
            for each in breakpoints
            if not each.log  # that is said here, of what was decided
        ]
        await self._remote.put(f"/executions/{self._id}/breakpoints", {"breakpoints": points, "next": stop_next})

    async def _leave(self, how: str, **more: Any) -> None:
        stop = None if self.stop is None else self.stop.version
        await self._remote.post(f"/executions/{self._id}/debug/{how}", {"stop": stop, **more})

    async def _stands(self) -> bool:
        """Return when it stands, or has ended; False when only somebody outside can change that."""
        while True:
            await self._read()
            self.session.position = len(self.session.moments) - 1
            if isinstance(self._state, Finished):
                self.note = f"the execution has ended: {self._state.status}"
                return False
            if self.stop is not None:
                self._to_the_stop(self.stop)
                return True
            if (kind := cause(self._state)) in OUTSIDE:
                self.note = f"the execution waits for a {kind}"
                return False
            await self._remote.wait(self._id, self._state.version)

    def _to_the_stop(self, stop: Stop) -> None:
        """Stand at the moment of the stop, where others were decided after it."""
        numbers = range(len(self.session.moments) - 1, -1, -1)
        moments = self.session.moments
        of_stop = (
            each
            for each in numbers
            if moments[each].version >= stop.version
            and (moments[each].what == "is edited" or isinstance(moments[each].event, BreakpointHit))
            and moments[each].address == stop.address
        )
        self.session.position = next(of_stop, len(moments) - 1)

    async def _read(self) -> None:
        """Take over what was decided since."""
        events = await self._remote.events(self._id, after=self._state.version)
        if any(isinstance(each, ExecutionRewound | ExecutionMigrated) for each in events):
            self.session.clear()
            self._take(await self._remote.taken(self._id))
            return
        if self.session.last is not None:
            self._take(following(self.session.last, events))

    def _take(self, taken: Iterable[Taken]) -> None:
        self.session.extend(taken)
        if self.session.last is not None:
            self._state = self.session.last.after
