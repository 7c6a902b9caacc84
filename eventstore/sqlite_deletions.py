"""Deleting executions in one SQLite file.

A position is a rowid, and the next one follows the greatest there is: the execution with the newest event stays until
there is a newer one, so that no position is given twice.

Comes from: `store`. Goes to: `sqlite_database`.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from eventstore.queries import statements
from eventstore.sql_deletions import SqlDeletions
from eventstore.sqlite_rows import micros

if TYPE_CHECKING:
    import sqlite3

    from eventstore.codec import Codec
    from eventstore.deletions import Deletion, Outcome
    from eventstore.sqlite_database import SqliteDatabase

SQL = statements("sqlite/deletions.sql")
_REFUSALS: tuple[Outcome, ...] = ("gone", "changed", "owed", "forked", "pinned", "newest")
_DROPS = ("events", "execution", "snapshots", "timers", "approvals", "fork", "chunks", "streams")
_STEPS = (*(f"drop_{what}" for what in _DROPS), "loosen_objects", "drop_payloads", "drop_uses")


class SqliteDeletions(SqlDeletions):
    """`deletions.Deletions` on one file."""

    def __init__(self, database: SqliteDatabase, codec: Codec) -> None:
        super().__init__(database, codec)
        self._database = database

    async def delete(self, deletion: Deletion) -> Outcome:
        """See `deletions.Deletions`."""

        def work(connection: sqlite3.Connection) -> Outcome:
            asked = {"id": deletion.execution_id.hex, "version": deletion.version}
            for refusal in _REFUSALS:
                if connection.execute(SQL[f"is_{refusal}"], asked).fetchone() is not None:
                    return refusal
            remains = {"head": deletion.head, "at": micros(deletion.at), "archived_as": deletion.archived_as}
            connection.execute(SQL["remember"], {**asked, **remains})
            for step in _STEPS:
                connection.execute(SQL[step], asked)
            return "deleted"

        return await self._database.write(work)
