"""Pins: executions that stay, with their payloads, whatever the rules and the quotas say.

A pin is about storage, not about what happens: it is no event, and changes neither version nor hash of an execution.

Comes from: daemon/runtime/pinning. Goes to: `sql_pins`, `memory_pins`.
"""

from __future__ import annotations

from datetime import datetime
from typing import TYPE_CHECKING, Protocol
from uuid import UUID

from msgspec import Struct

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

MAX_REASON_CHARS = 1000


class Pin(Struct, frozen=True, kw_only=True):
    """That an execution is pinned."""

    execution_id: UUID
    at: datetime
    by: str
    reason: str = ""
    """Cut at `MAX_REASON_CHARS`."""


class Pins(Protocol):
    """Which executions are pinned. Whoever deletes or evicts looks here, in the same transaction."""

    async def put(self, pin: Pin) -> bool:
        """Pin an execution, in place of the pin it may have; False when there is no such execution (any more)."""

    async def drop(self, execution_id: UUID) -> bool:
        """Unpin it; False when it was not pinned."""

    async def of(self, executions: Sequence[UUID]) -> Mapping[UUID, Pin]:
        """Return the pins of those of these that have one."""
