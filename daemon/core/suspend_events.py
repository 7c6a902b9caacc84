"""Events of handlers that pause and are resumed with input.

Comes from: `suspending`. Goes to: `events`, which has the rules for all of them.
"""

from __future__ import annotations

from datetime import datetime
from typing import ClassVar

from msgspec import Struct

from daemon.core.values import NULL, Json


class StepSuspended(Struct, frozen=True, gc=False, kw_only=True, omit_defaults=True):
    """The attempt ended without a result; the next one begins when somebody gives input. No failure."""

    NAME: ClassVar = "StepSuspended"
    VERSION: ClassVar = 1

    address: str
    attempt: int = 1
    reason: str
    expects: Json = NULL
    """JSON Schema of the input; null for any."""
    state: Json = NULL
    due: datetime | None = None
    problem: str = ""
    """Why the last input was not taken: it did not match what was expected."""
    at: datetime


class ResumeReceived(Struct, frozen=True, gc=False, kw_only=True, omit_defaults=True):
    """An input for a step is there; it is kept until the step's handler has paused."""

    NAME: ClassVar = "ResumeReceived"
    VERSION: ClassVar = 1

    address: str
    resume_id: str
    input: Json
    actor: str
    at: datetime


class StepResumed(Struct, frozen=True, gc=False, kw_only=True, omit_defaults=True):
    """The step takes the first input that is there for it; its next attempt begins, or waits for a slot."""

    NAME: ClassVar = "StepResumed"
    VERSION: ClassVar = 1

    address: str
    resume_id: str
    at: datetime
