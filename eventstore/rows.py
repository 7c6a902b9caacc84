"""Index rows between structs and tables, the same for SQLite and Postgres.

Comes from: `index.IndexChange`. Goes to: `sqlite`, `postgres`, `relational`.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from msgspec.structs import asdict, replace

from eventstore.index import ExecutionRow, IndexChange

if TYPE_CHECKING:
    from collections.abc import AsyncIterable, AsyncIterator, Iterable
    from uuid import UUID

    from eventstore.index import ApprovalChange, ExecutionChange


MAX_KEY_CHARS = 500
MAX_ERROR_CHARS = 2000
MAX_PROMPT_CHARS = 1000
VEIL = "$veiled:"
"""How a text begins that was encrypted; see `veils`."""


def clean(row: ExecutionRow) -> ExecutionRow:
    """Return the row with what came from users made storable: see `clean_text`; long keys and errors are cut."""
    error, key = clean_text(row.error, MAX_ERROR_CHARS), clean_text(row.dedupe_key, MAX_KEY_CHARS)
    return row if error is row.error and key is row.dedupe_key else replace(row, error=error, dedupe_key=key)


def clean_change(change: ExecutionChange) -> ExecutionChange:
    """Do for a change what `clean` does for a row."""
    error = clean_text(change.error, MAX_ERROR_CHARS)
    return change if error is change.error else replace(change, error=error)


def clean_approval(change: ApprovalChange) -> ApprovalChange:
    """Do for an approval what `clean` does for a row; a long prompt is cut."""
    prompt = clean_text(change.row.prompt, MAX_PROMPT_CHARS) or ""
    names = (clean_text(name, MAX_KEY_CHARS) for name in change.approvers)
    row = change.row if prompt is change.row.prompt else replace(change.row, prompt=prompt)
    return replace(change, row=row, approvers=tuple(dict.fromkeys(name for name in names if name)))


def clean_text(text: str | None, max_chars: int) -> str | None:
    """Return the very text when it can be stored and indexed, else cut, with U+FFFD for NUL and lone surrogates."""
    if text is None or (text.isascii() and "\0" not in text and len(text) <= max_chars):
        return text
    if text.startswith(VEIL):
        return text
    stored = text[:max_chars].replace("\0", "\ufffd").encode("utf-8", "surrogatepass").decode("utf-8", "replace")
    return text if stored == text else stored


def latest_keys(rows: Iterable[ExecutionRow]) -> dict[str, str]:
    """Return the greatest dedupe key of each trigger."""
    latest: dict[str, str] = {}
    for row in rows:
        trigger, key = row.trigger, row.dedupe_key
        if trigger is None or key is None or key.startswith(VEIL):
            continue
        if trigger not in latest or key > latest[trigger]:
            latest[trigger] = key
    return latest


async def chunks(
    changes: AsyncIterable[tuple[UUID, IndexChange]], *, size: int = 500
) -> AsyncIterator[dict[UUID, IndexChange]]:
    """Fold a stream of changes to chunks in which each execution changes once, to the same effect."""
    pending: dict[UUID, IndexChange] = {}
    async for execution_id, change in changes:
        before = pending.get(execution_id)
        if before is not None and (is_end(before) or (before.slots and change.slots)):
            yield pending
            pending, before = {}, None
        pending[execution_id] = change if before is None else merged(before, change)
        if len(pending) >= size:
            yield pending
            pending = {}
    if pending:
        yield pending


def is_end(change: IndexChange) -> bool:
    """Tell whether the change ends the execution, so that its timers go."""
    row = change.execution or change.changed
    return row is not None and row.finished_at is not None


def merged(first: IndexChange, then: IndexChange) -> IndexChange:
    """Return one change to the effect of both, of which the first is no end, and at most one changes slots."""
    timers = {timer.timer_id: timer for timer in first.timers_set}
    for timer_id in then.timers_cleared:
        timers.pop(timer_id, None)
    timers.update({timer.timer_id: timer for timer in then.timers_set})
    row, changed = first.execution, then.changed or first.changed
    if then.execution is not None:
        row, changed = then.execution, None
    elif row is not None and changed is not None:
        row, changed = changed_row(row, changed), None
    return IndexChange(
        execution=row,
        timers_set=tuple(timers.values()),
        timers_cleared=(*first.timers_cleared, *then.timers_cleared),
        busy=first.busy if then.busy is None else then.busy,
        changed=changed,
        slots=first.slots or then.slots,
        approvals=tuple({one.row.address: one for one in (*first.approvals, *then.approvals)}.values()),
        forked=first.forked or then.forked,
    )


def changed_row(row: ExecutionRow, change: ExecutionChange) -> ExecutionRow:
    """Return the row as the change leaves it."""
    return replace(row, **asdict(change))
