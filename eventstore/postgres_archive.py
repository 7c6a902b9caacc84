"""Stored forms in Postgres.

Comes from: `store`. Goes to: `postgres`, `postgres_database`.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from msgspec.structs import replace

from eventstore.codec import Stored
from eventstore.errors import Conflict
from eventstore.postgres import SQL
from eventstore.sql_archive import SqlArchive

if TYPE_CHECKING:
    from collections.abc import AsyncIterable, Mapping, Sequence
    from datetime import datetime
    from uuid import UUID

    from eventstore.log import Append
    from eventstore.postgres import PostgresLog
    from eventstore.postgres_database import PostgresDatabase


class PostgresArchive(SqlArchive):
    """`archive.Archive` on one database."""

    def __init__(self, database: PostgresDatabase, log: PostgresLog) -> None:
        super().__init__(database)
        self._database = database
        self._log = log

    async def rows(self, execution_id: UUID, *, after_version: int, up_to_version: int) -> Sequence[Stored]:
        """See `archive.Archive`."""
        found = await self._database.select(SQL["read"], (execution_id, after_version, up_to_version))
        return [Stored(execution_id, *row) for row in found]

    async def payloads(self, hashes: Sequence[str]) -> Mapping[str, bytes | None]:
        """See `archive.Archive`."""
        return await self._log.payloads(hashes)

    async def adopt(self, appends: AsyncIterable[Append], *, at: datetime | None = None) -> None:
        """See `archive.Archive`."""
        async with self._database.alone() as append_alone:
            async for given in appends:
                [append] = self._log.veiled([given])
                changes = [(append.execution_id, change) for change in append.index.slots]
                plain = replace(append, index=replace(append.index, slots=())) if changes else append
                arguments, uses = self._log.arguments([plain])
                rare = [*self._log.rare([plain]), *uses]
                restored = at if not append.after_version else None
                if await append_alone(arguments, changes, rare, restored=(restored, append.execution_id)):
                    raise Conflict(append.execution_id, append.after_version)
