"""Index rows between structs and tables, the same for SQLite and Postgres.

Comes from: `index.IndexChange`. Goes to: `sqlite`, `postgres`, `relational`.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from msgspec.structs import replace

if TYPE_CHECKING:
    from collections.abc import AsyncIterable, AsyncIterator
    from uuid import UUID

    from eventstore.index import ExecutionRow, IndexChange


MAX_KEY_CHARS = 500
MAX_ERROR_CHARS = 2000


def clean(row: ExecutionRow) -> ExecutionRow:
    """Return the row with what came from users made storable: see `clean_text`; long keys and errors are cut."""
    error, key = clean_text(row.error, MAX_ERROR_CHARS), clean_text(row.dedupe_key, MAX_KEY_CHARS)
    return row if error is row.error and key is row.dedupe_key else replace(row, error=error, dedupe_key=key)


def clean_text(text: str | None, max_chars: int) -> str | None:
    """Return the very text when it can be stored and indexed, else cut, with U+FFFD for NUL and lone surrogates."""
    if text is None or (text.isascii() and "\0" not in text and len(text) <= max_chars):
        return text
    stored = text[:max_chars].replace("\0", "\ufffd").encode("utf-8", "surrogatepass").decode("utf-8", "replace")
    return text if stored == text else stored


async def chunks(
    changes: AsyncIterable[tuple[UUID, IndexChange]], *, size: int = 500
) -> AsyncIterator[dict[UUID, IndexChange]]:
    """Fold a stream of changes to chunks in which each execution changes once, to the same effect."""
    pending: dict[UUID, IndexChange] = {}
    async for execution_id, change in changes:
        before = pending.get(execution_id)
        if before is not None and before.execution is not None and before.execution.finished_at is not None:
            yield pending
            pending, before = {}, None
        pending[execution_id] = change if before is None else _fold(before, change)
        if len(pending) >= size:
            yield pending
            pending = {}
    if pending:
        yield pending


def _fold(first: IndexChange, then: IndexChange) -> IndexChange:
    timers = {timer.timer_id: timer for timer in first.timers_set}
    for timer_id in then.timers_cleared:
        timers.pop(timer_id, None)
    timers.update({timer.timer_id: timer for timer in then.timers_set})
    return replace(
        then,
        execution=first.execution if then.execution is None else then.execution,
        timers_set=tuple(timers.values()),
        timers_cleared=(*first.timers_cleared, *then.timers_cleared),
    )
