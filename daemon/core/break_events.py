"""Events of breakpoints in an execution that goes on.

Comes from: `breakpoints`, `debugging`. Goes to: `events`, which has the rules for all of them.
"""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime
from typing import ClassVar

from msgspec import Struct

from daemon.core.branch_events import InputEdit
from daemon.core.step_error import StepError
from daemon.core.values import NULL, Json


class Breakpoint(Struct, frozen=True, gc=False, kw_only=True, omit_defaults=True):
    """Where an execution is to stop; all that is given must fit. A condition alone stops it once."""

    node: str = ""
    """Id of a node, or the address of one of its steps: before that begins."""
    condition: str = ""
    """Expression over what the step's templates see; one that has no value does not fit."""
    errors: bool = False
    """Where a step has failed for good, before anything follows from that."""


class BreakpointsSet(Struct, frozen=True, gc=False, kw_only=True, omit_defaults=True):
    """These are the breakpoints now, in place of all that there were."""

    NAME: ClassVar = "BreakpointsSet"
    VERSION: ClassVar = 1

    breakpoints: tuple[Breakpoint, ...]
    next: bool = False
    """Whether it is to stop before the next step, whichever that is."""
    actor: str
    at: datetime


class BreakpointHit(Struct, frozen=True, gc=False, kw_only=True, omit_defaults=True):
    """The execution stands: no step begins until somebody lets it go on. What is at work goes on."""

    NAME: ClassVar = "BreakpointHit"
    VERSION: ClassVar = 1

    address: str
    breakpoint: Breakpoint | None = None
    """None where a move has led."""
    error: StepError | None = None
    """With what the step has failed; None before it begins."""
    attempt: int = 1
    """The one that has failed."""
    begun: bool = False
    """Whether that one had begun: another can follow it."""
    unknown: bool = False
    """Whether it is open that it took effect."""
    at: datetime


class BreakpointLeft(Struct, frozen=True, gc=False, kw_only=True, omit_defaults=True):
    """Somebody lets the execution go on from where it stands."""

    NAME: ClassVar = "BreakpointLeft"
    VERSION: ClassVar = 1

    address: str
    stop: int
    """Version of the event by which it has stopped."""
    how: str
    """`continue` | `over` | `into` | `out` | `skip` | `retry`."""
    output: Json = NULL
    """What a step gives that is skipped."""
    port: str = "out"
    actor: str
    at: datetime


class BreakpointEdited(Struct, frozen=True, gc=False, kw_only=True, omit_defaults=True):
    """Somebody has changed what the execution goes on with."""

    NAME: ClassVar = "BreakpointEdited"
    VERSION: ClassVar = 1

    address: str
    stop: int
    """0 where the execution was held by other means than a breakpoint."""
    variables: Mapping[str, Json] = {}
    input: InputEdit | None = None
    """What the step's handler is sent in place of what its templates give; without secrets. None leaves that."""
    actor: str
    at: datetime
