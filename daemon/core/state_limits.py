"""What an execution has, or waits for, of limits that executions share.

Comes from: `evolve_limits`. Goes to: `state`.
"""

from __future__ import annotations

from datetime import datetime

from msgspec import Struct

from daemon.core.limit_events import Slot

COLLECTING = "#collecting"
"""Address at which an execution that has not begun holds the right to collect messages."""


class Slots(Struct, frozen=True, gc=False):
    """What one address has asked for, or holds."""

    slots: tuple[Slot, ...]
    priority: int
    since: datetime
