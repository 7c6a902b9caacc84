"""The index rows that events imply. Pure: the same function serves the engine and `sagad index rebuild`.

Comes from: `engine`. Goes to: eventstore/writer, with the events, in one transaction.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from daemon.core import events as e
from daemon.core.state import Finished, NotStarted, Running, State, cause, has_work
from daemon.runtime.projected_approvals import approvals_anew, approvals_of
from daemon.runtime.slot_changes import slot_changes
from eventstore.index import UNCHANGED, ExecutionChange, ExecutionRow, ForkRow, IndexChange, TimerRow
from eventstore.slots import SlotChange
from eventstore.veils import is_time

if TYPE_CHECKING:
    from collections.abc import Sequence
    from datetime import datetime
    from uuid import UUID

_OF_TIMERS = frozenset({e.TimerSet, e.TimerFired, e.TimerCancelled})

MAX_ERROR = 500
"""Characters of an error that lists show."""


def project(
    execution_id: UUID,
    before: State,
    events: Sequence[e.Event],
    after: State,
    *,
    hint: bool = False,
    branched: State | None = None,
) -> IndexChange:
    """Return what the append of `events`, leading from `before` to `after`, changes in the index.

    The execution's row is written only when something in it changes: its status or its cause. `hint`: whoever holds
    the lease must look at it; where that has ended the execution, the lease stays until then. `branched` is where the
    first event leads when the execution goes on from a past by it: all rows are then made anew.
    """
    if branched is not None:
        return _anew(execution_id, before, events, after, branched)
    row, changed = _row(execution_id, before, events, after)
    was_busy, is_busy = has_work(before), has_work(after)
    taken_up = isinstance(before, Finished)  # its lease may have gone since it had ended
    busy = is_busy if is_busy != was_busy or taken_up else None
    if hint and isinstance(after, Finished):
        busy = None
    slots = slot_changes(before, events, after)
    approvals = approvals_of(execution_id, before, events, after)
    if row is None and isinstance(before, Running) and isinstance(after, Running) and before.timers is after.timers:
        if changed is None and busy is None and not hint and not slots and not approvals:
            return UNCHANGED
        return IndexChange(changed=changed, busy=busy, hint=hint, slots=slots, approvals=approvals)
    timers_set, timers_cleared = _timers(events, after) if isinstance(after, Running) else ((), ())
    return IndexChange(
        execution=row,
        changed=changed,
        timers_set=timers_set,
        timers_cleared=timers_cleared,
        busy=busy,
        hint=hint,
        slots=slots,
        approvals=approvals,
    )


def _anew(execution_id: UUID, before: State, events: Sequence[e.Event], after: State, branched: State) -> IndexChange:
    """Return all rows of an execution that goes on from a past, and that those go which it had."""
    had = before.timers if isinstance(before, Running) else {}
    timers = after.timers if isinstance(after, Running) else {}
    held = {*before.limited, *before.holding} if isinstance(before, Running) else set()
    freed = tuple(SlotChange(action="free", address=address) for address in sorted(held))
    first, *rest = events
    forked = None
    if isinstance(first, e.ExecutionForked):
        forked = ForkRow(execution_id, first.source, first.at_version, first.at)
    return IndexChange(
        execution=execution_row(execution_id, after, events[-1].at),
        timers_set=tuple(TimerRow(timer_id, timer.due) for timer_id, timer in sorted(timers.items())),
        timers_cleared=tuple(sorted(timer_id for timer_id in had if timer_id not in timers)),
        busy=has_work(after),
        slots=(*freed, *slot_changes(branched, rest, after)),
        approvals=approvals_anew(execution_id, before, branched, rest, after),
        forked=forked,
    )


def _timers(events: Sequence[e.Event], after: Running) -> tuple[tuple[TimerRow, ...], tuple[str, ...]]:
    """Return which timers are set, and which are gone."""
    timers = after.timers
    if not timers and _OF_TIMERS.isdisjoint(map(type, events)):
        return (), ()
    touched = dict.fromkeys(event.timer_id for event in events if isinstance(event, e.TimerSet))
    gone = dict.fromkeys(event.timer_id for event in events if isinstance(event, e.TimerFired | e.TimerCancelled))
    set_ = tuple(TimerRow(timer_id, timers[timer_id].due) for timer_id in touched if timer_id in timers)
    return set_, tuple(timer_id for timer_id in gone if timer_id not in timers)


def _row(
    execution_id: UUID, before: State, events: Sequence[e.Event], after: State
) -> tuple[ExecutionRow | None, ExecutionChange | None]:
    """Return the whole row at the start, and then what changes in it, if anything does."""
    shown, shows = _shown(before), _shown(after)
    if shown == shows:
        return None, None
    at = events[-1].at
    if not isinstance(before, Running) or shown[2] != shows[2]:
        return execution_row(execution_id, after, at), None
    finished = after if isinstance(after, Finished) else None
    return None, ExecutionChange(
        status=status_of(after),
        cause=cause(after),
        updated_at=at,
        finished_at=finished.finished_at if finished is not None else None,
        error=_error_of(after),
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
            started_at=at,
            updated_at=at,
        )
    return ExecutionRow(
        execution_id=execution_id,
        workflow=state.workflow,
        definition=state.definition,
        status=status_of(state),
        cause=cause(state),
        trigger=state.trigger_name,
        dedupe_key=_key_of(state) if state.subject else state.dedupe_key,
        started_at=state.started_at,
        updated_at=at,
        finished_at=state.finished_at if isinstance(state, Finished) else None,
        error=_error_of(state),
    )


def _key_of(state: Running | Finished) -> str | None:
    """Return a subject's key as the index shows it: only the time of a schedule, which the next one is found by."""
    key = state.dedupe_key
    return key if key is not None and is_time(key) else None


def status_of(state: State) -> str:
    """Return the word for what the execution is.

    `pending`, `running`, `paused`, `compensating` (it is being undone), `completed`, `failed` or `cancelled`.
    """
    if isinstance(state, Running):
        if state.undoing is not None:
            return "compensating"
        return "paused" if state.paused is not None else "running"
    return state.status if isinstance(state, Finished) else "pending"


def _error_of(state: State) -> str | None:
    if not isinstance(state, Finished) or state.error is None:
        return None
    return f"sealed ({state.error.code})" if state.subject else state.error.message[:MAX_ERROR]


def _shown(state: State) -> tuple[str, str, str]:
    if isinstance(state, Running):
        return status_of(state), "step" if state.busy else cause(state), state.definition
    return status_of(state) if state.version else "", cause(state), getattr(state, "definition", "")
