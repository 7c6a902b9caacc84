"""Subjects: whose data executions hold, and the keys without which nobody can read it.

The store has each key wrapped (see `keyring`), and which executions it seals. To destroy a key is to forget a subject:
what it had sealed stays where it is, and nobody can read it.
"""

from __future__ import annotations

from datetime import datetime
from typing import TYPE_CHECKING, Protocol

from msgspec import Struct

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from uuid import UUID


class SubjectKey(Struct, frozen=True, kw_only=True):
    """One data key as it is stored."""

    key_id: str
    hash: str | None
    """By what its subject is found: see `keyring.Keyring.hashes`. None for the key of one execution by itself."""
    wrapped: bytes | None
    """None for one that was destroyed."""
    name: bytes | None
    """The subject, sealed with its own key."""
    created_at: datetime
    forgotten_at: datetime | None = None
    forgotten_by: str | None = None
    """The actor."""
    reason: str | None = None


class KeyUse(Struct, frozen=True, kw_only=True):
    """A key, and how much it seals."""

    key: SubjectKey
    executions: int
    open: int
    """Of these, how many have not ended."""


class Sealed(Struct, frozen=True, kw_only=True):
    """What some keys seal."""

    executions: int
    events: int
    """Of these executions; not each has values."""
    snapshots: int
    results: int
    """In the cache of the store."""


class Subjects(Protocol):
    """The keys of one store. Safe for use by many tasks of one event loop."""

    async def in_use(self, hashes: Sequence[str]) -> Sequence[SubjectKey]:
        """Return the keys of a subject that were not destroyed, oldest first. One hash of it has one at most."""

    async def known(self, hashes: Sequence[str]) -> Sequence[SubjectKey]:
        """Return all keys of a subject, newest first."""

    async def of_execution(self, execution_id: UUID) -> Sequence[SubjectKey]:
        """Return the keys of an execution, whether or not they were destroyed; the first seals its values.

        That is its subject's key, or one of its own, if it had that before its subject was known.
        """

    async def add(self, key: SubjectKey) -> None:
        """Store the key; nothing changes when its id is known, or a key with its hash is in use."""

    async def wrapped(self, key_ids: Sequence[str]) -> Mapping[str, bytes | None]:
        """Return those that are known as they are stored; None for one that was destroyed."""

    async def rewrap(self, key: SubjectKey) -> None:
        """Store the key as it is wrapped now, and the hash of its subject; nothing for one that was destroyed."""

    async def uses(self, *, after: str = "", limit: int = 100) -> Sequence[KeyUse]:
        """Return keys of subjects in order of the ids greater than `after`."""

    async def sealed(self, key_ids: Sequence[str]) -> Sealed:
        """Count what these seal."""

    async def open_executions(self, key_ids: Sequence[str], *, limit: int = 100) -> Sequence[UUID]:
        """Return executions of these that have not ended."""

    async def destroy(self, key_ids: Sequence[str], *, by: str, reason: str, at: datetime) -> bool:
        """Destroy the keys, with those that their executions had of their own, and what was made of their values.

        That is snapshots, chunks of streams, and results in the store's cache. False when an execution has not ended:
        then nothing was done. From when this returns True no append that uses one of them is accepted. Harmless when
        repeated.
        """

    async def at_rest(self) -> Sequence[str]:
        """Return the ids of the keys by which the whole store was encrypted."""

    async def add_at_rest(self, key_id: str, *, at: datetime) -> None:
        """Note one more; harmless when repeated."""
