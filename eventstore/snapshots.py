"""Snapshots: cached folds. Losing all of them loses nothing but time, and the names that were given to versions."""

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
    """With a name it is a checkpoint: it stays until it is cleared."""
    covers_to: datetime | None = None
    """The latest time of all its events; None when that is not known."""


class Stored(Struct, frozen=True):
    """One that is stored, without its state."""

    version: int
    format: str
    stored_bytes: int
    """Of its state as it is stored: compressed and encrypted, if the settings say so."""
    taken_at: datetime
    label: str | None
    covers_to: datetime | None


class Snapshots(Protocol):
    """Where snapshots are kept."""

    async def save(self, snapshot: Snapshot, *, keep_last: int) -> None:
        """Store it, and drop all but the newest `keep_last` unlabelled ones.

        It replaces one of the same version, whose label it takes over when it has none itself.
        """

    async def latest(
        self, execution_id: UUID, *, up_to_version: int | None = None, covers_to: datetime | None = None
    ) -> Snapshot | None:
        """Return the newest one, not beyond `up_to_version` when given, and with no event after `covers_to`."""

    async def get(self, execution_id: UUID, version: int) -> Snapshot | None:
        """Return the one of this version."""

    async def all_of(self, execution_id: UUID) -> Sequence[Snapshot]:
        """Return all of an execution, oldest first."""

    async def stored(self, execution_id: UUID) -> Sequence[Stored]:
        """Return what is stored of an execution, oldest first, without reading the states."""

    async def clear(self, execution_id: UUID, *, version: int | None = None) -> int:
        """Delete all of an execution, or the one of this version; return how many."""


class NoSnapshots:
    """`Snapshots` of a reader that folds events only."""

    async def save(self, snapshot: Snapshot, *, keep_last: int) -> None:
        """Keep nothing."""

    async def latest(
        self,
        execution_id: UUID,  # noqa: ARG002  the port's signature, as below
        *,
        up_to_version: int | None = None,  # noqa: ARG002
        covers_to: datetime | None = None,  # noqa: ARG002
    ) -> Snapshot | None:
        """Return none."""
        return None

    async def get(self, execution_id: UUID, version: int) -> Snapshot | None:  # noqa: ARG002
        """Return none."""
        return None

    async def all_of(self, execution_id: UUID) -> Sequence[Snapshot]:  # noqa: ARG002
        """Return none."""
        return ()

    async def stored(self, execution_id: UUID) -> Sequence[Stored]:  # noqa: ARG002
        """Return none."""
        return ()

    async def clear(self, execution_id: UUID, *, version: int | None = None) -> int:  # noqa: ARG002
        """Delete none."""
        return 0
