"""Rows of the table of executions as structs, whichever database they come from.

Comes from: `relational`, `sql_deletions`. Goes to: `index`, `veils`.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from eventstore.index import ExecutionRow
from eventstore.veils import unveiled

if TYPE_CHECKING:
    from eventstore.codec import Codec
    from eventstore.relational import Database


def execution_row(database: Database, row: tuple[Any, ...], codec: Codec) -> ExecutionRow:
    """Return a row of the table `executions` as it was fetched."""
    execution_id, workflow, definition, status, cause, trigger, key, started, updated, finished, error = row
    return ExecutionRow(
        execution_id=database.id_of(execution_id),
        workflow=workflow,
        definition=definition,
        status=status,
        cause=cause,
        trigger=trigger,
        dedupe_key=unveiled(key, codec),
        started_at=database.time_of(started),
        updated_at=database.time_of(updated),
        finished_at=None if finished is None else database.time_of(finished),
        error=unveiled(error, codec),
    )
