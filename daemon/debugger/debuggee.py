"""What a debugger moves in: a recorded execution, one that is carried out under its hands, one of a daemon's.

Comes from: `adapter`, `prompt`, `screen`. Goes to: `session`, `local`, `live`.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from daemon.debugger.session import BACKWARDS

if TYPE_CHECKING:
    from collections.abc import Sequence

    from daemon.debugger.session import Breakpoint, Session


class Debuggee:
    """An execution with a session over what was decided so far; as it is here, one of which no more comes."""

    session: Session
    """Where the debugger is in it."""
    note: str = ""
    """Why the last move has found nothing more; empty for no other reason than that there is none."""
    live: bool = False
    """Whether it goes on by itself, in a daemon."""

    async def more(self, how: str) -> bool:  # noqa: ARG002  for those of which more comes
        """Have the execution go on; return when something was decided, False when it is at a stop of its own."""
        return False

    async def break_at(self, breakpoints: Sequence[Breakpoint]) -> None:
        """Have these breakpoints in place of those that there were. Raises Rejected, for one of a daemon's."""
        self.session.breakpoints = tuple(breakpoints)

    async def stop_next(self) -> bool:
        """Have it stop before the next step that begins; False for one that does not go on by itself."""
        return False

    async def move(self, how: str) -> bool:
        """Move (see `session`), letting the execution go on as far as it has to; False at the end of what there is."""
        session = self.session
        origin, looked_at = session.here, session.position
        while (found := session.find(how, origin, looked_at)) is None:
            looked_at = max(looked_at, len(session.moments) - 1)
            if how in BACKWARDS or not await self.more(how):
                session.position = 0 if how in BACKWARDS else len(session.moments) - 1
                return False
        session.position = found
        return True


class Recorded(Debuggee):
    """An execution that is only looked at: all that there is was decided."""

    def __init__(self, session: Session) -> None:
        self.session = session
