"""What a debugger moves in: a recorded execution, one that is carried out under its hands, one of a daemon's.

Comes from: `adapter`, `prompt`, `screen`. Goes to: `session`, `local`, `live`.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from daemon.core.errors import Rejected
from daemon.debugger.looking import step_at
from daemon.debugger.session import BACKWARDS

if TYPE_CHECKING:
    from collections.abc import Sequence

    from daemon.core.step_error import StepError
    from daemon.debugger.breakpoints import Breakpoint
    from daemon.debugger.session import Session
    from daemon.debugger.values import Place

ONLY_LOOKED_AT = (
    "the execution is recorded: it is only looked at, and nothing in it can be changed; "
    "fork it with edits, or attach to one that goes on"
)


class Debuggee:
    """An execution with a session over what was decided so far; as it is here, one of which no more comes."""

    session: Session
    """Where the debugger is in it."""
    note: str = ""
    """Why the last move has found nothing more; empty for no other reason than that there is none."""
    live: bool = False
    """Whether it goes on by itself, in a daemon."""
    changes: bool = False
    """Whether it can be told what to go on with: steps are skipped and tried again, values are set."""

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

    # What an execution that is not only looked at can be told. Each raises Rejected for what cannot be done now.

    def refusal(self) -> str:
        """Return why nothing can be changed where the session is; empty when it can."""
        return ONLY_LOOKED_AT

    def settable(self, place: Place) -> bool:  # noqa: ARG002  for those that can be changed
        """Tell whether `put` takes this place."""
        return False

    async def put(self, place: Place, value: Any) -> None:  # noqa: ARG002
        """Put a value in place of what is there: in `vars`, or in the `input` of the `step` that is held."""
        raise Rejected(ONLY_LOOKED_AT)

    async def skip(self, output: Any, port: str = "out") -> None:  # noqa: ARG002
        """Give the step that is held this output, without its handler; `go_on` leads to what comes of it."""
        raise Rejected(ONLY_LOOKED_AT)

    async def answer(self, output: Any) -> None:  # noqa: ARG002
        """Have this recorded in place of what the step that is held has given, or has failed with; then `go_on`."""
        raise Rejected(ONLY_LOOKED_AT)

    async def retry(self) -> None:
        """Try the step that is held again; then `go_on`."""
        raise Rejected(ONLY_LOOKED_AT)

    async def go_on(self) -> bool:
        """Move to where the execution is now; as `move`."""
        raise Rejected(ONLY_LOOKED_AT)

    # What is seen beside what was decided.

    def step(self) -> dict[str, Any]:
        """Return the step that the session is at, as `looking.step_at` does, with what is not recorded yet."""
        return step_at(self.session.here)

    def failure(self) -> StepError | None:
        """Return what has failed where the session is."""
        return self.session.here.error


class Recorded(Debuggee):
    """An execution that is only looked at: all that there is was decided."""

    def __init__(self, session: Session) -> None:
        self.session = session
