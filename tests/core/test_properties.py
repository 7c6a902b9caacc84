"""What must hold for every workflow and every order of things: the laws, and what needs more than a history."""

from __future__ import annotations

from hypothesis import given, settings
from hypothesis import strategies as st

from daemon.core.events import TimerSet
from daemon.core.evolve import fold
from daemon.core.snapshot import decode_state, encode_state
from daemon.core.state import INITIAL, Finished, Running
from tests.core.driving import drive
from tests.core.histories import History, histories
from tests.core.laws import LAWS, LOG_LAWS


@given(histories())
def test_every_history_keeps_the_laws(history: History) -> None:
    """Each law says what it is about; all are asked of one history, for drawing it is what takes time."""
    for law in LAWS:
        law(history)


@given(histories(max_turns=200))
def test_every_log_keeps_the_laws(history: History) -> None:
    for law in LOG_LAWS:
        law(history.events)


@given(histories(), st.data())
def test_a_fold_can_be_cut_anywhere(history: History, data: st.DataObject) -> None:
    """The fold of a + b is the fold of b from the fold of a, and a snapshot of it is as good."""
    events = history.events
    cut = data.draw(st.integers(0, len(events)))
    whole, part = fold(events), fold(events[:cut])
    assert fold(events[cut:], part) == whole
    assert fold(events[cut:], decode_state(encode_state(part))) == whole


@given(histories(max_turns=200))
@settings(max_examples=50)
def test_an_execution_that_gets_its_answers_ends(history: History) -> None:
    """Driven on with success, due timers and signals, every execution ends."""
    state = history.turns[-1].after if history.turns else INITIAL
    if not isinstance(state, Running):
        return
    assert isinstance(drive(history.plan, state), Finished)


@given(histories())
def test_timers_are_set_in_the_future(history: History) -> None:
    for event in history.events:
        if isinstance(event, TimerSet):
            assert event.due > event.at
