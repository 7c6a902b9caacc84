"""The index follows from the events: rows appended step by step are those of a rebuild from the log."""

from __future__ import annotations

from typing import TYPE_CHECKING

from hypothesis import given
from msgspec.structs import asdict, replace

from daemon.core.state import INITIAL, Finished, Running, cause
from daemon.runtime.projection import execution_row, project
from tests.core.histories import History, histories
from tests.core.spec import EXECUTION

if TYPE_CHECKING:
    from datetime import datetime

    from eventstore.index import ExecutionRow


@given(histories())
def test_the_row_is_always_that_of_the_state(history: History) -> None:
    """A row that is not written again is still right: only its `updated_at` may be older."""
    row: ExecutionRow | None = None
    for turn in history.turns:
        if not turn.events:
            continue
        change = project(EXECUTION, turn.before, turn.events, turn.after)
        row = change.execution or row
        assert row is not None
        if change.changed is not None:
            row = replace(row, **asdict(change.changed))
        expected = execution_row(EXECUTION, turn.after, row.updated_at)
        if turn.after.version and not isinstance(turn.after, Running | Finished):
            assert (row.status, row.cause) == ("pending", "start")
        else:
            assert row == expected


@given(histories())
def test_timer_rows_are_the_timers_of_the_state(history: History) -> None:
    """Set and cleared rows add up to the timers that are set; a finished execution has none."""
    rows: dict[str, datetime] = {}
    for turn in history.turns:
        if not turn.events:
            continue
        change = project(EXECUTION, turn.before, turn.events, turn.after)
        for timer_id in change.timers_cleared:
            rows.pop(timer_id, None)
        for timer in change.timers_set:
            rows[timer.timer_id] = timer.due_at
        if (change.changed or change.execution) and isinstance(turn.after, Finished):
            rows.clear()
        timers = turn.after.timers.items() if isinstance(turn.after, Running) else ()
        assert rows == {timer_id: timer.due for timer_id, timer in timers}


@given(histories())
def test_there_is_a_lease_while_a_handler_is_owed(history: History) -> None:
    leased = False
    for turn in history.turns:
        if turn.events:
            change = project(EXECUTION, turn.before, turn.events, turn.after)
            leased = leased if change.busy is None else change.busy
        assert leased == (isinstance(turn.after, Running) and bool(turn.after.in_flight))


def test_the_row_of_an_execution_without_a_cause_would_show_it() -> None:
    """An empty cause on an unfinished row is the alarm; the initial state has a cause."""
    assert cause(INITIAL) == "start"
