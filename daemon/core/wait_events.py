"""Events of waiting: timers and signals.

Comes from: `decide`, `walk`. Goes to: `events`, which has the rules for all of them.
"""

from __future__ import annotations

from datetime import datetime
from typing import ClassVar

from msgspec import Struct

from daemon.core.values import Json


class TimerSet(Struct, frozen=True, gc=False, kw_only=True, omit_defaults=True):
    """A durable due time.

    `purpose` is `wait`, `retry`, `signal`, `child`, `turn` (a loop takes breath), `approval`, `reminder` (of an
    approval), `input` (a handler has paused), `start` (the execution begins then) or `execution`; the last two have no
    address.
    """

    NAME: ClassVar = "TimerSet"
    VERSION: ClassVar = 1

    timer_id: str
    address: str
    purpose: str
    due: datetime
    at: datetime


class TimerCancelled(Struct, frozen=True, gc=False, kw_only=True, omit_defaults=True):
    """The timer is not waited for any more."""

    NAME: ClassVar = "TimerCancelled"
    VERSION: ClassVar = 1

    timer_id: str
    at: datetime


class TimerFired(Struct, frozen=True, gc=False, kw_only=True, omit_defaults=True):
    """The due time has come and was acted on."""

    NAME: ClassVar = "TimerFired"
    VERSION: ClassVar = 1

    timer_id: str
    at: datetime


class SignalAwaited(Struct, frozen=True, gc=False, kw_only=True, omit_defaults=True):
    """The step waits for a signal of this name."""

    NAME: ClassVar = "SignalAwaited"
    VERSION: ClassVar = 1

    address: str
    name: str
    at: datetime


class SignalReceived(Struct, frozen=True, gc=False, kw_only=True, omit_defaults=True):
    """A signal is there; it is kept until a step takes it. May be the first event of an execution."""

    NAME: ClassVar = "SignalReceived"
    VERSION: ClassVar = 1

    signal_id: str
    name: str
    data: Json
    actor: str
    at: datetime
