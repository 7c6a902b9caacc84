"""Executions as the log tells them: the one way to get from an id to a state.

Comes from: `engine`, the API, the CLI. Goes to: `loads`, eventstore/log, eventstore/snapshots, daemon/core/evolve.
"""

from __future__ import annotations

from itertools import takewhile
from typing import TYPE_CHECKING

import msgspec

from daemon.core.errors import ExecutionDeleted, ExecutionNotFound
from daemon.core.events import ExecutionForked, ExecutionRewound
from daemon.core.evolve import evolve, fold
from daemon.core.evolve_branches import rewound
from daemon.core.snapshot import FORMAT, decode_state
from daemon.core.state import INITIAL, NotStarted, State
from daemon.runtime.loads import Loads
from eventstore.errors import Undecodable

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence
    from datetime import datetime
    from uuid import UUID

    from eventstore.deletions import Deleted, Deletions
    from eventstore.log import EventLog, Recorded
    from eventstore.snapshots import Snapshots

FIRST_PAGE = 500
"""Events that are read at first on the way to a time; each further page is twice as long."""


class History:
    """Reads executions; folds them, from the newest snapshot on where there is one."""

    def __init__(self, log: EventLog, snapshots: Snapshots, deletions: Deletions | None = None) -> None:
        """With `deletions` it tells executions that were deleted from those that never were."""
        self._log = log
        self._snapshots = snapshots
        self._deletions = deletions
        self._loads = Loads(log)

    async def load(self, execution_id: UUID, *, up_to_version: int | None = None) -> State:
        """Return the state at its newest or the given version; `INITIAL` when the log knows no such execution.

        Many that are loaded at once are read together. Raises Undecodable when its events cannot be read or do not fit
        together.
        """
        if up_to_version is None and (whole := await self._loads.events(execution_id)) is not None:
            return await self._folded(execution_id, whole, INITIAL)
        state = await self._snapshot(execution_id, up_to_version)
        tail = await self._log.read(execution_id, after_version=state.version, up_to_version=up_to_version)
        return await self._folded(execution_id, tail, state)

    async def after(self, before: State, recorded: Recorded) -> State:
        """Return the state after one more event, also when the execution goes on from a past by it.

        Raises Undecodable when the event does not fit.
        """
        event = recorded.event
        if isinstance(event, ExecutionForked | ExecutionRewound):
            return await self.load(recorded.execution_id, up_to_version=recorded.version)
        return _fold(recorded.execution_id, [recorded], before)

    async def existing(self, execution_id: UUID) -> State:
        """Return the newest state of an execution that has events; raise ExecutionNotFound for one that has none."""
        state = await self.load(execution_id)
        if not state.version:
            raise await self.missing(execution_id)
        return state

    async def missing(self, execution_id: UUID) -> ExecutionNotFound:
        """Return the error that says why there are no events: ExecutionDeleted for one that was deleted."""
        known = None if self._deletions is None else await self._deletions.deleted(execution_id)
        return ExecutionNotFound(execution_id) if known is None else gone(known)

    async def load_undeleted(self, execution_id: UUID) -> State:
        """Load, and raise ExecutionDeleted for one that has no events because it was deleted."""
        state = await self.load(execution_id)
        if not state.version and isinstance(error := await self.missing(execution_id), ExecutionDeleted):
            raise error
        return state

    async def events(
        self, execution_id: UUID, *, after_version: int = 0, up_to_version: int | None = None
    ) -> Sequence[Recorded]:
        """Return its events in order, as they are in its log."""
        return await self._log.read(execution_id, after_version=after_version, up_to_version=up_to_version)

    async def timeline(self, execution_id: UUID, *, up_to_version: int | None = None) -> Sequence[Recorded]:
        """Return the events that led to the state: of a fork those of its source too, and none that was rewound.

        Each is as its own execution has recorded it, with the version that it has there.
        """
        own = await self._log.read(execution_id, up_to_version=up_to_version)
        before: Sequence[Recorded] = ()
        if own and isinstance(forked := own[0].event, ExecutionForked):
            before = await self.timeline(forked.source, up_to_version=forked.at_version)
        return [*before, *_counting(own)]

    async def state_at(self, execution_id: UUID, *, version: int | None = None, at: datetime | None = None) -> State:
        """Return the state at a version, or at a moment: after the last event recorded at or before `at`.

        Raises ExecutionNotFound when it had no event by then.
        """
        if at is None:
            state = await self.load(execution_id, up_to_version=version)
        else:
            state = await self._until(execution_id, at, version)
        if not state.version:
            raise await self.missing(execution_id)
        return state

    async def _until(self, execution_id: UUID, at: datetime, up_to_version: int | None) -> State:
        """Fold on from the newest snapshot without an event after `at`, to the first event that is later."""
        state, size = await self._snapshot(execution_id, up_to_version, covers_to=at), FIRST_PAGE
        while True:
            after, last = state.version, state.version + size
            last = last if up_to_version is None else min(last, up_to_version)
            page = await self._log.read(execution_id, after_version=after, up_to_version=last)
            by_then = list(takewhile(lambda recorded: recorded.event.at <= at, page))
            state = await self._folded(execution_id, by_then, state)
            if state.version < after + size:
                return state
            size *= 2

    async def _folded(self, execution_id: UUID, recorded: Sequence[Recorded], state: State) -> State:
        """Fold the events that follow the state, wherever they go on from."""
        if recorded and isinstance(forked := recorded[0].event, ExecutionForked):
            state = await self.load(forked.source, up_to_version=forked.at_version)
        elif (last := _last_rewind(recorded)) is not None and last[1].to_version < state.version:
            version, event = last
            base = await self.load(execution_id, up_to_version=event.to_version)
            between = await self._log.read(execution_id, after_version=event.to_version, up_to_version=version - 1)
            state = rewound(base, [each.event for each in between], event, version, evolve)
            recorded = [each for each in recorded if each.version > version]
        return _fold(execution_id, recorded, state)

    async def _snapshot(
        self, execution_id: UUID, up_to_version: int | None, *, covers_to: datetime | None = None
    ) -> State:
        """Return the fold that the newest usable snapshot holds."""
        try:
            snapshot = await self._snapshots.latest(execution_id, up_to_version=up_to_version, covers_to=covers_to)
        except Undecodable:
            return INITIAL
        if snapshot is None or snapshot.format != FORMAT:
            return INITIAL
        try:
            state = decode_state(snapshot.state)
        except msgspec.MsgspecError:
            return INITIAL
        return state if state.version == snapshot.version or isinstance(state, NotStarted) else INITIAL


def gone(known: Deleted) -> ExecutionDeleted:
    """Return the error for an execution that was deleted."""
    return ExecutionDeleted(known.execution_id, known.deleted_at, known.archived_as)


def _last_rewind(recorded: Sequence[Recorded]) -> tuple[int, ExecutionRewound] | None:
    found = ((each.version, each.event) for each in reversed(recorded) if isinstance(each.event, ExecutionRewound))
    return next(found, None)


def _counting(own: Sequence[Recorded]) -> Sequence[Recorded]:
    """Return the events of one log, from its first, without those that a rewind has left behind."""
    last = _last_rewind(own)
    if last is None:
        return own
    version, event = last
    return [*_counting(own[: event.to_version]), *own[version - 1 :]]


def _fold(execution_id: UUID, recorded: Iterable[Recorded], state: State) -> State:
    try:
        return fold((each.event for each in recorded), state)
    except (TypeError, KeyError) as error:
        raise misfit(execution_id, error) from error


def misfit(execution_id: UUID, error: Exception) -> Undecodable:
    """Return the error for events that cannot follow one another."""
    return Undecodable(f"the events of execution {execution_id} do not fit together: {error}")
