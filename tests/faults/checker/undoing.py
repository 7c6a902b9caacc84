"""What is owed for the steps of one execution, and how that is undone: told once more, from the events alone.

Comes from: `histories`. Goes to: `violations`.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

from daemon.core import events as e
from daemon.core.address import LOOKUP, UNDO, stands_in

if TYPE_CHECKING:
    from collections.abc import Iterator


class Owed(NamedTuple):
    """One effect. `took` and `began` are the versions by which its step had it, and had begun."""

    address: str
    took: int
    began: int


class Undoing:
    """The compensations of one execution, so far."""

    __slots__ = ("keeps", "owed", "plans", "undone")

    def __init__(self) -> None:
        self.owed: list[Owed] = []
        self.plans: dict[str, str] = {}
        """Scope -> mode, of what is being undone."""
        self.undone: dict[str, int] = {}
        """Scope -> how many compensations have succeeded in it."""
        self.keeps = False
        """Whether it ends without being undone: the definition says so, who has cancelled it, or a plan."""

    def take(self, version: int, event: e.Event, settled: int) -> Iterator[str]:
        """Check one event; `settled` is the version by which its step was settled, 0 for none."""
        match event:
            case e.CompensationOwed():
                if any(owed.address == event.address for owed in self.owed):
                    yield f"{event.address} is owed already"
                self.owed.append(Owed(event.address, settled or version, event.began))
            case e.CancelRequested(undo=False):
                self.keeps = True
            case e.UndoPlanned():
                self._plan(event)
            case e.StepStarted(address=address) if address.endswith(UNDO) and not address.endswith(LOOKUP):
                yield from self._begin(address.removesuffix(UNDO))
            case e.StepSucceeded(address=address) if address.endswith(UNDO) and not address.endswith(LOOKUP):
                address = address.removesuffix(UNDO)
                if (scope := self._scope(address)) is not None:
                    self.undone[scope] += 1
                self._forget(address)
            case e.EffectLookedUp(found=False):
                self._forget(event.address)
            case e.ManualActionDone(choice="skip" | "done"):
                if event.address in self.plans:
                    self.owed = [owed for owed in self.owed if not stands_in(owed.address, event.address)]
                else:
                    self._forget(event.address)
            case e.UndoCompleted():
                yield from self._complete(event)
            case e.ExecutionFailed() | e.ExecutionCancelled():
                if self.owed and not self.keeps:
                    yield f"it ends, and {self.owed[-1].address} is not undone"
            case _:
                pass

    def _plan(self, event: e.UndoPlanned) -> None:
        for scope in [scope for scope in self.plans if stands_in(scope, event.scope)]:
            del self.plans[scope]  # what it owes is undone with all around it
        self.plans[event.scope] = event.mode
        self.undone[event.scope] = 0
        if not event.scope:
            self.keeps = event.mode == "none"

    def _begin(self, address: str) -> Iterator[str]:
        found = next((owed for owed in self.owed if owed.address == address), None)
        scope = self._scope(address)
        if found is None:
            yield f"{address} is undone, and nothing is owed for it"
        elif scope is None:
            yield f"{address} is undone, and nobody has planned that"
        else:
            for other in self.owed:
                if other.began > found.took and stands_in(other.address, scope):
                    yield f"{address} is undone before {other.address}, which began after it"

    def _complete(self, event: e.UndoCompleted) -> Iterator[str]:
        mode = self.plans.pop(event.scope, None)
        if mode is None:
            yield "an undo is complete that nobody has planned"
            return
        left = [owed.address for owed in self.owed if stands_in(owed.address, event.scope)]
        if left and mode != "none":
            yield f"the undo is complete, and {left[-1]} is not undone"
        if event.compensated != self.undone[event.scope]:
            yield f"the undo tells of {event.compensated} compensations, and there were {self.undone[event.scope]}"

    def _scope(self, address: str) -> str | None:
        """Return what is being undone that the step stands in: the outermost, if there are several."""
        return min((scope for scope in self.plans if stands_in(address, scope)), key=len, default=None)

    def _forget(self, address: str) -> None:
        self.owed = [owed for owed in self.owed if owed.address != address]
