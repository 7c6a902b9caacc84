"""Stored forms in one SQLite file.

Comes from: `store`. Goes to: `sqlite`, `sqlite_database`.
"""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING

from eventstore.codec import Stored
from eventstore.sql_archive import SqlArchive
from eventstore.sqlite import SQL

if TYPE_CHECKING:
    from collections.abc import AsyncIterable, Mapping, Sequence
    from datetime import datetime
    from uuid import UUID

    from eventstore.log import Append
    from eventstore.sqlite import SqliteLog
    from eventstore.sqlite_database import Recorder, SqliteDatabase


class SqliteArchive(SqlArchive):
    """`archive.Archive` on one file."""

    def __init__(self, database: SqliteDatabase, log: SqliteLog) -> None:
        super().__init__(database)
        self._database = database
        self._log = log

    async def rows(self, execution_id: UUID, *, after_version: int, up_to_version: int) -> Sequence[Stored]:
        """See `archive.Archive`."""

        def work(recorder: Recorder) -> Sequence[Stored]:
            with recorder.datastore.transaction(commit=False) as cursor:
                cursor.execute(SQL["read"], (execution_id.hex, after_version, up_to_version))
                return [Stored(execution_id, *row) for row in cursor.fetchall()]

        return await self._database.read(work)

    async def payloads(self, hashes: Sequence[str]) -> Mapping[str, bytes | None]:
        """See `archive.Archive`."""
        return await self._log.payloads(hashes)

    async def adopt(self, appends: AsyncIterable[Append], *, at: datetime | None = None) -> None:
        """See `archive.Archive`."""
        async with self._database.alone() as run:
            async for append in appends:
                await run(partial(self._log.adopt, append=append, at=at))
        self._log.tell()
