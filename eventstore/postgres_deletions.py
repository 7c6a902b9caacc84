"""Deleting executions in Postgres: the function `sagad_delete_execution`, one round trip.

Comes from: `store`. Goes to: `postgres_database`.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from eventstore.postgres import SQL
from eventstore.sql_deletions import SqlDeletions

if TYPE_CHECKING:
    from eventstore.codec import Codec
    from eventstore.deletions import Deletion, Outcome
    from eventstore.postgres_database import PostgresDatabase


class PostgresDeletions(SqlDeletions):
    """`deletions.Deletions` on one database."""

    def __init__(self, database: PostgresDatabase, codec: Codec) -> None:
        super().__init__(database, codec)
        self._database = database

    async def delete(self, deletion: Deletion) -> Outcome:
        """See `deletions.Deletions`."""
        given = (deletion.execution_id, deletion.version, deletion.head, deletion.at, deletion.archived_as)
        [(outcome,)] = await self._database.call(SQL["delete_execution"], given)
        found: Outcome = outcome
        return found
