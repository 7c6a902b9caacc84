"""The port of the event log. Contract first; every implementation passes `tests/contract/test_log.py`.

Words: an event has a *version*, its number inside its execution, from 1 and without gaps, and a *position*, its number
in the whole log, growing, gaps allowed. A position is visible only after every smaller one that will ever be visible:
a reader that has seen position N never finds a new event below N later.

Comes from: daemon/runtime/engine by way of `writer`. Goes to: `memory`, `sqlite`, `postgres`.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import datetime
from typing import TYPE_CHECKING, Any, Protocol
from uuid import UUID

from msgspec import Struct

from eventstore.index import UNCHANGED, IndexChange

if TYPE_CHECKING:
    from collections.abc import Iterable


class Sealing(Struct, frozen=True):
    """Whose data the values of an execution are: nobody is to read them without that subject's key."""

    subject: str
    """Empty for the key of one execution, whose subject is not known yet: without a keyring it is not sealed then."""
    key_of: UUID | None = None
    """The execution, itself or the one it goes on from, whose key is used; None: the one that the subject has now."""


class KeyUsed(Struct, frozen=True):
    """The key that the events of an append are sealed with, and those of the subject that it goes with."""

    key_ids: Sequence[str]
    checked: bool = True
    """Whether all must be there still: else the append conflicts."""


class Append(Struct, frozen=True):
    """Events that extend one execution, and the index rows that they imply: all of it is written, or none."""

    execution_id: UUID
    after_version: int
    """Version of the last event the writer knows; 0 says that the execution must be new."""
    events: tuple[Any, ...]
    """At least one event struct, known to the codec."""
    index: IndexChange = UNCHANGED
    by: UUID | None = None
    """The daemon that decided it, as it joined (`leases.Leases.join`); None: a tool that holds no leases."""
    sealing: Sealing | None = None
    """Whose data the events hold; None for nobody's in particular. See `sealed_log`."""
    key: KeyUsed | None = None
    """Of events that are sealed already."""


class Verbatim(Struct, frozen=True):
    """An event in its stored form, to stand among `Append.events`: it is written as it is, of whatever type."""

    topic: str
    state: bytes
    """JSON, neither compressed nor encrypted."""
    payloads: Mapping[str, bytes]
    """By hash, neither compressed nor encrypted: those that it refers to and that may not be in the store."""


class Recorded(Struct, frozen=True):
    """One event as the log holds it, payloads put back."""

    execution_id: UUID
    version: int
    position: int
    event: Any


def by_execution(events: Iterable[Recorded]) -> dict[UUID, list[Recorded]]:
    """Sort events by their execution, in the order in which they come."""
    found: dict[UUID, list[Recorded]] = {}
    for recorded in events:
        found.setdefault(recorded.execution_id, []).append(recorded)
    return found


class StoredDefinition(Struct, frozen=True):
    """One immutable version of a workflow. `document` is its canonical JSON; `hash` is that document's SHA-256, hex."""

    hash: str
    workflow: str
    document: bytes
    first_seen_at: datetime


class EventLog(Protocol):
    """Where events are. Safe for use by many tasks of one event loop.

    Errors: `Conflict`, `Full`, `Fenced`, `Unavailable`, `Undecodable` of `eventstore.errors`, nothing else for causes
    outside the caller's control. A cancelled call may still have been carried out.
    """

    async def insert(self, batch: Sequence[Append]) -> None:
        """Write the whole batch in one transaction, durable when this returns.

        Appends of one batch are of different executions. `Conflict` when any of them does not extend its execution
        at `after_version`, `Full` when any takes a slot that is not free, `Fenced` when any is `by` a daemon that is no
        member: then nothing of the batch was written. A member that has not beaten for long, but was not fenced, may
        still write. `Unavailable` when the outcome is not known; an implementation never tries again by itself, for
        then its own success would look like a conflict.
        Use `writer.Writer`, which splits batches on conflict and settles unknown outcomes by reading back.
        """

    async def read(
        self, execution_id: UUID, *, after_version: int = 0, up_to_version: int | None = None
    ) -> Sequence[Recorded]:
        """Return the events of one execution in order of version; empty when there are none."""

    async def read_many(self, execution_ids: Sequence[UUID], *, limit: int) -> Mapping[UUID, Sequence[Recorded]]:
        """Return the first events of each execution in order of version, up to `limit`; those without any are left out.

        The ids are different. One event that cannot be read fails the whole call.
        """

    async def read_all(self, *, after_position: int = 0, limit: int = 1000) -> Sequence[Recorded]:
        """Return events of all executions in order of position, never skipping one (see above)."""

    async def head(self) -> int:
        """Return the greatest position visible now; 0 for an empty log."""


class Definitions(Protocol):
    """The definitions that executions are pinned to, stored once by hash."""

    async def put(self, definition: StoredDefinition) -> None:
        """Store it; a hash that is there already keeps its `first_seen_at`."""

    async def get(self, definition_hash: str) -> StoredDefinition | None:
        """Return it, or None."""

    async def find(self, workflow: str, prefix: str) -> Sequence[str]:
        """Return the hashes of the workflow's definitions that begin with this, sorted; at most two."""

    async def hashes(self, *, after: str = "", limit: int) -> Sequence[str]:
        """Return the hashes of all definitions, in order, those that sort after one."""

    async def first_seen(self, workflow: str) -> datetime | None:
        """Return when the workflow's oldest definition was stored."""


class Cursors(Protocol):
    """How far each named reader of the whole log has come."""

    async def load(self, name: str) -> int:
        """Return the position last saved under this name; 0 when there is none."""

    async def save(self, name: str, position: int) -> None:
        """Remember the position; a smaller one than saved before is ignored."""
