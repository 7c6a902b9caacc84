"""When a snapshot of an execution's state is worth its place, and which versions get a name.

Comes from: `snapshot_taking`.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

from daemon.core.address import node_of
from daemon.core.events import StepCached, StepSucceeded
from daemon.core.evolve import fold
from daemon.core.state import Finished, NotStarted, Running, State

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence
    from datetime import datetime
    from uuid import UUID

    from daemon.core.events import Event
    from daemon.core.plan import Plan
    from daemon.settings import Snapshots

BYTES_AN_EVENT = 1_000
"""A large state is stored less often: so many bytes of snapshots are worth an event that need not be read again."""
MOST_REMEMBERED = 10_000
"""Executions whose last snapshot's time is remembered; another has it from its start, so it gets one early."""


class Due(NamedTuple):
    """A snapshot to be taken. With a label it is a checkpoint, and stays."""

    state: State
    label: str | None
    keep_last: int


class SnapshotTimes:
    """Tells which snapshots are due after each commit, by the workflow's keys and the settings behind them."""

    def __init__(self, settings: Snapshots) -> None:
        self._settings = settings
        self._last: dict[UUID, datetime] = {}

    def due(self, plan: Plan | None, before: State, events: Sequence[Event], after: State) -> Sequence[Due]:
        """Return what is due after these events: checkpoints where they were, and perhaps an automatic one."""
        if plan is None or isinstance(after, NotStarted):
            return ()
        keep = plan.definition.snapshot_keep or self._settings.keep
        found = [
            Due(fold(events[: version - before.version], before), label, keep)
            for version, label in _named(plan, before, events)
        ]
        if self._by_count(plan, before, after) or self._by_time(plan, events, after):
            found.append(Due(after, None, keep))
        return found

    def _by_count(self, plan: Plan, before: State, after: State) -> bool:
        every = plan.definition.snapshot_every
        every = self._settings.every if every is None else every
        if not every or not isinstance(after, Running):
            return False
        every *= 1 + after.size // (every * BYTES_AN_EVENT)
        return after.version // every > before.version // every

    def _by_time(self, plan: Plan, events: Sequence[Event], after: State) -> bool:
        interval = plan.definition.snapshot_interval
        interval_s = self._settings.interval_s if interval is None else interval.total_seconds()
        if not interval_s or isinstance(after, NotStarted):
            return False
        execution_id, now = after.execution_id, events[-1].at
        if isinstance(after, Finished):
            self._last.pop(execution_id, None)
            return False
        if (now - self._last.get(execution_id, after.started_at)).total_seconds() < interval_s:
            return False
        self._last.pop(execution_id, None)
        self._last[execution_id] = now
        if len(self._last) > MOST_REMEMBERED:
            del self._last[next(iter(self._last))]
        return True


def _named(plan: Plan, before: State, events: Sequence[Event]) -> Iterator[tuple[int, str]]:
    """Yield versions among these events that the definition wants kept under a name."""
    every = plan.definition.checkpoint_every
    for version, event in enumerate(events, start=before.version + 1):
        if isinstance(event, StepSucceeded | StepCached) and is_checkpoint(plan, event.address):
            yield version, event.address
        elif every and version % every == 0:
            yield version, f"event {version}"


def is_checkpoint(plan: Plan, address: str) -> bool:
    """Tell whether the success of the step at this address is a checkpoint."""
    node = plan.definition.nodes.get(node_of(address))
    return node is not None and node.checkpoint
