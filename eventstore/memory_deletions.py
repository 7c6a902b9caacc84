"""Deleting executions in memory.

Comes from: `store`. Goes to: `memory`.
"""

from __future__ import annotations

from operator import attrgetter
from typing import TYPE_CHECKING

from eventstore.deletions import Deleted, Ended

if TYPE_CHECKING:
    from collections.abc import Sequence
    from datetime import datetime
    from uuid import UUID

    from eventstore.deletions import Deletion, Outcome
    from eventstore.index import ExecutionRow
    from eventstore.memory import MemoryIndex, MemoryLog
    from eventstore.memory_snapshots import MemorySnapshots
    from eventstore.memory_streams import MemoryStreams


class MemoryDeletions:
    """`deletions.Deletions` in dicts."""

    def __init__(self, log: MemoryLog, index: MemoryIndex, snapshots: MemorySnapshots, streams: MemoryStreams) -> None:
        self._log = log
        self._index = index
        self._snapshots = snapshots
        self._streams = streams

    async def ended(
        self, *, before: datetime, after: tuple[datetime, UUID] | None = None, limit: int
    ) -> Sequence[Ended]:
        """See `deletions.Deletions`."""
        found = [Ended(row, self._since(row)) for row in self._index.rows() if row.finished_at is not None]
        key = attrgetter("row.started_at", "row.execution_id")
        over = [each for each in found if each.since < before and (after is None or key(each) > after)]
        return sorted(over, key=key)[:limit]

    async def delete(self, deletion: Deletion) -> Outcome:
        """See `deletions.Deletions`."""
        async with self._index.writing:
            row = await self._index.execution(deletion.execution_id)
            if row is None:
                return "gone"
            if (refusal := await self._refusal(deletion, row)) is not None:
                return refusal
            assert row.finished_at is not None  # noqa: S101  else it is refused
            self._index.deleted[deletion.execution_id] = Deleted(
                execution_id=row.execution_id,
                workflow=row.workflow,
                definition=row.definition,
                status=row.status,
                trigger=row.trigger,
                dedupe_key=row.dedupe_key,
                started_at=row.started_at,
                finished_at=row.finished_at,
                events=deletion.version,
                head=deletion.head,
                deleted_at=deletion.at,
                archived_as=deletion.archived_as,
                restored_at=None,
            )
            self._log.drop(deletion.execution_id)
            self._index.drop(deletion.execution_id)
            await self._snapshots.clear(deletion.execution_id)
            self._streams.drop(deletion.execution_id)
            return "deleted"

    async def deleted(self, execution_id: UUID) -> Deleted | None:
        """See `deletions.Deletions`."""
        return self._index.deleted[execution_id] if self._index.is_deleted(execution_id) else None

    async def all_deleted(self, *, after: tuple[datetime, UUID] | None = None, limit: int = 100) -> Sequence[Deleted]:
        """See `deletions.Deletions`."""
        key = attrgetter("deleted_at", "execution_id")
        found = [each for each in self._index.deleted.values() if each.restored_at is None]
        return sorted((each for each in found if after is None or key(each) < after), key=key, reverse=True)[:limit]

    async def _refusal(self, deletion: Deletion, row: ExecutionRow) -> Outcome | None:
        if row.finished_at is None or len(self._log.streams[row.execution_id]) != deletion.version:
            return "changed"
        if row.execution_id in self._index.leases:
            return "owed"
        if await self._index.forks(row.execution_id, limit=1):
            return "forked"
        return "pinned" if row.execution_id in self._index.pins else None

    def _since(self, row: ExecutionRow) -> datetime:
        known = self._index.deleted.get(row.execution_id)
        restored = None if known is None else known.restored_at
        assert row.finished_at is not None  # noqa: S101  only those that have ended are asked about
        return restored or row.finished_at
