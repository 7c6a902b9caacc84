"""A debugger's session: a position among the moments of an execution, breakpoints, and moves both ways. Pure.

`over` goes to the next moment that is no deeper in loops and fan-outs, `into` to the next one, `out` to one that is
less deep, `back` to the one before that is no deeper, `continue` and `reverse` to one where a breakpoint is. Where
there is no such moment a move says so, and its caller decides: a recording ends there, an execution under way may have
more.

Comes from: `adapter`, `prompt`. Goes to: `breakpoints`, `looking`.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from daemon.core.address import node_of
from daemon.core.evaluation import EvaluationError
from daemon.debugger.breakpoints import Breakpoint, Fitting, counts, said_at
from daemon.debugger.looking import evaluate
from daemon.debugger.moments import Moment, Taken, moment, output_in

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Mapping

    from daemon.core.events import Event

BACKWARDS = frozenset({"back", "reverse"})
BREAKING = frozenset({"continue", "reverse"})
"""Moves that end at breakpoints only."""


OTHERWISE = frozenset({"fails", "is held", "is edited"})
"""What a breakpoint that names a node does not stop at."""


class Session:
    """One execution that is looked at. `position` is the number of the moment among `moments`."""

    def __init__(self, taken: Iterable[Taken] = ()) -> None:
        self.events: list[tuple[int, Event]] = []
        """All that were recorded, with their versions; a moment has the number of its own among them."""
        self.last: Taken | None = None
        self.moments: list[Moment] = []
        self.position = 0
        self.breakpoints: tuple[Breakpoint, ...] = ()
        self._fitting: dict[Breakpoint, Fitting] = {}
        self.extend(taken)

    def clear(self) -> None:
        """Forget all events; the breakpoints stay."""
        self.events, self.last, self.moments, self._fitting = [], None, [], {}

    def extend(self, taken: Iterable[Taken]) -> None:
        """Add events that were recorded since."""
        for each in taken:
            if (found := moment(len(self.events), each)) is not None:
                self.moments.append(found)
            self.events.append((each.after.version, each.event))
            self.last = each

    @property
    def here(self) -> Moment:
        """The moment at the position. IndexError when nothing has begun."""
        return self.moments[self.position]

    @property
    def newest(self) -> bool:
        """Whether no moment follows."""
        return self.position >= len(self.moments) - 1

    def move(self, how: str) -> bool:
        """Move as far as the recording goes; tell whether there was a moment to stop at before its end."""
        found = self.find(how, self.here, self.position)
        if found is None:
            self.position = 0 if how in BACKWARDS else len(self.moments) - 1
            return False
        self.position = found
        return True

    def find(self, how: str, origin: Moment, start: int) -> int | None:
        """Return the number of the moment where a move that began at `origin` ends, looking beyond `start`."""
        numbers = range(start - 1, -1, -1) if how in BACKWARDS else range(start + 1, len(self.moments))
        fits = self._fits(how, origin)
        return next((number for number in numbers if fits(number)), None)

    def _fits(self, how: str, origin: Moment) -> Callable[[int], bool]:
        if how in BREAKING:
            return lambda number: self.hit(number) is not None
        bounds: Mapping[str, Callable[[Moment], bool]] = {
            "over": lambda moment: moment.depth <= origin.depth,
            "into": lambda _: True,
            "out": lambda moment: moment.depth < origin.depth,
            "back": lambda moment: moment.depth <= origin.depth,
        }
        return lambda number: bounds[how](self.moments[number])

    def hit(self, number: int) -> Breakpoint | None:
        """Return the first breakpoint that stops at a moment."""
        return next((each for each in self.breakpoints if not each.log and self._hits(each, number)), None)

    def logged(self, number: int) -> list[str]:
        """Return what breakpoints say at a moment that do not stop there."""
        moment = self.moments[number]

        def value_of(text: str) -> object:
            return evaluate(text, moment, self.outputs(number))

        return [said_at(each.log, value_of) for each in self.breakpoints if each.log and self._hits(each, number)]

    def _hits(self, breakpoint_: Breakpoint, number: int) -> bool:
        if not self._fits_at(breakpoint_, number):
            return False
        if not breakpoint_.hits:
            return True
        fitting = self._fitting.setdefault(breakpoint_, Fitting())
        return counts(breakpoint_.hits, fitting.place_of(number, lambda each: self._fits_at(breakpoint_, each)))

    def _fits_at(self, breakpoint_: Breakpoint, number: int) -> bool:
        moment = self.moments[number]
        if breakpoint_.errors and (moment.error is None or not (moment.final or breakpoint_.errors == "attempt")):
            return False
        if breakpoint_.node:
            named = breakpoint_.node in (moment.address, node_of(moment.address))
            if not named or (moment.what in OTHERWISE and not breakpoint_.errors):
                return False
        if not breakpoint_.condition:
            return bool(breakpoint_.node or breakpoint_.errors)
        alone = not breakpoint_.node and not breakpoint_.errors
        was = alone and number > 0 and self._holds(breakpoint_.condition, number - 1)
        return not was and self._holds(breakpoint_.condition, number)

    def _holds(self, condition: str, number: int) -> bool:
        try:
            return bool(evaluate(condition, self.moments[number], self.outputs(number)))
        except EvaluationError:
            return False

    def outputs(self, number: int | None = None) -> Callable[[str], object]:
        """Return what gives the recorded output of a step, also of one that has left the state since."""
        upto = (self.here if number is None else self.moments[number]).number

        def output(address: str) -> object:
            for _, event in reversed(self.events[: upto + 1]):
                if (found := output_in(event, address)) is not None:
                    return found
            raise KeyError(address)

        return output
