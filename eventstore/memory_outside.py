"""What a store in memory knows of payloads outside of it.

Comes from: `store`. Goes to: `memory`.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Sequence
    from datetime import datetime

    from eventstore.memory import MemoryIndex, MemoryLog
    from eventstore.memory_usage import MemoryUsage


class MemoryObjects:
    """`outside.Objects` in dicts of the log."""

    def __init__(self, log: MemoryLog, index: MemoryIndex, usage: MemoryUsage) -> None:
        self._log = log
        self._index = index
        self._usage = usage

    async def note(self, payload_hash: str, name: str, *, at: datetime) -> str:
        """See `outside.Objects`."""
        noted = [each for each, (key, when) in self._log.loose.items() if key == payload_hash and when is not None]
        [name, *_] = sorted({*noted, *filter(None, (self._log.objects.get(payload_hash),))}) or [name]
        self._log.loose[name] = payload_hash, at
        return name

    async def move(self, workflow: str, payload_hash: str, name: str) -> bool:
        """See `outside.Objects`."""
        async with self._index.writing:
            noted = self._log.loose.get(name, ("", None))
            if noted[0] != payload_hash or noted[1] is None:
                return False
            if not await self._usage.may_go(workflow, payload_hash):
                return False
            self._log.kept[payload_hash] = None
            self._log.packed.discard(payload_hash)
            self._log.objects[payload_hash] = name
            del self._log.loose[name]
            return True

    async def unwanted(self, *, noted_before: datetime, limit: int) -> Sequence[str]:
        """See `outside.Objects`."""
        for name, (key, at) in self._log.loose.items():
            if at is not None and at < noted_before and self._log.objects.get(key) != name:
                self._log.loose[name] = key, None
        return sorted(name for name, (_, at) in self._log.loose.items() if at is None)[:limit]

    async def removed(self, name: str) -> None:
        """See `outside.Objects`."""
        if name in self._log.loose and self._log.loose[name][1] is None:
            del self._log.loose[name]
