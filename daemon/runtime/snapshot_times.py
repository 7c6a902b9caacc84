"""When a snapshot of an execution's state is worth its place, and which versions get a name.

Comes from: `snapshot_taking`.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

from daemon.core.address import node_of
from daemon.core.events import ExecutionForked, ExecutionRewound, StepCached, StepSucceeded
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

    version: int
    state: State | None
    """None: it is to be read from the log, since it goes on from a past."""
    label: str | None
    keep_last: int


class _Rules(NamedTuple):
    """What a definition says, and the settings where it says nothing."""

    every: int
    interval_s: float
    keep: int
    named: int
    """Events between two checkpoints."""
    marked: frozenset[str]
    """Nodes whose success is a checkpoint."""


class SnapshotTimes:
    """Tells which snapshots are due after each commit, by the workflow's keys and the settings behind them."""

    def __init__(self, settings: Snapshots) -> None:
        self._settings = settings
        self._rules: dict[str, _Rules] = {}
        self._last: dict[UUID, datetime] = {}

    def due(self, plan: Plan | None, before: State, events: Sequence[Event], after: State) -> Sequence[Due]:
        """Return what is due after these events: checkpoints where they were, and perhaps an automatic one."""
        if plan is None or isinstance(after, NotStarted):
            return ()
        rules = self._rules.get(plan.hash) or self._read(plan)
        found: list[Due] = []
        if rules.named or rules.marked:
            versions = _named(rules, before, events)
            apart = any(isinstance(event, ExecutionForked | ExecutionRewound) for event in events)
            for version, name in versions:
                state = None if apart else fold(events[: version - before.version], before)
                found.append(Due(version, state, name, rules.keep))
        if _by_count(rules.every, before, after) or (rules.interval_s and self._by_time(rules, events, after)):
            found.append(Due(after.version, after, None, rules.keep))
        return found

    def _read(self, plan: Plan) -> _Rules:
        definition, settings = plan.definition, self._settings
        interval = definition.snapshot_interval
        rules = self._rules[plan.hash] = _Rules(
            every=settings.every if definition.snapshot_every is None else definition.snapshot_every,
            interval_s=settings.interval_s if interval is None else interval.total_seconds(),
            keep=definition.snapshot_keep or settings.keep,
            named=definition.checkpoint_every,
            marked=marked(plan),
        )
        return rules

    def _by_time(self, rules: _Rules, events: Sequence[Event], after: Running | Finished) -> bool:
        execution_id, now = after.execution_id, events[-1].at
        if isinstance(after, Finished):
            self._last.pop(execution_id, None)
            return False
        if (now - self._last.get(execution_id, after.started_at)).total_seconds() < rules.interval_s:
            return False
        self._last.pop(execution_id, None)
        self._last[execution_id] = now
        if len(self._last) > MOST_REMEMBERED:
            del self._last[next(iter(self._last))]
        return True


def _by_count(every: int, before: State, after: State) -> bool:
    if not every or not isinstance(after, Running):
        return False
    every *= 1 + after.size // (every * BYTES_AN_EVENT)
    return after.version // every > before.version // every


def _named(rules: _Rules, before: State, events: Sequence[Event]) -> Iterator[tuple[int, str]]:
    """Yield versions among these events that the definition wants kept under a name."""
    for version, event in enumerate(events, start=before.version + 1):
        if isinstance(event, StepSucceeded | StepCached) and node_of(event.address) in rules.marked:
            yield version, event.address
        elif rules.named and version % rules.named == 0:
            yield version, f"event {version}"


def marked(plan: Plan) -> frozenset[str]:
    """Return the nodes that say that the success of their steps is a checkpoint."""
    return frozenset(node.id for node in plan.definition.nodes.values() if node.checkpoint)
