"""How much payloads take in memory.

Comes from: `store`. Goes to: `memory`.
"""

from __future__ import annotations

from collections import defaultdict
from typing import TYPE_CHECKING

from eventstore.usage import Used

if TYPE_CHECKING:
    from collections.abc import Sequence
    from datetime import datetime
    from uuid import UUID

    from eventstore.index import ExecutionRow
    from eventstore.memory import MemoryIndex, MemoryLog


class MemoryUsage:
    """`usage.Usage` in dicts."""

    def __init__(self, log: MemoryLog, index: MemoryIndex) -> None:
        self._log = log
        self._index = index

    async def used(self) -> Sequence[Used]:
        """See `usage.Usage`."""
        found: defaultdict[str, set[str]] = defaultdict(set)
        for execution_id, keys in self._log.uses.items():
            if (row := await self._index.execution(execution_id)) is not None:
                found[row.workflow] |= {key for key in keys if self._is_there(key) or key in self._log.objects}
        return [self._used(workflow, keys) for workflow, keys in sorted(found.items()) if keys]

    def _used(self, workflow: str, keys: set[str]) -> Used:
        here = [self._size(key) for key in keys if self._is_there(key)]
        return Used(workflow, len(here), sum(here), len(keys) - len(here))

    def _is_there(self, key: str) -> bool:
        return self._log.kept.get(key) is not None

    async def oldest(self, workflow: str, *, limit: int, unpacked: bool = False) -> Sequence[tuple[str, int]]:
        """See `usage.Usage`."""
        found = [each for each in await self._unneeded(workflow) if not unpacked or each[1] not in self._log.packed]
        return [(key, self._size(key)) for _, key in sorted(found)[:limit]]

    async def least_read(self, workflow: str, *, limit: int) -> Sequence[tuple[str, int]]:
        """See `usage.Usage`."""
        reads = self._log.read_at
        found = [(max(ended, reads.get(key, ended)), key) for ended, key in await self._unneeded(workflow)]
        return [(key, self._size(key)) for _, key in sorted(found)[:limit]]

    async def _unneeded(self, workflow: str) -> list[tuple[datetime, str]]:
        keys = {key for keys in self._log.uses.values() for key in keys}
        ends = [(await self._ended(workflow, key), key) for key in keys]
        return [(ended, key) for ended, key in ends if ended is not None]

    async def note_reads(self, hashes: Sequence[str], *, at: datetime) -> None:
        """See `usage.Usage`."""
        reads = self._log.read_at
        reads.update({key: max(at, reads.get(key, at)) for key in hashes if self._is_there(key)})

    async def forget_reads(self) -> None:
        """See `usage.Usage`."""
        self._log.read_at = {key: at for key, at in self._log.read_at.items() if self._is_there(key)}

    async def evict(self, workflow: str, payload_hash: str) -> bool:
        """See `usage.Usage`."""
        async with self._index.writing:
            if not await self.may_go(workflow, payload_hash):
                return False
            self._log.kept[payload_hash] = None
            self._log.packed.discard(payload_hash)
            return True

    async def pack(self, payload_hash: str, data: bytes | None) -> bool:
        """See `usage.Usage`."""
        if self._log.kept.get(payload_hash) is None or payload_hash in self._log.packed:
            return False
        self._log.packed.add(payload_hash)
        if data is not None:
            self._log.kept[payload_hash] = data
        return True

    async def may_go(self, workflow: str, key: str) -> bool:
        """Tell whether nobody needs its bytes here to go on."""
        return await self._ended(workflow, key) is not None

    async def _ended(self, workflow: str, key: str) -> datetime | None:
        """Return when the last that refers to it ended; None when it may not be dropped."""
        users: list[UUID] = [each for each, keys in self._log.uses.items() if key in keys]
        rows: list[ExecutionRow | None] = [await self._index.execution(each) for each in users]
        ends: list[datetime] = []
        for each, row in zip(users, rows, strict=True):
            if row is None or row.finished_at is None or row.workflow != workflow:
                return None
            if each in self._index.pins or await self._index.forks(each, limit=1):
                return None
            ends.append(row.finished_at)
        return max(ends) if ends and self._is_there(key) else None

    def _size(self, key: str) -> int:
        return len(self._log.kept[key] or b"")
