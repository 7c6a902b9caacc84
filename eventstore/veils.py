"""Texts of users in the derived tables, encrypted with the rest of the store where that is encrypted at rest.

A veiled text is base64 of what the codec seals, after a mark. Keys that are times stay as they are: a schedule looks
for the latest of its own.

Comes from: `sqlite`, `postgres`, `relational`. Goes to: `codec`.
"""

from __future__ import annotations

from base64 import b64decode, b64encode
from datetime import datetime
from typing import TYPE_CHECKING

from msgspec.structs import replace

from eventstore.rows import VEIL, clean, clean_approval, clean_change

if TYPE_CHECKING:
    from collections.abc import AsyncIterable, AsyncIterator
    from uuid import UUID

    from eventstore.codec import Codec
    from eventstore.index import IndexChange
    from eventstore.log import Append


def veiled(append: Append, codec: Codec) -> Append:
    """Return the append with its texts for the index encrypted."""
    index = veiled_change(append.index, codec)
    return append if index is append.index else replace(append, index=index)


def veiled_change(change: IndexChange, codec: Codec) -> IndexChange:
    """Return the change with its texts encrypted."""
    if change.execution is not None:
        row = clean(change.execution)
        key = row.dedupe_key
        shown = key if key is None or is_time(key) else _veil(key, codec)
        change = replace(change, execution=replace(row, error=_veil(row.error, codec), dedupe_key=shown))
    if change.changed is not None and change.changed.error is not None:
        changed = clean_change(change.changed)
        change = replace(change, changed=replace(changed, error=_veil(changed.error, codec)))
    if change.approvals:
        approvals = [clean_approval(one) for one in change.approvals]
        rows = [replace(one.row, prompt=_veil(one.row.prompt, codec) or "") for one in approvals]
        change = replace(
            change, approvals=tuple(replace(one, row=row) for one, row in zip(approvals, rows, strict=True))
        )
    return change


async def veiled_all(
    changes: AsyncIterable[tuple[UUID, IndexChange]], codec: Codec
) -> AsyncIterator[tuple[UUID, IndexChange]]:
    """Veil the texts of many changes."""
    async for execution_id, change in changes:
        yield execution_id, veiled_change(change, codec)


def unveiled(text: str | None, codec: Codec) -> str | None:
    """Return the text again; one that is not veiled is as it is. Raises Undecodable."""
    if text is None or not codec.at_rest or not text.startswith(VEIL):
        return text
    try:
        sealed = b64decode(text.removeprefix(VEIL), validate=True)
    except ValueError:
        return text  # a user's own, of before the store was encrypted
    return codec.unseal(sealed).decode(errors="surrogatepass")


def is_time(key: str) -> bool:
    """Tell whether a dedupe key is a time, as those of schedules are."""
    try:
        return datetime.fromisoformat(key).tzinfo is not None
    except ValueError:
        return False


def _veil(text: str | None, codec: Codec) -> str | None:
    return text and VEIL + b64encode(codec.seal(text.encode(errors="surrogatepass"))).decode()
