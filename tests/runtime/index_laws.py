"""What must hold of the index rows that any history implies: made step by step, they are those of a rebuild.

Comes from: tests/core/histories, tests/core/generator. `test_projection` and the generator hold histories to it.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping
from datetime import datetime
from typing import TYPE_CHECKING, TypeAlias

from msgspec import Struct
from msgspec.structs import asdict, replace

from daemon.core.evolve import evolve
from daemon.core.people import Deciding
from daemon.core.state import INITIAL, Finished, Running, State, has_work
from daemon.runtime.projection import execution_row, project
from eventstore.index import ExecutionRow, IndexChange
from eventstore.slots import KEPT, Slot, SlotChange
from tests.core.histories import History
from tests.core.spec import EXECUTION

if TYPE_CHECKING:
    from daemon.core import events as e
    from daemon.core.state_limits import Slots

IndexLaw: TypeAlias = Callable[[History], None]


class Rows(Struct):
    """What the index holds of one execution."""

    row: ExecutionRow | None = None
    timers: dict[str, datetime] = {}
    leased: bool = False
    asked: dict[str, tuple[Slot, ...]] = {}
    """Address -> the slots that it waits for."""
    held: dict[str, tuple[Slot, ...]] = {}
    approvals: dict[str, tuple[int, tuple[str, ...]]] = {}
    """Address of an open approval -> its question, and who is listed to decide."""

    def take(self, change: IndexChange) -> None:
        """Apply a change as stores do."""
        self.row = change.execution or self.row
        if change.changed is not None:
            assert self.row is not None
            self.row = replace(self.row, **asdict(change.changed))
        for timer_id in change.timers_cleared:
            self.timers.pop(timer_id, None)
        self.timers |= {timer.timer_id: timer.due_at for timer in change.timers_set}
        if (change.changed or change.execution) and self.row is not None and self.row.finished_at is not None:
            self.timers.clear()
        self.leased = self.leased if change.busy is None else change.busy
        for slots in change.slots:
            self._take_slots(slots)
        for approval in change.approvals:
            self.approvals.pop(approval.row.address, None)
            if approval.row.status == "open":
                self.approvals[approval.row.address] = approval.row.question, approval.approvers

    def _take_slots(self, change: SlotChange) -> None:
        self.asked.pop(change.address, None)
        self.held.pop(change.address, None)
        if change.action == "ask":
            self.asked[change.address] = change.slots
        elif change.action == "take" and not change.address.startswith(KEPT):
            self.held[change.address] = change.slots


def rows_step_by_step(history: History) -> Iterator[tuple[Rows, State]]:
    """Give the rows and the state after each append."""
    rows = Rows()
    for turn in history.turns:
        if turn.events:
            rows.take(project(EXECUTION, turn.before, turn.events, turn.after))
            yield rows, turn.after


def the_rows_are_those_of_the_state(history: History) -> None:
    """Hold that a row that is not written again is still right: only its `updated_at` may be older."""
    for rows, state in rows_step_by_step(history):
        assert rows.row is not None
        if isinstance(state, Running | Finished):
            assert rows.row == execution_row(EXECUTION, state, rows.row.updated_at)
        else:
            assert (rows.row.status, rows.row.cause) == ("pending", "start")
        timers = state.timers.items() if isinstance(state, Running) else ()
        assert rows.timers == {timer_id: timer.due for timer_id, timer in timers}
        assert rows.leased == has_work(state)
        assert rows.approvals == dict(_open_approvals(state))
        asked, held = (state.limited, state.holding) if isinstance(state, Running) else ({}, {})
        assert {address: _named(slots) for address, slots in rows.asked.items()} == _slots(asked)
        assert {address: _named(slots) for address, slots in rows.held.items()} == _slots(held)


def _open_approvals(state: State) -> Iterator[tuple[str, tuple[int, tuple[str, ...]]]]:
    for address, step in state.steps.items() if isinstance(state, Running) else ():
        if isinstance(step, Deciding):
            yield address, (step.question, tuple(voice.approver for voice in step.voices if not voice.decision))


def _slots(known: Mapping[str, Slots]) -> dict[str, list[tuple[str, str]]]:
    return {address: _named(each.slots) for address, each in known.items()}


def _named(slots: Iterable[Slot | e.Slot]) -> list[tuple[str, str]]:
    return [(slot.limit, slot.key) for slot in slots]


def a_rebuild_makes_the_same_rows(history: History) -> None:
    """Hold that it goes event by event and knows nothing of appends."""
    rows, rebuilt, state = Rows(), Rows(), INITIAL
    for event in history.events:
        after = evolve(state, event)
        rebuilt.take(project(EXECUTION, state, [event], after))
        state = after
    for each, _ in rows_step_by_step(history):
        rows = each
    if rows.row is not None and rebuilt.row is not None:
        rebuilt.row = replace(rebuilt.row, updated_at=rows.row.updated_at)
    assert rebuilt == rows


INDEX_LAWS: tuple[IndexLaw, ...] = (the_rows_are_those_of_the_state, a_rebuild_makes_the_same_rows)
