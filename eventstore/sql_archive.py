"""What reading stored forms is on any SQL database.

Comes from: `store`. Goes to: `relational.Database`; `sqlite_archive` and `postgres_archive` have the rest.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from eventstore.relational import SQL

if TYPE_CHECKING:
    from collections.abc import Sequence
    from uuid import UUID

    from eventstore.relational import Database


class SqlArchive:
    """The part of `archive.Archive` that is the same for all."""

    def __init__(self, database: Database) -> None:
        self._tables = database

    async def logged(self, *, after: UUID | None, limit: int) -> Sequence[tuple[UUID, int]]:
        """See `archive.Archive`."""
        name = "logged" if after is None else "logged_after"
        rows = await self._tables.fetch(SQL[name], {"after": after, "limit": limit})
        return [(self._tables.id_of(key), version) for key, version in rows]

    async def bury(self, payload_hash: str) -> None:
        """See `archive.Archive`."""
        await self._tables.execute((SQL["bury_payload"], {"hash": payload_hash}))
