"""Events of pauses.

Comes from: `decide`. Goes to: `events`, which has the rules for all of them.
"""

from __future__ import annotations

from datetime import datetime
from typing import ClassVar

from msgspec import Struct


class ExecutionPaused(Struct, frozen=True, gc=False, kw_only=True, omit_defaults=True):
    """Somebody wants no handler to begin. Those at work go on; timers and signals are taken as ever."""

    NAME: ClassVar = "ExecutionPaused"
    VERSION: ClassVar = 1

    reason: str = ""
    actor: str
    at: datetime


class ExecutionResumed(Struct, frozen=True, gc=False, kw_only=True, omit_defaults=True):
    """The pause is over: what has waited for it begins, in the order in which it became ready."""

    NAME: ClassVar = "ExecutionResumed"
    VERSION: ClassVar = 1

    actor: str
    at: datetime
