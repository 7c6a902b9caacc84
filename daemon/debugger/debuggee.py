"""What a debugger moves in: a recorded execution, or one that is carried out under its hands.

Comes from: `adapter`, `prompt`. Goes to: `session`, `local`.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Protocol

from daemon.debugger.session import BACKWARDS

if TYPE_CHECKING:
    from daemon.debugger.session import Session


class Debuggee(Protocol):
    """An execution with a session over what was decided so far."""

    @property
    def session(self) -> Session:
        """Where the debugger is in it."""

    @property
    def note(self) -> str:
        """Why the last move has found nothing more; empty for no other reason than that there is none."""

    async def more(self, how: str) -> bool:
        """Have the execution go on; return when something was decided, False when it is at a stop of its own."""


class Recorded:
    """An execution that is only looked at: all that there is was decided."""

    note = ""

    def __init__(self, session: Session) -> None:
        self.session = session

    async def more(self, how: str) -> bool:  # noqa: ARG002  the protocol's signature
        """Tell that nothing comes."""
        return False


async def move(debuggee: Debuggee, how: str) -> bool:
    """Move (see `session`), letting the execution go on as far as it has to; False at the end of what there is."""
    session = debuggee.session
    origin, looked_at = session.here, session.position
    while (found := session.find(how, origin, looked_at)) is None:
        looked_at = max(looked_at, len(session.moments) - 1)
        if how in BACKWARDS or not await debuggee.more(how):
            session.position = 0 if how in BACKWARDS else len(session.moments) - 1
            return False
    session.position = found
    return True
