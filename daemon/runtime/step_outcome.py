"""What becomes of one step, followed event by event: for those who wait for its end.

Comes from: `history`. Goes to: `stream_readers`.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from msgspec import Struct

from daemon.core import events as e
from daemon.core.address import UNDO, stands_in
from daemon.core.state import Finished, NotStarted, Settled
from daemon.core.values import NULL, Json

if TYPE_CHECKING:
    from collections.abc import Mapping

    from daemon.runtime.history import History
    from eventstore.streams import StreamId

_STATUSES: Mapping[type[e.Event], str] = {
    e.StepSucceeded: "succeeded",
    e.StepCached: "succeeded",
    e.StepFailed: "failed",
    e.StepSkipped: "skipped",
}


class Outcome(Struct, frozen=True):
    """How a step ended."""

    status: str
    """`succeeded` | `failed` | `skipped` | `abandoned`."""
    output: Json = NULL
    error: e.StepError | None = None
    streamed: e.Streamed | None = None


class StepOutcome:
    """Follows one step; `outcome` is None until it is settled."""

    def __init__(self, history: History, step: StreamId) -> None:
        self.outcome: Outcome | None = None
        self.definition = ""
        """Hash of the definition that its execution is pinned to; empty before the start."""
        self._history = history
        self._step = step
        self._version: int | None = None

    async def look(self) -> None:
        """Read what the log has got since the last look. Raises ExecutionNotFound at the first."""
        if self.outcome is not None:
            return
        if self._version is None:
            self._version = await self._first_look()
        found = await self._history.events(self._step.execution_id, after_version=self._version)
        for recorded in found:
            self._version = recorded.version
            self.outcome = self.outcome or _outcome(recorded.event, self._step.address)

    async def _first_look(self) -> int:
        """Return the version to read on from: the newest, when nothing before it can have settled the step."""
        state = await self._history.existing(self._step.execution_id)
        if isinstance(state, NotStarted):
            return state.version
        self.definition = state.definition
        step = state.steps.get(self._step.address)
        in_turn = "." in self._step.address  # those of a turn that has ended have left the state
        if isinstance(step, Settled) or isinstance(state, Finished) or (step is None and in_turn):
            return 0
        return state.version


def _outcome(event: e.Event, address: str) -> Outcome | None:
    """Return how the event settles the step, if it does."""
    match event:
        case e.StepFailed(retry_at=retry_at) if event.address == address:
            return Outcome("failed", event.output, event.error) if retry_at is None else None
        case e.StepSucceeded() | e.StepCached() | e.StepSkipped() if event.address == address:
            streamed = event.streamed if isinstance(event, e.StepSucceeded) else None
            output: Any = NULL if isinstance(event, e.StepSkipped) else event.output
            return Outcome(_STATUSES[type(event)], output, streamed=streamed)
        case e.TurnFailed() | e.TurnAbandoned() if stands_in(address, event.address):
            return Outcome("abandoned")
        case e.UndoPlanned() if stands_in(address, event.scope) and address not in event.draining:
            return None if address.endswith(UNDO) else Outcome("abandoned")
        case e.ExecutionCompleted() | e.ExecutionFailed() | e.ExecutionCancelled():
            return Outcome("abandoned")
        case _:
            return None
