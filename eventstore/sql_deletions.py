"""What was deleted and what may be, on any SQL database.

Comes from: `store`. Goes to: `relational.Database`; `sqlite_deletions` and `postgres_deletions` delete.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from eventstore.deletions import Deleted, Ended
from eventstore.index_rows import execution_row
from eventstore.queries import statements
from eventstore.veils import unveiled

if TYPE_CHECKING:
    from collections.abc import Sequence
    from datetime import datetime
    from uuid import UUID

    from eventstore.codec import Codec
    from eventstore.relational import Database

SQL = statements("deletions.sql")


class SqlDeletions:
    """The part of `deletions.Deletions` that is the same for all."""

    def __init__(self, database: Database, codec: Codec) -> None:
        self._tables = database
        self._codec = codec

    async def ended(
        self, *, before: datetime, after: tuple[datetime, UUID] | None = None, limit: int
    ) -> Sequence[Ended]:
        """See `deletions.Deletions`."""
        rows = await self._page("ended", after, before=before, limit=limit)
        return [
            Ended(execution_row(self._tables, row[:-1], self._codec), self._tables.time_of(row[-1])) for row in rows
        ]

    async def deleted(self, execution_id: UUID) -> Deleted | None:
        """See `deletions.Deletions`."""
        rows = await self._tables.fetch(SQL["deleted"], {"execution_id": execution_id})
        return self._deleted(rows[0]) if rows else None

    async def all_deleted(self, *, after: tuple[datetime, UUID] | None = None, limit: int = 100) -> Sequence[Deleted]:
        """See `deletions.Deletions`."""
        return [self._deleted(row) for row in await self._page("all_deleted", after, limit=limit)]

    async def _page(self, name: str, after: tuple[datetime, UUID] | None, **asked: Any) -> Sequence[tuple[Any, ...]]:
        if after is None:
            return await self._tables.fetch(SQL[name], asked)
        return await self._tables.fetch(SQL[f"{name}_after"], {**asked, "after_time": after[0], "after_id": after[1]})

    def _deleted(self, row: tuple[Any, ...]) -> Deleted:
        key, workflow, definition, status, trigger, dedupe_key, started, finished, events, head, *rest = row
        deleted, archived_as, restored = rest
        time_of = self._tables.time_of
        return Deleted(
            execution_id=self._tables.id_of(key),
            workflow=workflow,
            definition=definition,
            status=status,
            trigger=trigger,
            dedupe_key=unveiled(dedupe_key, self._codec),
            started_at=time_of(started),
            finished_at=time_of(finished),
            events=events,
            head=head,
            deleted_at=time_of(deleted),
            archived_as=archived_as,
            restored_at=None if restored is None else time_of(restored),
        )
