"""When each attempt of each step began and ended, read from the events. Pure.

The state keeps only what deciding needs; what people want to know of the past is in the log.

Comes from: `history`. Goes to: `views`.
"""

from __future__ import annotations

from datetime import datetime
from typing import TYPE_CHECKING
from uuid import UUID

from msgspec import Struct

from daemon.core import events as e
from daemon.core.address import renamed
from daemon.core.events import StepError
from daemon.core.values import Json

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping


class Attempt(Struct):
    """One try of a step."""

    attempt: int
    started_at: datetime
    ended_at: datetime | None = None
    error: StepError | None = None
    retry_at: datetime | None = None
    """When the next one is due, after a failure or because this one has asked for it."""


class Timing(Struct):
    """What the log tells of one step. Steps without a handler have no attempts."""

    begun_at: datetime
    """When it was first heard of: queued, started, waiting or settled."""
    attempts: list[Attempt]
    input: Json | None = None
    """What the handler was given, secrets masked."""
    output: Json | None = None
    """What it gave, whether the state still holds it or not."""
    child: UUID | None = None
    """The execution that its last attempt has started."""
    cached: e.StepCached | None = None
    """The hit, when the result was another step's."""
    streamed: e.Streamed | None = None
    """What went through its stream, when it had one."""


def timings(history: Iterable[e.Event]) -> Mapping[str, Timing]:
    """Return the timing of every step, in the order in which they began; under the ids that its nodes have at last."""
    found: dict[str, Timing] = {}
    for event in history:
        if isinstance(event, e.ExecutionMigrated):
            found = {renamed(address, event.names): timing for address, timing in found.items()}
        address = getattr(event, "address", "")
        if not address or isinstance(event, e.ExecutionFailed):
            continue
        timing = found.setdefault(address, Timing(event.at, []))
        match event:
            case e.StepStarted():
                timing.attempts.append(Attempt(event.attempt, event.at))
                timing.input = event.input if event.attempt == 1 else timing.input
            case e.StepSucceeded() | e.StepCached() | e.StepFailed() | e.StepPostponed() | e.StepSuspended():
                _end_attempt(timing, event)
            case e.ChildStarted():
                timing.child = event.child
            case _:
                pass
        if isinstance(event, e.StepSucceeded | e.StepCached):
            timing.output = event.output
        if isinstance(event, e.StepSucceeded):
            timing.streamed = event.streamed
        elif isinstance(event, e.StepCached):
            timing.cached = event
    return found


def _end_attempt(
    timing: Timing, event: e.StepSucceeded | e.StepCached | e.StepFailed | e.StepPostponed | e.StepSuspended
) -> None:
    """End the attempt that is under way, if there is one."""
    if not timing.attempts or timing.attempts[-1].ended_at is not None:
        return
    last = timing.attempts[-1]
    last.ended_at = event.at
    if isinstance(event, e.StepFailed):
        last.error, last.retry_at = event.error, event.retry_at
    elif isinstance(event, e.StepPostponed):
        last.retry_at = event.due
