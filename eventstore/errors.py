"""The store's errors, sorted by what the caller must do."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterable
    from uuid import UUID


class StoreError(Exception):
    """Base of the six below; never raised itself."""


class Conflict(StoreError):
    """Another writer extended the execution first. Load again, decide again; safe to repeat at once."""

    def __init__(self, execution_id: UUID, after_version: int, *, losers: Iterable[UUID] = ()) -> None:
        super().__init__(f"execution {execution_id} is no longer at version {after_version}")
        self.execution_id = execution_id
        self.after_version = after_version
        self.losers = frozenset({execution_id, *losers})
        """All executions of the refused batch that are known to have moved on."""


class Full(StoreError):
    """A slot that the append takes is not free. Ask for it instead; safe to repeat when one has become free."""

    def __init__(self, losers: Iterable[UUID]) -> None:
        self.losers = frozenset(losers)
        """All executions of the refused batch that found none."""
        super().__init__(f"no slot is free for execution {', '.join(sorted(map(str, self.losers)))}")


class Fenced(StoreError):
    """A daemon was taken for dead: its leases are others' now. Nothing it sends is kept; it must join anew."""

    def __init__(self, by: Iterable[UUID]) -> None:
        self.by = frozenset(by)
        super().__init__(f"fenced: daemon {', '.join(sorted(map(str, self.by)))}")


class Unavailable(StoreError):
    """The store did not answer, or the answer was lost. Safe to repeat after a pause; the outcome is not known."""


class Undecodable(StoreError):
    """A stored event cannot be read (unknown name or version, damaged data, wrong key). Repeating does not help."""


class Unusable(StoreError):
    """Found at open: the URL, its database or its schema cannot work as configured. The message says what to change."""


class KeyMissing(Unusable):
    """The store is encrypted with a key that is not in the settings."""
