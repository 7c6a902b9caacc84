"""Which executions of the log are lived again, and what is known of each. Reads; changes nothing.

Comes from: daemon/cli/shadowing, daemon/api/replays. Goes to: `shadow_check`, `history`, eventstore.
"""

from __future__ import annotations

import asyncio
from datetime import datetime
from functools import partial
from typing import TYPE_CHECKING, Any, TypeAlias

from msgspec import Struct

from daemon.core.errors import Rejected
from daemon.core.events import ExecutionForked, ExecutionMigrated, ExecutionStarted
from daemon.core.state import INITIAL, NotStarted
from daemon.runtime.history import History
from daemon.runtime.shadow_check import Life, Shadowed, shadowed
from eventstore.index import ExecutionFilter

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence
    from uuid import UUID

    from daemon.core.plan import Plan
    from daemon.runtime.plans import Plans
    from daemon.runtime.shadow import Missing
    from eventstore.store import Store

Bound: TypeAlias = int | datetime | None
"""A position of the log, a time, or none."""
PAGE = 1000


class Range(Struct, frozen=True, kw_only=True):
    """Executions that have started in a part of the log, and match."""

    first: Bound = None
    """From this position or time on."""
    last: Bound = None
    """Up to this position, or before this time."""
    workflows: tuple[str, ...]
    trigger: str | None = None
    limit: int
    """The newest so many."""


async def executions_in(store: Store, which: Range) -> Sequence[UUID]:
    """Return the ids, oldest start first. A position has the log read from there on; times are asked of the index."""
    by_position = isinstance(which.first, int) or isinstance(which.last, int)
    return await (_in_log(store, which) if by_position else _in_index(store, which))


async def _in_index(store: Store, which: Range) -> Sequence[UUID]:
    found: list[tuple[datetime, UUID]] = []
    for workflow in which.workflows:
        after, of_workflow = None, 0
        while True:
            asked = ExecutionFilter(
                workflow=workflow,
                trigger=which.trigger,
                since=which.first if isinstance(which.first, datetime) else None,
                until=which.last if isinstance(which.last, datetime) else None,
                limit=min(PAGE, which.limit - of_workflow),
                after=after,
            )
            rows = await store.index.executions(asked)
            found += [(row.started_at, row.execution_id) for row in rows if row.status != "pending"]
            of_workflow += len(rows)
            if len(rows) < asked.limit or of_workflow >= which.limit:
                break
            after = rows[-1].started_at, rows[-1].execution_id
    return [execution_id for _, execution_id in sorted(found)[-which.limit :]]


async def _in_log(store: Store, which: Range) -> Sequence[UUID]:
    found: list[UUID] = []
    position = max(which.first - 1, 0) if isinstance(which.first, int) else 0
    while True:
        page = await store.log.read_all(after_position=position, limit=PAGE)
        for each in page:
            if isinstance(which.last, int) and each.position > which.last:
                return found[-which.limit :]
            started = each.event if isinstance(each.event, ExecutionStarted | ExecutionForked) else None
            if started is not None and _in_time(started.at, which) and await _matches(store, each.execution_id, which):
                found.append(each.execution_id)
        if len(page) < PAGE:
            return found[-which.limit :]
        position = page[-1].position


def _in_time(at: datetime, which: Range) -> bool:
    late_enough = not isinstance(which.first, datetime) or at >= which.first
    return late_enough and not (isinstance(which.last, datetime) and at >= which.last)


async def _matches(store: Store, execution_id: UUID, which: Range) -> bool:
    row = await store.index.execution(execution_id)
    return row is not None and row.workflow in which.workflows and which.trigger in (None, row.trigger)


class Shadows:
    """Lives executions of a store again."""

    def __init__(
        self,
        store: Store,
        plans: Plans,
        *,
        until: datetime,
        missing: Missing,
        check_input: Callable[[Plan, Any], None],
    ) -> None:
        """`plans` gives the definitions that executions are pinned to; `until` is now."""
        self._history = History(store.log, store.snapshots)
        self._plans = plans
        self._shadowed = partial(shadowed, until=until, missing=missing, check_input=check_input)

    async def of(self, execution_id: UUID, plan_for: Callable[[str], Plan]) -> Shadowed:
        """Live an execution again, under the plan that takes the place of its workflow's.

        Raises ExecutionNotFound, Rejected, and what the store raises.
        """
        recorded = await self._history.events(execution_id)
        if not recorded:
            raise await self._history.missing(execution_id)
        state = await self._history.load(execution_id, up_to_version=recorded[-1].version)
        if isinstance(state, NotStarted):
            raise Rejected("it has not started")
        events = [each.event for each in recorded]
        first = next(each for each in events if isinstance(each, ExecutionStarted | ExecutionForked))
        base = INITIAL
        if isinstance(first, ExecutionForked):
            base = await self._history.load(first.source, up_to_version=first.at_version)
        migrated = [each.definition for each in events if isinstance(each, ExecutionMigrated)]
        life = Life(
            execution_id=execution_id,
            workflow=state.workflow,
            trigger=state.trigger_name,
            started_at=state.started_at,
            events=events,
            base=base,
            later={each: await self._plans.pinned(each) for each in migrated},
        )
        old = await self._plans.pinned(first.definition)
        return await asyncio.to_thread(self._shadowed, life, old, plan_for(state.workflow))
