"""How much payloads take, by workflow, and making room of those that nobody needs to go on.

Counted are payloads that were written since their uses are; one that several executions of a workflow refer to, once.

Comes from: daemon/runtime/quotas, daemon/api. Goes to: `sql_usage`, `memory_usage`.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Protocol

from msgspec import Struct

if TYPE_CHECKING:
    from collections.abc import Sequence
    from datetime import datetime


class Used(Struct, frozen=True):
    """What a workflow's executions refer to."""

    workflow: str
    payloads: int
    bytes: int
    """As they are stored in the database: compressed, where the store does that."""
    outside: int = 0
    """Payloads that were moved out of the database; they count nowhere else."""


class Usage(Protocol):
    """Counts payloads, drops some, and makes some smaller."""

    async def used(self) -> Sequence[Used]:
        """Return what each workflow uses, by name; those without payloads are left out."""

    async def oldest(self, workflow: str, *, limit: int, unpacked: bool = False) -> Sequence[tuple[str, int]]:
        """Return hashes and sizes of payloads that may be dropped, those of the executions that ended first at first.

        All that refer to such a one have ended, are of this workflow and not pinned, and no other goes on from their
        past. With `unpacked` only those that may still be packed.
        """

    async def least_read(self, workflow: str, *, limit: int) -> Sequence[tuple[str, int]]:
        """Do what `oldest` does, with those first that were not read for longest; one never read since its last end."""

    async def note_reads(self, hashes: Sequence[str], *, at: datetime) -> None:
        """Remember that these were read; an earlier time than is known is ignored, and so is what is not here."""

    async def forget_reads(self) -> None:
        """Forget that of payloads that are not here any more."""

    async def evict(self, workflow: str, payload_hash: str) -> bool:
        """Drop a payload's bytes, if it still may be dropped, and leave a tombstone; False when it may not."""

    async def pack(self, payload_hash: str, data: bytes | None) -> bool:
        """Store it in these bytes, which hold the same value; None: it is not smaller packed. Remember either.

        False when it was packed, or dropped, meanwhile.
        """
