"""The shapes of answers about debugging."""

from __future__ import annotations

from datetime import datetime  # noqa: TC003  pydantic resolves the annotations at run time
from typing import Any, Literal
from uuid import UUID  # noqa: TC003  pydantic resolves the annotations at run time

from pydantic import BaseModel

from daemon.api.models import Error, ExecutionState, Model, Status


class Breakpoint(Model):
    """Where an execution stops: all that is given fits."""

    node: str = ""
    condition: str = ""
    errors: bool = False


class Stop(Model):
    """Where it stands. `stop` is its identity; without a breakpoint a move of `actor` has led there."""

    stop: int
    address: str
    breakpoint: Breakpoint | None
    actor: str
    since: datetime
    error: Error | None
    attempt: int


class Breakpoints(Model):
    """Of one execution. `held` are the steps that could begin."""

    execution_id: UUID
    status: Status
    breakpoints: list[Breakpoint]
    actor: str | None
    moving: Literal["over", "into", "out"] | None
    standing: Stop | None
    held: list[str]


class Moment(Model):
    """A place where a debugger can stop. `line` is that of the node in the text of `/definition`."""

    moment: int
    version: int
    at: datetime
    address: str | None
    what: str
    said: str
    error: Error | None
    depth: int
    line: int


class Moments(Model):
    """Moments in order; `count` is how many there are in all, `next` the number of the one that follows."""

    moments: list[Moment]
    count: int
    next: int | None


class Frame(Model):
    """A place that the execution is in: a step, a turn around it, the execution."""

    name: str
    address: str
    line: int


class MomentSeen(Moment):
    """A moment with what templates see there, by root."""

    seen: dict[str, Any]
    step: dict[str, Any]
    frames: list[Frame]
    state: ExecutionState


class Evaluated(Model):
    """What an expression gave, and where."""

    value: Any
    moment: int
    version: int


class Definition(BaseModel):
    """The definition of an execution, as it was written and as text."""

    workflow: str
    hash: str
    definition: dict[str, Any]
    text: str


class Played(Model):
    """One event of a replay, as the data of its Server-Sent Event."""

    version: int
    since_start_s: float
    at: datetime
    type: str
    address: str | None
    data: dict[str, Any]
