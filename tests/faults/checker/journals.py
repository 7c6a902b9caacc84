"""The durable functions of one execution: what they have called and were given, told once more from the events alone.

Comes from: `histories`. Goes to: `violations`.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from daemon.core import events as e
from daemon.core.address import stands_in, turn_around, turn_of

if TYPE_CHECKING:
    from collections.abc import Iterator


class Journal:
    """One function under way."""

    __slots__ = ("calls", "diverged", "results", "seen")

    def __init__(self) -> None:
        self.calls: dict[str, bool] = {}
        """Address of each call there ever was -> whether it is open."""
        self.results = 0
        self.seen = 0
        self.diverged = False


class Journals:
    """Those of one execution, by their addresses."""

    __slots__ = ("_open",)

    def __init__(self) -> None:
        self._open: dict[str, Journal] = {}

    def take(self, event: e.Event) -> Iterator[str]:
        """Check one event."""
        match event:
            case e.FunctionStarted():
                address = turn_of(event.address, 0)
                if address in self._open:
                    yield f"the function at {event.address} runs already"
                self._open[address] = Journal()
            case e.FunctionAdvanced() | e.FunctionDiverged():
                journal = self._open.get(event.address)
                if journal is None:
                    yield f"{event.NAME} of {event.address}, which does not run"
                elif isinstance(event, e.FunctionDiverged):
                    journal.diverged = True
                else:
                    yield from _advance(journal, event)
            case e.StepSucceeded() | e.StepFailed(retry_at=None):
                journal = self._open.get(turn_around(event.address))
                if journal is not None:
                    if not journal.calls.get(event.address, False):
                        yield f"{event.address} has a result, and is no open call"
                    journal.calls[event.address] = False
                    journal.results += 1
            case e.ExecutionResumed():
                for journal in self._open.values():
                    journal.diverged = False
            case e.TurnSucceeded() | e.TurnFailed() | e.TurnAbandoned():
                self._end(event.address)
            case e.UndoPlanned():
                self._end(event.scope)
            case _:
                pass

    def _end(self, scope: str) -> None:
        for address in [address for address in self._open if stands_in(address, scope)]:
            del self._open[address]


def _advance(journal: Journal, event: e.FunctionAdvanced) -> Iterator[str]:
    if journal.diverged:
        yield f"{event.address} goes on, and its code does not fit its journal"
    if not journal.seen <= event.seen <= journal.results:
        yield f"{event.address} has seen {event.seen} results after {journal.seen}, of {journal.results}"
    journal.seen = event.seen
    for address in event.cancelled:
        if not journal.calls.get(address, False):
            yield f"{address} is given up, and is no open call"
        journal.calls[address] = False
    for call in event.calls:
        address = f"{event.address}.{call.id}"
        if address in journal.calls:
            yield f"{address} is called a second time"
        journal.calls[address] = True
