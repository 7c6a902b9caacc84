"""Pins in memory.

Comes from: `store`. Goes to: `memory`.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from msgspec.structs import replace

from eventstore.pins import MAX_REASON_CHARS
from eventstore.rows import MAX_KEY_CHARS, clean_text

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from uuid import UUID

    from eventstore.memory import MemoryIndex
    from eventstore.pins import Pin


class MemoryPins:
    """`pins.Pins` in a dict of the index, where `memory_deletions` and `memory_usage` look."""

    def __init__(self, index: MemoryIndex) -> None:
        self._index = index

    async def put(self, pin: Pin) -> bool:
        """See `pins.Pins`."""
        async with self._index.writing:
            if await self._index.execution(pin.execution_id) is None:
                return False
            by, reason = clean_text(pin.by, MAX_KEY_CHARS), clean_text(pin.reason, MAX_REASON_CHARS)
            self._index.pins[pin.execution_id] = replace(pin, by=by or "", reason=reason or "")
            return True

    async def drop(self, execution_id: UUID) -> bool:
        """See `pins.Pins`."""
        return self._index.pins.pop(execution_id, None) is not None

    async def of(self, executions: Sequence[UUID]) -> Mapping[UUID, Pin]:
        """See `pins.Pins`."""
        return {key: self._index.pins[key] for key in executions if key in self._index.pins}
