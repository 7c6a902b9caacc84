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


class Limits:
    """Who holds what of each limit, so far."""

    def __init__(self) -> None:
        self._holders: defaultdict[tuple[str, str], set[tuple[UUID, str]]] = defaultdict(set)
        self._next_us: dict[tuple[str, str], int] = {}

    def take(self, recorded: Recorded, before: State, after: State) -> Iterator[str]:
        """Take the next event of the log, and the states around it; give what it exceeds."""
        event, held, holds = recorded.event, _held(recorded.execution_id, before), _held(recorded.execution_id, after)
        for queue, holder in held - holds:
            self._holders[queue].discard(holder)
            if not self._holders[queue]:
                del self._holders[queue]
        for queue, holder in holds - held:
            self._holders[queue].add(holder)
        for slot in event.slots if isinstance(event, e.SlotsTaken) else ():
            queue, now_us = (slot.limit, slot.key), (event.at - _EPOCH) // timedelta(microseconds=1)
            if slot.most is not None and len(self._holders[queue]) > slot.most:
                yield f"at {recorded.position} {len(self._holders[queue])} hold {queue}, of which {slot.most} may"
            if slot.interval_us is not None:
                due = self._next_us.get(queue, now_us) - (slot.burst - 1) * slot.interval_us
                if now_us < due:
                    yield f"at {recorded.position} one more of {queue} comes {due - now_us} µs too early"
                self._next_us[queue] = max(self._next_us.get(queue, now_us), now_us) + slot.interval_us


def exceeded(log: Iterable[Recorded]) -> Iterator[str]:
    """Give each moment at which more held a limit than may, or one came before its time by a rate."""
    states: defaultdict[UUID, State] = defaultdict(lambda: INITIAL)
    limits = Limits()
    for recorded in log:
        before = states[recorded.execution_id]
        after = states[recorded.execution_id] = evolve(before, recorded.event)
        yield from limits.take(recorded, before, after)


def _held(execution_id: UUID, state: State) -> set[tuple[tuple[str, str], tuple[UUID, str]]]:
    if not isinstance(state, Running) or not state.holding:
        return set()
    return {
        ((slot.limit, slot.key), (execution_id, address))
        for address, slots in state.holding.items()
        for slot in slots.slots
    }
