"""Messages that could not be processed, kept beside the log: to be looked at, mended, and given in again.

Comes from: daemon/runtime/dead_letters. Goes to: `memory_dead_letters`, `sql_dead_letters`.
"""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime
from typing import TYPE_CHECKING, Protocol
from uuid import UUID

from msgspec import Struct

if TYPE_CHECKING:
    from collections.abc import Sequence


class Content(Struct, frozen=True, kw_only=True):
    """The message itself. It is stored compressed and encrypted as payloads are."""

    body: bytes
    headers: Mapping[str, str] = {}
    key: str | None = None
    identity: str | None = None
    """The broker's own id of it."""
    content_type: str | None = None
    received_at: datetime


class Letter(Struct, frozen=True, kw_only=True):
    """One dead letter."""

    id: UUID
    """The same for each delivery of the message to its trigger."""
    trigger: str
    source: str
    """Where it came from: `kafka:orders/3@42`."""
    place: str
    """Where the broker has it too: `kafka:orders.dlq`; empty for nowhere."""
    code: str
    reason: str
    times: int = 1
    """How often it was set aside."""
    first_at: datetime
    last_at: datetime
    state: str = "waiting"
    """`waiting` | `redriven` | `discarded`."""
    settled_at: datetime | None = None
    settled_by: str | None = None
    outcome: str | None = None
    """What came of it when it was last given in again."""
    execution_id: UUID | None = None
    content: Content
    edited: bytes | None = None
    """The body that is given in again in place of its own, which stays."""


class Settled(Struct, frozen=True, kw_only=True):
    """What becomes of a letter."""

    state: str
    at: datetime
    by: str
    outcome: str | None = None
    execution_id: UUID | None = None


class LetterFilter(Struct, frozen=True, kw_only=True):
    """Which letters, those set aside last first. Absent fields do not restrict."""

    trigger: str | None = None
    state: str | None = None
    since: datetime | None = None
    """Set aside last at or after."""
    reason: str | None = None
    """Part of the reason or the code, whatever its case."""
    limit: int = 100
    after: tuple[datetime, UUID] | None = None
    """Keyset page: `(last_at, id)` of the last one of the page before."""


class DeadLetters(Protocol):
    """Where they are kept. Every call raises Unavailable when the store does not answer, and may be repeated."""

    async def put(self, letter: Letter) -> None:
        """Keep it. One that is there waits again, with the newer reason and one time more; its content stays."""

    async def get(self, letter_id: UUID) -> Letter | None:
        """Return it, or None. Raises Undecodable when it cannot be decrypted."""

    async def find(self, which: LetterFilter) -> Sequence[Letter]:
        """Return at most `which.limit`. Raises Undecodable."""

    async def edit(self, letter_id: UUID, body: bytes | None) -> bool:
        """Set the body that is given in again, None for its own; False when it does not wait."""

    async def settle(self, letter_id: UUID, settled: Settled) -> bool:
        """Note what became of one that waits; False when none does. Settled as `waiting` it goes on waiting."""

    async def prune(self, *, before: datetime, keep: int) -> int:
        """Drop those set aside last before a time, and the oldest of more than `keep`; return how many."""

    async def oldest(self) -> datetime | None:
        """Return when the one was set aside that waits for its end longest."""
