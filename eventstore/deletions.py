"""Deleting executions that have ended, whole: the one way by which events leave a log that is only appended to.

What is deleted leaves a row that says so. It keeps the execution from beginning again (whoever appends to it is
answered `Conflict`), remembers its dedupe key, and tells where it was archived. `archive.Archive.adopt` brings it back.

Comes from: daemon/runtime/expiry. Goes to: `sqlite_deletions`, `postgres_deletions`, `memory_deletions`.
"""

from __future__ import annotations

from datetime import datetime
from typing import TYPE_CHECKING, Literal, Protocol, TypeAlias
from uuid import UUID

from msgspec import Struct

from eventstore.index import ExecutionRow

if TYPE_CHECKING:
    from collections.abc import Sequence

Outcome: TypeAlias = Literal["deleted", "gone", "changed", "owed", "forked", "pinned", "newest"]
"""What became of a deletion. But for the first, nothing was done: there is no such execution (any more); it has not
ended, or has gone on; it has a lease, so something is still owed; another goes on from its past; it is pinned; or it
holds the newest event of a log whose next position would be that one's again."""


class Ended(Struct, frozen=True):
    """An execution that has ended, and since when: a restored one, since then."""

    row: ExecutionRow
    since: datetime


class Deletion(Struct, frozen=True, kw_only=True):
    """An execution that is to be deleted, as the caller knows it."""

    execution_id: UUID
    version: int
    """Of its last event."""
    head: str
    """The hash of its last event: what is found in the archive later can be held against it."""
    at: datetime
    archived_as: str | None = None
    """Where it is now; None: nowhere."""


class Deleted(Struct, frozen=True, kw_only=True):
    """What remains of one."""

    execution_id: UUID
    workflow: str
    definition: str
    status: str
    trigger: str | None
    dedupe_key: str | None
    started_at: datetime
    finished_at: datetime
    events: int
    head: str
    deleted_at: datetime
    archived_as: str | None
    restored_at: datetime | None
    """None: it is deleted now."""


class Deletions(Protocol):
    """Deletes executions, and knows which were."""

    async def ended(
        self, *, before: datetime, after: tuple[datetime, UUID] | None = None, limit: int
    ) -> Sequence[Ended]:
        """Return executions that ended before a time, oldest start first: those that sort after `after`.

        That is `(started_at, execution_id)` of the last row of the page before.
        """

    async def delete(self, deletion: Deletion) -> Outcome:
        """Delete events, index rows, snapshots, chunks, and payloads that no other execution refers to.

        All or nothing, in one transaction, in which writers wait. Definitions, dedupe keys, and the slots of collected
        messages stay; payloads that were there before their uses were counted stay too. Harmless when repeated.
        """

    async def deleted(self, execution_id: UUID) -> Deleted | None:
        """Return what remains of an execution that is deleted now; None for any other."""

    async def all_deleted(self, *, after: tuple[datetime, UUID] | None = None, limit: int = 100) -> Sequence[Deleted]:
        """Return those that are deleted now, latest first.

        `after` is `(deleted_at, execution_id)` of the last row of the page before.
        """
