"""Commands of whoever debugs an execution that goes on.

Comes from: daemon/api. Goes to: `commands`, which has the rules for all of them.
"""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime

from msgspec import Struct

from daemon.core.branch_events import InputEdit
from daemon.core.break_events import Breakpoint
from daemon.core.values import NULL, Json


class SetBreakpoints(Struct, frozen=True, gc=False, kw_only=True):
    """Have these breakpoints, in place of all that there are. Those that it has already decide nothing."""

    breakpoints: tuple[Breakpoint, ...]
    next: bool = False
    """Stop before the next step that begins, too."""
    actor: str
    at: datetime


class LeaveBreakpoint(Struct, frozen=True, gc=False, kw_only=True):
    """Go on from where the execution stands. Identity: the stop, by its event's version."""

    stop: int
    how: str
    """`continue` to the next breakpoint; `over` to the next step that is no deeper in loops, `into` to any, `out` to
    one that is less deep; `skip` the step, which gives `output` by `port` then; `retry` one that has failed."""
    output: Json = NULL
    port: str = "out"
    actor: str
    at: datetime


class EditAtBreakpoint(Struct, frozen=True, gc=False, kw_only=True):
    """Change what the execution goes on with. Identity: the stop, and what it is changed to."""

    stop: int
    """0 for an execution that is held by other means than a breakpoint: then only variables can be changed."""
    address: str = ""
    """Of the step that it is held at by these; told by the event."""
    variables: Mapping[str, Json] = {}
    input: InputEdit | None = None
    """Of the step that it stands at."""
    actor: str
    at: datetime
