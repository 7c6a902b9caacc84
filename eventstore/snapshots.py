"""Snapshots: cached folds. Losing all of them loses nothing but time."""

from __future__ import annotations

from datetime import datetime
from typing import TYPE_CHECKING, Protocol
from uuid import UUID

from msgspec import Struct

if TYPE_CHECKING:
    from collections.abc import Sequence


class Snapshot(Struct, frozen=True):
    """The fold of an execution's events up to and with `version`, encoded by the caller.

    `format` names the encoding of `state`: a reader that does not know it ignores the snapshot.
    """

    execution_id: UUID
    version: int
    format: str
    state: bytes
    taken_at: datetime
    label: str | None = None


class Snapshots(Protocol):
    """Where snapshots are kept."""

    async def save(self, snapshot: Snapshot, *, keep_last: int) -> None:
        """Store it, replacing one of the same version, and drop all but the newest `keep_last` unlabelled ones."""

    async def latest(self, execution_id: UUID, *, up_to_version: int | None = None) -> Snapshot | None:
        """Return the newest one, not beyond `up_to_version` when given."""

    async def all_of(self, execution_id: UUID) -> Sequence[Snapshot]:
        """Return all of an execution, oldest first."""

    async def clear(self, execution_id: UUID) -> int:
        """Delete all of an execution; return how many."""
