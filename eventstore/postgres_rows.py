"""Appends as the arguments of the SQL functions that write them: whole columns, in Postgres's binary form.

What repeats in the rows of a batch (workflow, definition, status, …) is sent once as a *kind*; a row names its kind by
number, from 1. Columns that are NULL in every row are sent as empty arrays.

Comes from: `postgres`, `postgres_database`. Goes to: the parameters of `sql/postgres/append.sql`.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from eventstore.arrays import Bigints, Booleans, Texts, Times, Uuids
from eventstore.index import UNCHANGED
from eventstore.rows import clean, clean_approval, clean_change, latest_keys

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence
    from uuid import UUID

    from eventstore.arrays import Array
    from eventstore.index import ExecutionChange, ExecutionRow, IndexChange
    from eventstore.log import KeyUsed

_NO_IDS, _NO_NUMBERS, _NO_TEXTS, _NO_TIMES = Uuids.of(()), Bigints.of(()), Texts.of(()), Times.of(())
_NO_ROWS: Sequence[Array] = (
    *[_NO_TEXTS] * 5,
    *(_NO_IDS, _NO_NUMBERS, _NO_TEXTS, _NO_TIMES, _NO_TIMES, _NO_TIMES, _NO_TEXTS, _NO_TEXTS, _NO_TEXTS),
)
_NO_CHANGES: Sequence[Array] = (_NO_TEXTS, _NO_TEXTS, _NO_IDS, _NO_NUMBERS, _NO_TIMES, _NO_TIMES, _NO_TEXTS)
_NO_TIMERS: Sequence[Array] = (_NO_IDS, _NO_TEXTS, _NO_IDS, _NO_TEXTS, _NO_TIMES)


def index_arrays(changes: Iterable[tuple[UUID, IndexChange, UUID | None]]) -> list[Array]:
    """Return the arguments of `sagad_put_index`; each change is of another execution, and made by a daemon or None."""
    rows: list[tuple[bytes, ExecutionRow]] = []
    changed: list[tuple[bytes, ExecutionChange]] = []
    timed: list[tuple[bytes, IndexChange]] = []
    finished, freed, leased, hinted = [], [], [], []
    holders: list[bytes | None] = []
    for execution_id, change, by in changes:
        if change is UNCHANGED:
            continue
        key = execution_id.int.to_bytes(16, "big")
        if change.execution is not None:
            rows.append((key, clean(change.execution)))
            if change.execution.finished_at is not None:
                finished.append(key)
        elif change.changed is not None:
            changed.append((key, clean_change(change.changed)))
            if change.changed.finished_at is not None:
                finished.append(key)
        if change.timers_set or change.timers_cleared:
            timed.append((key, change))
        if change.busy:
            leased.append(key)
            holders.append(None if by is None else by.bytes)
        elif change.busy is False:
            freed.append(key)
        if change.hint:
            hinted.append(key)
    return [
        *(_row_arrays(rows) if rows else _NO_ROWS),
        *(_change_arrays(changed) if changed else _NO_CHANGES),
        *(_timer_arrays(timed) if timed else _NO_TIMERS),
        Uuids.of(finished),
        Uuids.of(freed),
        Uuids.of(leased),
        Uuids.of_nullable(holders),
        Uuids.of(hinted),
    ]


def rare_changes(changes: Sequence[tuple[UUID, IndexChange]]) -> list[tuple[str, list[Array]]]:
    """Return the statements for what seldom changes, with their arguments; none, as mostly."""
    found = (("put_approvals", _approval_arrays(changes)), ("put_forks", _fork_arrays(changes)))
    return [(name, arrays) for name, arrays in found if arrays is not None]


def key_arrays(used: Sequence[tuple[UUID, KeyUsed]]) -> list[Array]:
    """Return the arguments of `sagad_use_keys`."""
    each = [(execution_id, key_id, key.checked) for execution_id, key in used for key_id in key.key_ids]
    return [
        Uuids.of([execution_id.bytes for execution_id, _, _ in each]),
        Texts.of([key_id for _, key_id, _ in each]),
        Booleans.of([checked for _, _, checked in each]),
    ]


def _fork_arrays(changes: Sequence[tuple[UUID, IndexChange]]) -> list[Array] | None:
    forks = [change.forked for _, change in changes if change.forked is not None]
    if not forks:
        return None
    return [
        Uuids.of([fork.execution_id.bytes for fork in forks]),
        Uuids.of([fork.source.bytes for fork in forks]),
        Bigints.of([fork.at_version for fork in forks]),
        Times.of([fork.forked_at for fork in forks]),
    ]


def _approval_arrays(changes: Sequence[tuple[UUID, IndexChange]]) -> list[Array] | None:
    """Return the arguments of `sagad_put_approvals`; None when no approval changes, as mostly."""
    found = [(id_.bytes, clean_approval(one)) for id_, change in changes for one in change.approvals]
    if not found:
        return None
    rows = [(key, name, one.row) for key, one in found for name in ("", *one.approvers)]
    return [
        Uuids.of([key for key, _ in found]),
        Texts.of([one.row.address for _, one in found]),
        Uuids.of([key for key, _, _ in rows]),
        Texts.of([row.address for _, _, row in rows]),
        Texts.of([name for _, name, _ in rows]),
        Bigints.of([row.question for _, _, row in rows]),
        Texts.of([row.status for _, _, row in rows]),
        Texts.of([row.workflow for _, _, row in rows]),
        Texts.of([row.prompt for _, _, row in rows]),
        Times.of([row.requested_at for _, _, row in rows]),
        Times.of([row.due_at for _, _, row in rows]),
        Times.of([row.decided_at for _, _, row in rows]),
    ]


def _row_arrays(rows: Sequence[tuple[bytes, ExecutionRow]]) -> Sequence[Array]:
    kinds: dict[tuple[str, str, str, str, str | None], int] = {}
    numbers = [
        kinds.setdefault((row.workflow, row.definition, row.status, row.cause, row.trigger), len(kinds) + 1)
        for _, row in rows
    ]
    latest = latest_keys(row for _, row in rows)
    return (
        *(Texts.of(column) for column in zip(*kinds, strict=True)),
        Uuids.of([key for key, _ in rows]),
        Bigints.of(numbers),
        Texts.of_any([row.dedupe_key for _, row in rows]),
        Times.of([row.started_at for _, row in rows]),
        Times.of([row.updated_at for _, row in rows]),
        Times.of_any([row.finished_at for _, row in rows]),
        Texts.of_any([row.error for _, row in rows]),
        Texts.of(list(latest)),
        Texts.of(list(latest.values())),
    )


def _change_arrays(changes: Sequence[tuple[bytes, ExecutionChange]]) -> Sequence[Array]:
    kinds: dict[tuple[str, str], int] = {}
    numbers = [kinds.setdefault((change.status, change.cause), len(kinds) + 1) for _, change in changes]
    return (
        *(Texts.of(column) for column in zip(*kinds, strict=True)),
        Uuids.of([key for key, _ in changes]),
        Bigints.of(numbers),
        Times.of([change.updated_at for _, change in changes]),
        Times.of_any([change.finished_at for _, change in changes]),
        Texts.of_any([change.error for _, change in changes]),
    )


def _timer_arrays(changes: Sequence[tuple[bytes, IndexChange]]) -> Sequence[Array]:
    cleared = [(key, timer_id) for key, change in changes for timer_id in change.timers_cleared]
    timers = [(key, timer) for key, change in changes for timer in change.timers_set]
    return (
        Uuids.of([key for key, _ in cleared]),
        Texts.of([timer_id for _, timer_id in cleared]),
        Uuids.of([key for key, _ in timers]),
        Texts.of([timer.timer_id for _, timer in timers]),
        Times.of([timer.due_at for _, timer in timers]),
    )
