"""An execution of a daemon under the debugger: its breakpoints are events, and so is how it goes on.

What has been decided is looked at as any recording is, and forwards from its newest moment the execution itself goes
on. Who debugs may leave: it stays where it stands.

Comes from: daemon/cli/debugging. Goes to: `remote`.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any
from urllib.parse import quote

from daemon.core.events import BreakpointHit, ExecutionMigrated, ExecutionRewound
from daemon.core.evolve_breaks import MOVES
from daemon.core.redeciding import redecide
from daemon.core.state import Finished, Running, cause
from daemon.debugger.debuggee import Debuggee
from daemon.debugger.moments import Taken
from daemon.debugger.session import BACKWARDS, Breakpoint, Session

if TYPE_CHECKING:
    from collections.abc import Sequence
    from uuid import UUID

    from daemon.core.state_breaks import Stop
    from daemon.debugger.remote import Remote

OUTSIDE = frozenset({"signal", "person", "pause"})
"""Causes that nothing but somebody outside ends."""
WAIT = "wait"
"""A move to where it stands, without letting it go on."""


class Live(Debuggee):
    """The execution. Its methods raise what those of `Remote` raise."""

    live = True

    def __init__(self, remote: Remote, execution_id: UUID) -> None:
        self.session = Session()
        self.note = ""
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

    async def skip(self, output: Any, port: str = "out") -> bool:
        """Give the step that it stands at this output; then as `move`."""
        await self._leave("skip", output=output, port=port)
        return await self._stands()

    async def retry(self) -> bool:
        """Try the step again that has failed; then as `move`."""
        await self._leave("retry")
        return await self._stands()

    async def edit(self, **changes: Any) -> None:
        """Change `variables`, or the `input` of the step that it stands at."""
        await self._remote.post(f"/executions/{self._id}/debug/edit", changes)
        await self._read()
        self.session.position = len(self.session.moments) - 1

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
        points = [{"node": each.node, "condition": each.condition, "errors": bool(each.errors)} for each in breakpoints]
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
            self.session.taken, self.session.moments = [], []
            self._take(await self._remote.taken(self._id))
            return
        plan = self.session.taken[-1].plan
        self._take([Taken(plan, decision) for decision in redecide(plan, events, self._state)])

    def _take(self, taken: Sequence[Taken]) -> None:
        self.session.extend(taken)
        self._state = self.session.taken[-1].decision.after
