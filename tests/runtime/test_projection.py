"""The index follows from the events: rows appended step by step are those of a rebuild from the log."""

from __future__ import annotations

from hypothesis import given

from daemon.core.state import INITIAL, cause
from tests.core.histories import History, histories
from tests.runtime.index_laws import INDEX_LAWS


@given(histories())
def test_every_history_keeps_the_laws(history: History) -> None:
    for law in INDEX_LAWS:
        law(history)


def test_the_row_of_an_execution_without_a_cause_would_show_it() -> None:
    """An empty cause on an unfinished row is the alarm; the initial state has a cause."""
    assert cause(INITIAL) == "start"
