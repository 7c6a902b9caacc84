"""Stored forms in memory.

Comes from: `store`. Goes to: `memory`.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from msgspec.structs import replace

from eventstore.errors import Conflict

if TYPE_CHECKING:
    from collections.abc import AsyncIterable, Mapping, Sequence
    from datetime import datetime
    from uuid import UUID

    from eventstore.codec import Stored
    from eventstore.log import Append
    from eventstore.memory import MemoryIndex, MemoryLog


class MemoryArchive:
    """`archive.Archive` in dicts."""

    def __init__(self, log: MemoryLog, index: MemoryIndex) -> None:
        self._log = log
        self._index = index

    async def logged(self, *, after: UUID | None, limit: int) -> Sequence[tuple[UUID, int]]:
        """See `archive.Archive`."""
        known = sorted(key for key, rows in self._log.streams.items() if rows and (after is None or key > after))
        return [(key, self._log.streams[key][-1].version) for key in known[:limit]]

    async def rows(self, execution_id: UUID, *, after_version: int, up_to_version: int) -> Sequence[Stored]:
        """See `archive.Archive`."""
        rows = self._log.streams.get(execution_id, [])
        return [row for row in rows if after_version < row.version <= up_to_version]

    async def payloads(self, hashes: Sequence[str]) -> Mapping[str, bytes | None]:
        """See `archive.Archive`."""
        return await self._log.reach.fill(self._log.rows(hashes))

    async def bury(self, payload_hash: str) -> None:
        """See `archive.Archive`."""
        self._log.kept.setdefault(payload_hash, None)

    async def adopt(self, appends: AsyncIterable[Append], *, at: datetime | None = None) -> None:
        """See `archive.Archive`. All is at hand before anything is written."""
        ready = [append async for append in appends]
        deleted = self._index.deleted
        for append in ready:
            here = self._log.streams.get(append.execution_id) or (
                at is None and self._index.is_deleted(append.execution_id)
            )
            if not append.after_version and here:
                raise Conflict(append.execution_id, 0)
        for append in ready:
            if self._index.is_deleted(append.execution_id):
                deleted[append.execution_id] = replace(deleted[append.execution_id], restored_at=at)
            self._index.slots.put(((append.execution_id, change) for change in append.index.slots), checked=False)
            await self._log.insert([replace(append, index=replace(append.index, slots=()))])
