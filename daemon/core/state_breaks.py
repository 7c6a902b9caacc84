"""What an execution knows of its breakpoints, and where it stands.

Comes from: `evolve_breaks`. Goes to: `state`.
"""

from __future__ import annotations

from datetime import datetime
from typing import TYPE_CHECKING

from msgspec import Struct

from daemon.core.break_events import Breakpoint
from daemon.core.step_error import StepError
from daemon.core.step_state import Queued

if TYPE_CHECKING:
    from immutables import Map

    from daemon.core.step_state import Step


class Stop(Struct, frozen=True, gc=False, kw_only=True):
    """A step that is held; see `events.BreakpointHit`, whose version is its identity."""

    address: str
    version: int
    breakpoint: Breakpoint | None
    actor: str
    """Who has set the breakpoint, or made the move."""
    since: datetime
    error: StepError | None = None
    attempt: int = 1
    begun: bool = False
    unknown: bool = False


class Breaking(Struct, frozen=True, gc=False, kw_only=True):
    """An execution with breakpoints, or whose steps are gone through one by one."""

    breakpoints: tuple[Breakpoint, ...] = ()
    actor: str = ""
    """Who has set them, or made the last move."""
    moving: str = ""
    """`over` | `into` | `out` while it goes to the next place; empty for none."""
    depth: int = 0
    """How many turns were around the place that the move began at."""
    stops: tuple[Stop, ...] = ()
    """In the order in which they came: it stands at the first whose step was not given up meanwhile."""
    passed: tuple[str, ...] = ()
    """Addresses of steps that were let go on and have not begun yet."""
    edited: tuple[str, ...] = ()
    """Those of them whose input was given by hand."""

    def stop(self, steps: Map[str, Step]) -> Stop | None:
        """Return where it stands; None while it goes on."""
        return next((each for each in self.stops if isinstance(steps.get(each.address), Queued)), None)
