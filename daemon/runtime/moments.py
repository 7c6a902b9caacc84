"""A point in the life of an execution, as people name it: a version, a time, a checkpoint, or now.

Comes from: daemon/api, daemon/cli. Goes to: `history`, `checkpoints`.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

from daemon.core.errors import UnknownName
from daemon.runtime.comparing import Side

if TYPE_CHECKING:
    from datetime import datetime
    from uuid import UUID

    from daemon.core.state import State
    from daemon.runtime.checkpoints import Checkpoints
    from daemon.runtime.history import History


class Moment(NamedTuple):
    """With nothing given it is now; with several, whichever came first."""

    version: int | None = None
    at: datetime | None = None
    checkpoint: str | None = None


async def state_at(history: History, checkpoints: Checkpoints, execution_id: UUID, moment: Moment) -> State:
    """Return the state then. Raises ExecutionNotFound; UnknownName for the checkpoint or version."""
    version, at, checkpoint = moment
    if checkpoint is not None:
        named = await checkpoints.version_of(execution_id, checkpoint)
        version = named if version is None else min(version, named)
    state = await history.state_at(execution_id, version=version, at=at)
    if version is not None and at is None and state.version < version:
        raise UnknownName(f"execution {execution_id} has {state.version} events, and no version {version}")
    return state


async def side_at(
    history: History, checkpoints: Checkpoints, execution_id: UUID, moment: Moment, *, events: bool
) -> Side:
    """Return one side of a comparison, with its events where durations are wanted. Raises as `state_at` does."""
    state = await state_at(history, checkpoints, execution_id, moment)
    read = await history.events(execution_id, up_to_version=state.version) if events else ()
    return Side(execution_id, state, read)
