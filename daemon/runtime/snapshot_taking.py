"""Takes snapshots: by itself after commits, and when asked to.

A snapshot is stored with the latest time of all its events, so that the state at a time needs no earlier event. It is
found by reading those since the snapshot before; so taking one costs what it spares a reader.

Comes from: `engine`, `checkpoints`. Goes to: eventstore/snapshots.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import structlog

from daemon.core.snapshot import FORMAT, encode_state
from daemon.runtime.snapshot_times import SnapshotTimes
from eventstore.snapshots import Snapshot

if TYPE_CHECKING:
    from collections.abc import Callable, Coroutine, Sequence
    from datetime import datetime
    from typing import Any
    from uuid import UUID

    from daemon.core.events import Event
    from daemon.core.plan import Plan
    from daemon.core.state import State
    from daemon.runtime.clock import Clock
    from daemon.runtime.history import History
    from daemon.runtime.snapshot_times import Due
    from daemon.settings import Snapshots as SnapshotSettings
    from eventstore.snapshots import Snapshots

_logger = structlog.get_logger(__name__)


class SnapshotTaker:
    """Takes snapshots of the executions of one log."""

    def __init__(
        self,
        snapshots: Snapshots,
        history: History,
        clock: Clock,
        settings: SnapshotSettings,
        *,
        spawn: Callable[[Coroutine[Any, Any, None]], object],
    ) -> None:
        self._snapshots = snapshots
        self._history = history
        self._clock = clock
        self._keep = settings.keep
        self._times = SnapshotTimes(settings)
        self._spawn = spawn

    def committed(
        self, execution_id: UUID, plan: Plan | None, before: State, events: Sequence[Event], after: State
    ) -> None:
        """Take what is due after this commit, beside the work. What fails is logged, and nothing else."""
        if due := self._times.due(plan, before, events, after):
            self._spawn(self._all(execution_id, due))

    async def take(
        self, execution_id: UUID, state: State, *, label: str | None = None, keep_last: int | None = None
    ) -> Snapshot:
        """Store the state as a snapshot, and return that. Raises StoreError."""
        covers_to = await self._latest_time(execution_id, state.version)
        text = encode_state(state)
        snapshot = Snapshot(execution_id, state.version, FORMAT, text, self._clock.now(), label, covers_to)
        await self._snapshots.save(snapshot, keep_last=self._keep if keep_last is None else keep_last)
        return snapshot

    async def _all(self, execution_id: UUID, due: Sequence[Due]) -> None:
        for version, known, label, keep_last in due:
            try:
                state = known or await self._history.load(execution_id, up_to_version=version)
                await self.take(execution_id, state, label=label, keep_last=keep_last)
            except Exception as error:  # noqa: BLE001  whatever it is: the execution can do without
                _logger.warning("snapshot_failed", execution_id=str(execution_id), version=version, error=str(error))

    async def _latest_time(self, execution_id: UUID, version: int) -> datetime:
        """Return the latest time of the events up to this version."""
        stored = await self._snapshots.stored(execution_id)
        known = [(each.version, each.covers_to) for each in stored if each.version <= version and each.covers_to]
        after, latest = max(known, default=(0, None))
        rest = await self._history.events(execution_id, after_version=after, up_to_version=version)
        times: list[datetime] = [recorded.event.at for recorded in rest]
        return max(times if latest is None else [latest, *times])
