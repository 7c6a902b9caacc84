"""Rows of the derived tables in SQLite, as the statements take them.

Comes from: `sqlite`, `sqlite_database`. Goes to: the file.
"""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Any

import msgspec

from eventstore.errors import Conflict
from eventstore.index import UNCHANGED
from eventstore.queries import statements
from eventstore.rows import clean, clean_approval, clean_change, is_end, latest_keys

if TYPE_CHECKING:
    import sqlite3
    from collections.abc import Iterable, Iterator, Sequence
    from uuid import UUID

    from eventstore.index import ApprovalChange, ExecutionChange, ExecutionRow, IndexChange
    from eventstore.log import Append

SQL = statements("sqlite/append.sql")
EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_MICROSECOND = timedelta(microseconds=1)


def put_index(connection: sqlite3.Connection, changes: Iterable[tuple[UUID, IndexChange, UUID | None]]) -> None:
    """Make the changes in the open transaction, in the order of `index.IndexChange`."""
    rows: list[ExecutionRow] = []
    changed, finished, timers_set, timers_cleared = [], [], [], []
    freed, leased, hinted, approvals, forks = [], [], [], [], []
    for execution_id, change, by in changes:
        if change is UNCHANGED:
            continue
        key = execution_id.hex
        timers_cleared += [(key, timer_id) for timer_id in change.timers_cleared]
        timers_set += [(key, timer.timer_id, micros(timer.due_at)) for timer in change.timers_set]
        if change.execution is not None:
            rows.append(clean(change.execution))
        elif change.changed is not None:
            changed.append(_changed(key, clean_change(change.changed)))
        if is_end(change):
            finished.append((key,))
        approvals += [(key, clean_approval(one)) for one in change.approvals]
        if (fork := change.forked) is not None:
            forks.append((key, fork.source.hex, fork.at_version, micros(fork.forked_at)))
        if change.busy:
            leased.append((key, None if by is None else by.hex))
        elif change.busy is False:
            freed.append((key,))
        if change.hint:
            hinted.append((key,))
    for name, values in (
        ("clear_timer", timers_cleared),
        ("set_timer", timers_set),
        ("put_execution", [_row(row) for row in rows]),
        ("put_latest_key", list(latest_keys(rows).items())),
        ("change_execution", changed),
        ("drop_timers", finished),
        ("free_lease", freed),
        ("put_lease", leased),
        ("hint", hinted),
        ("drop_approval", [(key, one.row.address) for key, one in approvals]),
        ("put_fork", forks),
        ("put_approval", [row for key, one in approvals for row in _approval_rows(key, one)]),
    ):
        if values:
            connection.executemany(SQL[name], values)


def use_keys(connection: sqlite3.Connection, appends: Sequence[Append]) -> None:
    """Note which executions use which keys, in the open transaction. Raises Conflict when one is not there any more."""
    used = [(append, append.key) for append in appends if append.key is not None]
    checked = msgspec.json.encode([key_id for _, key in used if key.checked for key_id in key.key_ids]).decode()
    there = {key_id for (key_id,) in connection.execute(SQL["keys_there"], (checked,))}
    losers = [append for append, key in used if key.checked and not there.issuperset(key.key_ids)]
    if losers:
        first = losers[0]
        raise Conflict(first.execution_id, first.after_version, losers=[lost.execution_id for lost in losers])
    connection.executemany(
        SQL["use_key"], [(append.execution_id.hex, key_id) for append, key in used for key_id in key.key_ids]
    )


def _row(row: ExecutionRow) -> tuple[Any, ...]:
    return (
        row.execution_id.hex,
        micros(row.started_at),
        row.workflow,
        row.definition,
        row.trigger,
        row.dedupe_key,
        micros(row.updated_at),
        None if row.finished_at is None else micros(row.finished_at),
        row.status,
        row.cause,
        row.error,
    )


def _approval_rows(key: str, change: ApprovalChange) -> Iterator[tuple[Any, ...]]:
    row = change.row
    times = [None if time is None else micros(time) for time in (row.requested_at, row.due_at, row.decided_at)]
    for approver in ("", *change.approvers):
        yield key, row.address, approver, row.question, row.status, row.workflow, row.prompt, *times


def _changed(key: str, change: ExecutionChange) -> tuple[Any, ...]:
    finished = None if change.finished_at is None else micros(change.finished_at)
    return change.status, change.cause, micros(change.updated_at), finished, change.error, key


def micros(time: datetime) -> int:
    """Return the time as the tables have it: microseconds since 1970."""
    return (time - EPOCH) // _MICROSECOND
