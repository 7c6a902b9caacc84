"""Executions of a store, decided again under other definitions.

Comes from: daemon/cli/gate, daemon/api/gate, `migrations`. Goes to: `what_if`, `history`.
"""

from __future__ import annotations

import asyncio
import random
from typing import TYPE_CHECKING

from daemon.core.errors import Rejected
from daemon.core.events import ExecutionForked
from daemon.core.state import INITIAL, NotStarted
from daemon.runtime.projection import status_of
from daemon.runtime.what_if import verdict
from eventstore.index import ExecutionFilter

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence
    from datetime import datetime
    from uuid import UUID

    from daemon.core.events import Event
    from daemon.core.plan import Plan
    from daemon.core.state import State
    from daemon.runtime.history import History
    from daemon.runtime.ports import Pinned
    from daemon.runtime.what_if import Verdict
    from eventstore.index import Index

PAGE = 500
OPEN = ("running", "pending", "paused", "compensating")
CLOSED = ("completed", "failed", "cancelled")


class Gate:
    """New definitions, held against what was decided under the ones before. Changes nothing."""

    def __init__(self, history: History, plans: Pinned, new: Mapping[str, Plan]) -> None:
        """Take the new plans by workflow."""
        self._history = history
        self._plans = plans
        self._new = new

    async def verdict(self, execution_id: UUID) -> Verdict:
        """Decide the execution again under its workflow's new definition.

        Raises ExecutionNotFound, MissingDefinition, Rejected when its workflow has no new one, or it has not started,
        SubjectForgotten, Undecodable, Unavailable.
        """
        events, base = await past_of(self._history, execution_id)
        if not events:
            raise await self._history.missing(execution_id)
        state = await self._history.load(execution_id, up_to_version=len(events))
        if isinstance(state, NotStarted):
            raise Rejected("it has not started")
        if state.workflow not in self._new:
            raise Rejected(f"there is no new workflow {state.workflow!r}; there are: {', '.join(sorted(self._new))}")
        old, new, status = await self._plans.pinned(state.definition), self._new[state.workflow], status_of(state)
        return await asyncio.to_thread(verdict, execution_id, old, new, events, base, status=status)


async def past_of(
    history: History, execution_id: UUID, *, up_to_version: int | None = None
) -> tuple[Sequence[Event], State]:
    """Return the events of an execution, and what they go on from."""
    recorded = await history.events(execution_id, up_to_version=up_to_version)
    base = INITIAL
    if recorded and isinstance(forked := recorded[0].event, ExecutionForked):
        base = await history.load(forked.source, up_to_version=forked.at_version)
    return [each.event for each in recorded], base


async def chosen(index: Index, workflows: Iterable[str], sample: int) -> list[UUID]:
    """Return all open executions of the workflows, and a sample of the ended ones of each, the same each time."""
    found: list[UUID] = []
    for workflow in workflows:
        for status in OPEN:
            found += await _ids(index, workflow, status)
        ended = [each for status in CLOSED for each in await _ids(index, workflow, status)]
        found += random.Random(0).sample(ended, min(sample, len(ended)))  # noqa: S311  no secret
    return found


async def _ids(index: Index, workflow: str, status: str) -> list[UUID]:
    found: list[UUID] = []
    after: tuple[datetime, UUID] | None = None
    while True:
        which = ExecutionFilter(workflow=workflow, status=status, limit=PAGE, after=after)
        rows = await index.executions(which)
        found += [row.execution_id for row in rows]
        if len(rows) < PAGE:
            return found
        after = rows[-1].started_at, rows[-1].execution_id
