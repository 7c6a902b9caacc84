"""The index rows that events imply. Pure: the same function serves the engine and `sagad index rebuild`.

Comes from: `engine`. Goes to: eventstore/writer, with the events, in one transaction.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from daemon.core import events as e
from daemon.core.state import Finished, NotStarted, Running, State, cause
from eventstore.index import ExecutionRow, IndexChange, TimerRow

if TYPE_CHECKING:
    from collections.abc import Sequence
    from datetime import datetime
    from uuid import UUID

MAX_ERROR = 500
"""Characters of an error that lists show."""


def project(execution_id: UUID, before: State, events: Sequence[e.Event], after: State) -> IndexChange:
    """Return what the append of `events`, leading from `before` to `after`, changes in the index.

    The execution's row is written only when something in it changes: its status, its cause, or whether it is busy.
    """
    at = events[-1].at
    row = None
    if _shown(before) != _shown(after):
        row = execution_row(execution_id, after, at)
    timers = after.timers if isinstance(after, Running) else {}
    touched = dict.fromkeys(event.timer_id for event in events if isinstance(event, e.TimerSet))
    gone = dict.fromkeys(event.timer_id for event in events if isinstance(event, e.TimerFired | e.TimerCancelled))
    return IndexChange(
        execution=row,
        timers_set=tuple(TimerRow(timer_id, timers[timer_id].due) for timer_id in touched if timer_id in timers),
        timers_cleared=tuple(timer_id for timer_id in gone if timer_id not in timers and isinstance(after, Running)),
    )


def execution_row(execution_id: UUID, state: State, at: datetime) -> ExecutionRow:
    """Return the execution's row in the index; `at` is the time of its last event."""
    if isinstance(state, NotStarted):
        return ExecutionRow(
            execution_id=execution_id,
            workflow="",
            definition="",
            status="pending",
            cause=cause(state),
            busy=False,
            started_at=at,
            updated_at=at,
        )
    return ExecutionRow(
        execution_id=execution_id,
        workflow=state.workflow,
        definition=state.definition,
        status=status_of(state),
        cause=cause(state),
        busy=isinstance(state, Running) and bool(state.in_flight),
        trigger=state.trigger_name,
        dedupe_key=state.dedupe_key,
        started_at=state.started_at,
        updated_at=at,
        finished_at=state.finished_at if isinstance(state, Finished) else None,
        error=state.error.message[:MAX_ERROR] if isinstance(state, Finished) and state.error else None,
    )


def status_of(state: State) -> str:
    """Return the word for what the execution is: `pending`, `running`, `completed`, `failed` or `cancelled`."""
    match state:
        case NotStarted():
            return "pending"
        case Running():
            return "running"
        case Finished():
            return state.status


def _shown(state: State) -> tuple[str, str, bool]:
    busy = isinstance(state, Running) and bool(state.in_flight)
    known = status_of(state) if state.version else ""
    return known, cause(state), busy
