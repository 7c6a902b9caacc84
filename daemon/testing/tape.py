"""The tape: every event that the store has taken, and each execution's state after it, at hand without waiting.

Comes from: `staged_log`, which tells it of each append. Goes to: `execution`, and `virtual_time`, for the due times.
"""

from __future__ import annotations

import asyncio
from collections import defaultdict
from contextlib import contextmanager
from typing import TYPE_CHECKING

from daemon.core.events import ExecutionForked, ExecutionRewound
from daemon.core.evolve import evolve, fold
from daemon.core.state import INITIAL, Running

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence
    from datetime import datetime
    from uuid import UUID

    from daemon.core.events import Event
    from daemon.core.state import State, Step
    from eventstore.log import Append


class Tape:
    """What was appended, by execution."""

    def __init__(self) -> None:
        self.appends: list[Append] = []
        self._events: defaultdict[UUID, list[Event]] = defaultdict(list)
        self._listeners: list[Callable[[], None]] = []
        self._states: dict[UUID, State] = {}
        self._steps: defaultdict[UUID, dict[str, Step]] = defaultdict(dict)

    def record(self, batch: Sequence[Append]) -> None:
        """Take appends that are in the store."""
        self.appends += batch
        for append in batch:
            for event in append.events:
                self._take(append.execution_id, event)
        for look in self._listeners:
            look()

    def events(self, execution_id: UUID) -> Sequence[Event]:
        """Return the execution's events in order."""
        return self._events.get(execution_id, ())

    def state(self, execution_id: UUID) -> State:
        """Return the fold of its events."""
        return self._states.get(execution_id, INITIAL)

    def steps(self, execution_id: UUID) -> dict[str, Step]:
        """Return each step as it was last known, by address; also those that have left the state with their turn."""
        return self._steps[execution_id]

    def next_due(self) -> datetime | None:
        """Return when the next durable timer is due."""
        running = (state for state in self._states.values() if isinstance(state, Running))
        return min((timer.due for state in running for timer in state.timers.values()), default=None)

    @contextmanager
    def told_when(self, condition: Callable[[], bool]) -> Iterator[asyncio.Future[None]]:
        """Give a future that is done when the condition holds after an append, or fails: who waits asks it again."""
        told: asyncio.Future[None] = asyncio.get_running_loop().create_future()

        def look() -> None:
            if not told.done() and _holds_or_fails(condition):
                told.set_result(None)

        self._listeners.append(look)
        try:
            yield told
        finally:
            self._listeners.remove(look)
            told.cancel()

    def _past(self, execution_id: UUID, version: int) -> State:
        """Return the state after a version."""
        events = self._events[execution_id][:version]
        source = events[0]
        first = self._past(source.source, source.at_version) if isinstance(source, ExecutionForked) else INITIAL
        return fold(events, first)

    def _take(self, execution_id: UUID, event: Event) -> None:
        self._events[execution_id].append(event)
        if isinstance(event, ExecutionForked | ExecutionRewound):
            state = self._past(execution_id, len(self._events[execution_id]))
        else:
            state = evolve(self.state(execution_id), event)
        self._states[execution_id] = state
        address = getattr(event, "address", None)
        if address and isinstance(state, Running) and (step := state.steps.get(address)) is not None:
            self._steps[execution_id][address] = step


def _holds_or_fails(condition: Callable[[], bool]) -> bool:
    try:
        return condition()
    except Exception:  # noqa: BLE001  a mistake of the test, which must not end the daemon
        return True
