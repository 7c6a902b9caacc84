"""The index follows from the events: rows appended step by step are those of a rebuild from the log."""

from __future__ import annotations

from typing import TYPE_CHECKING

from hypothesis import given

from daemon.core.evolve import evolve
from daemon.core.people import Deciding
from daemon.core.state import INITIAL, Running, cause
from daemon.runtime.projection import project
from tests.core.histories import History, histories
from tests.core.spec import EXECUTION
from tests.runtime.index_laws import INDEX_LAWS

if TYPE_CHECKING:
    from eventstore.index import ApprovalChange


@given(histories())
def test_every_history_keeps_the_laws(history: History) -> None:
    for law in INDEX_LAWS:
        law(history)


@given(histories())
def test_approval_rows_are_those_of_a_rebuild(history: History) -> None:
    """Those that are open are what people can decide now; and event by event gives the same as append by append."""
    rows: dict[str, ApprovalChange] = {}
    for turn in history.turns:
        if turn.events:
            change = project(EXECUTION, turn.before, turn.events, turn.after)
            rows |= {one.row.address: one for one in change.approvals}
    end = history.turns[-1].after if history.turns else INITIAL
    steps = end.steps.items() if isinstance(end, Running) else ()
    deciding = {address: step for address, step in steps if isinstance(step, Deciding)}
    assert {address for address, one in rows.items() if one.row.status == "open"} == set(deciding)
    for address, step in deciding.items():
        assert rows[address].row.question == step.question
        assert rows[address].approvers == tuple(voice.approver for voice in step.voices if not voice.decision)
    rebuilt: dict[str, ApprovalChange] = {}
    state = INITIAL
    for event in history.events:
        before, state = state, evolve(state, event)
        rebuilt |= {one.row.address: one for one in project(EXECUTION, before, [event], state).approvals}
    assert rebuilt == rows


def test_the_row_of_an_execution_without_a_cause_would_show_it() -> None:
    """An empty cause on an unfinished row is the alarm; the initial state has a cause."""
    assert cause(INITIAL) == "start"
