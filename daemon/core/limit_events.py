"""Events of limits that executions share, and of how an execution comes to begin.

Comes from: `decide`. Goes to: `events`, which has the rules for all of them.
"""

from __future__ import annotations

from datetime import datetime
from typing import ClassVar

from msgspec import Struct

from daemon.core.values import Json


class Slot(Struct, frozen=True, gc=False, kw_only=True, omit_defaults=True):
    """What is asked of one limit, for one key, or taken. See `eventstore.slots.Slot`."""

    limit: str
    key: str = ""
    most: int | None = None
    interval_us: int | None = None
    burst: int = 1
    fair: str = ""


class SlotsAsked(Struct, frozen=True, gc=False, kw_only=True, omit_defaults=True):
    """The step is ready, and waits until all of these slots are free. An empty address is the execution's own begin."""

    NAME: ClassVar = "SlotsAsked"
    VERSION: ClassVar = 1

    address: str
    slots: tuple[Slot, ...]
    priority: int = 0
    at: datetime


class SlotsTaken(Struct, frozen=True, gc=False, kw_only=True, omit_defaults=True):
    """The slots are the step's while its attempt is in flight; those of an empty address, until the execution ends."""

    NAME: ClassVar = "SlotsTaken"
    VERSION: ClassVar = 1

    address: str
    slots: tuple[Slot, ...]
    priority: int = 0
    waited: bool = False
    """Whether they were asked for before."""
    at: datetime


class MessageCollected(Struct, frozen=True, gc=False, kw_only=True, omit_defaults=True):
    """One more message is part of the execution, which has not begun. No other execution takes it."""

    NAME: ClassVar = "MessageCollected"
    VERSION: ClassVar = 1

    message: str
    """Its dedupe key in `scope`."""
    scope: str
    input: Json
    at: datetime


class ExecutionBegan(Struct, frozen=True, gc=False, kw_only=True, omit_defaults=True):
    """It takes no more messages, and goes on with this input."""

    NAME: ClassVar = "ExecutionBegan"
    VERSION: ClassVar = 1

    input: Json
    at: datetime
