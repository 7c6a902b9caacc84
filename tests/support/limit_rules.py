"""Whether limits that executions share were ever exceeded: judged from the log alone, event by event, by position."""

from __future__ import annotations

from collections import defaultdict
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING

from daemon.core import events as e
from daemon.core.evolve import evolve
from daemon.core.state import INITIAL, Running

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator
    from uuid import UUID

    from daemon.core.state import State
    from eventstore.log import Recorded

_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)


def exceeded(log: Iterable[Recorded]) -> Iterator[str]:
    """Give each moment at which more held a limit than may, or one came before its time by a rate."""
    states: defaultdict[UUID, State] = defaultdict(lambda: INITIAL)
    holders: defaultdict[tuple[str, str], set[tuple[UUID, str]]] = defaultdict(set)
    next_us: dict[tuple[str, str], int] = {}
    for recorded in log:
        before, event = states[recorded.execution_id], recorded.event
        after = states[recorded.execution_id] = evolve(before, event)
        for queue, holder in _held(recorded.execution_id, before) - _held(recorded.execution_id, after):
            holders[queue].discard(holder)
        for queue, holder in _held(recorded.execution_id, after) - _held(recorded.execution_id, before):
            holders[queue].add(holder)
        if not isinstance(event, e.SlotsTaken):
            continue
        for slot in event.slots:
            queue, now_us = (slot.limit, slot.key), (event.at - _EPOCH) // timedelta(microseconds=1)
            if slot.most is not None and len(holders[queue]) > slot.most:
                yield f"at {recorded.position} {len(holders[queue])} hold {queue}, of which {slot.most} may"
            if slot.interval_us is not None:
                due = next_us.get(queue, now_us) - (slot.burst - 1) * slot.interval_us
                if now_us < due:
                    yield f"at {recorded.position} one more of {queue} comes {due - now_us} µs too early"
                next_us[queue] = max(next_us.get(queue, now_us), now_us) + slot.interval_us


def _held(execution_id: UUID, state: State) -> set[tuple[tuple[str, str], tuple[UUID, str]]]:
    if not isinstance(state, Running):
        return set()
    return {
        ((slot.limit, slot.key), (execution_id, address))
        for address, slots in state.holding.items()
        for slot in slots.slots
    }
