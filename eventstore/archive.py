"""The log as it is stored, byte by byte: to be copied out, verified, and copied in.

Comes from: daemon/runtime/verification, daemon/runtime/exports. Goes to: `sqlite`, `postgres`, `memory`.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Protocol

if TYPE_CHECKING:
    from collections.abc import AsyncIterable, Mapping, Sequence
    from datetime import datetime
    from uuid import UUID

    from eventstore.codec import Stored
    from eventstore.log import Append


class Archive(Protocol):
    """Reads and writes stored forms. What is read is sealed as the codec does it, and may be damaged."""

    async def logged(self, *, after: UUID | None, limit: int) -> Sequence[tuple[UUID, int]]:
        """Return executions that have events, with their last versions, in order of the ids greater than `after`."""

    async def rows(self, execution_id: UUID, *, after_version: int, up_to_version: int) -> Sequence[Stored]:
        """Return the rows of one execution in order of version."""

    async def payloads(self, hashes: Sequence[str]) -> Mapping[str, bytes | None]:
        """Return those that are there, by hash; None for one that was deleted."""

    async def bury(self, payload_hash: str) -> None:
        """Leave a tombstone for a payload of which the store knows nothing."""

    async def adopt(self, appends: AsyncIterable[Append], *, at: datetime | None = None) -> None:
        """Write all appends, in their order, in one transaction; several may be of one execution.

        Writers wait meanwhile. Slots are taken whether they are free or not. `at` is now: executions that were deleted
        here come back, and count as ended since then; without it they are refused. Raises Conflict, and what the
        iterable raises: then nothing was written.
        """
