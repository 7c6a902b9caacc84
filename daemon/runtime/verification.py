"""Verifying executions of a store: its events one by one, what they refer to, and what was derived from them.

Comes from: daemon/cli/verifying. Goes to: `stored_events`, `history`, `projection`.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from hashlib import sha256
from typing import TYPE_CHECKING
from uuid import UUID

import msgspec
from msgspec import Struct
from msgspec.structs import replace

from daemon.core.errors import ExecutionNotFound
from daemon.core.events import ExecutionForked
from daemon.core.state import INITIAL, NotStarted
from daemon.runtime.heads import Head
from daemon.runtime.history import History, gone
from daemon.runtime.projection import execution_row
from daemon.runtime.stored_events import Broken, StoredEvents, definition_of
from eventstore.errors import Undecodable
from eventstore.log import Recorded
from eventstore.rows import clean
from eventstore.snapshots import NoSnapshots

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Iterator

    from daemon.core.state import State
    from daemon.runtime.stored_events import Entry
    from eventstore.codec import Codec
    from eventstore.deletions import Deleted
    from eventstore.index import ExecutionRow
    from eventstore.store import Store


class Finding(Struct, frozen=True):
    """Something that is not as it was written."""

    message: str
    version: int | None = None
    """Of the event at fault, where it is one: the first."""


class Proof(Struct, frozen=True, kw_only=True):
    """What was found of one execution."""

    execution_id: UUID
    events: int
    head: Head | None
    """None where the events are not sound."""
    deleted: int = 0
    """References to payloads that retention has deleted."""
    findings: tuple[Finding, ...] = ()


@dataclass
class _End:
    """Where the walk over the events has come to."""

    state: State = INITIAL
    entry: Entry | None = None
    forked: ExecutionForked | None = None
    deleted: int = 0
    expected: bytes | None = None
    definitions: dict[str, int] = field(default_factory=dict)
    """Hash -> version of the first event that pins the execution to it."""


class Verifier:
    """Verifies executions of one store. It reads, and changes nothing."""

    def __init__(self, store: Store, codec: Codec) -> None:
        self._store = store
        self._events = StoredEvents(store, codec)
        self._history = History(store.log, NoSnapshots())
        self._definitions: dict[str, str] = {}
        """Hash -> what is wrong with the definition; read once."""

    async def verify(self, execution_id: UUID, expected: Head | None = None) -> Proof:
        """Return what is found; with a head that was kept, whether the events up to it are those of then.

        Raises ExecutionNotFound, and Unavailable.
        """
        last = await self._events.last_version(execution_id)
        known = None if last else await self._store.deletions.deleted(execution_id)
        if known is not None:
            return _of_deleted(known, expected)
        if not last and expected is None:
            raise ExecutionNotFound(execution_id)
        end = _End()
        try:
            while True:
                end = await self._walk(execution_id, last, expected)
                row = await self._store.index.execution(execution_id)
                newest = await self._events.last_version(execution_id)
                if newest <= last:
                    break
                last = newest  # it went on meanwhile: what the row says is of later
        except Broken as error:
            return Proof(execution_id=execution_id, events=last, head=None, findings=(_finding(error),))
        findings = [*_against(expected, end, last)]
        if end.entry is not None:
            findings += [found async for found in self._derived(execution_id, end, end.entry, row)]
        head = None if end.entry is None else Head(execution_id, last, end.entry.hash)
        return Proof(execution_id=execution_id, events=last, head=head, deleted=end.deleted, findings=tuple(findings))

    async def _walk(self, execution_id: UUID, last: int, expected: Head | None) -> _End:
        end = _End()
        async for entry in self._events.walk(execution_id, last):
            version = entry.row.version
            try:
                end.state = await self._history.after(end.state, _recorded(entry))
            except Undecodable as error:
                raise Broken(execution_id, version, f"does not fit what is before it: {error}") from error
            end.entry = entry
            end.deleted += sum(data is None for data in entry.payloads.values())
            if isinstance(entry.event, ExecutionForked):
                end.forked = entry.event
            if (pinned := definition_of(entry.event)) is not None:
                end.definitions.setdefault(pinned, version)
            if expected is not None and version == expected.version:
                end.expected = entry.hash
        return end

    async def _derived(
        self, execution_id: UUID, end: _End, last: Entry, row: ExecutionRow | None
    ) -> AsyncIterator[Finding]:
        for key, version in end.definitions.items():
            if key not in self._definitions:
                stored = await self._store.definitions.get(key)
                missing = f"definition {key} is missing"
                found = missing if stored is None else wrong_definition(key, stored.workflow, stored.document)
                self._definitions[key] = found
            if wrong := self._definitions[key]:
                yield Finding(wrong, version)
        due = clean(execution_row(execution_id, end.state, last.event.at))
        if row is not None:  # times of which only the first, or a later one, is written
            started_at = row.started_at if isinstance(end.state, NotStarted) else due.started_at
            due = replace(due, started_at=started_at, updated_at=row.updated_at)
        if row is None:
            yield Finding("the index has no row of it: run `sagad index rebuild`")
        elif wrong := ", ".join(_different(row, due)):
            yield Finding(f"the index has another {wrong} than the events say: run `sagad index rebuild`")
        fork, forked = await self._store.index.fork(execution_id), end.forked
        told = None if forked is None else (forked.source, forked.at_version)
        if told != (None if fork is None else (fork.source, fork.at_version)):
            yield Finding("the index tells another source than the events: run `sagad index rebuild`")


def wrong_definition(key: str, workflow: str, document: bytes) -> str:
    """Return what is wrong with a definition that is stored under this hash; empty when nothing is."""
    if sha256(document).hexdigest() != key:
        return f"definition {key} was changed: its hash is another"
    name = msgspec.json.decode(document).get("workflow")
    return "" if name == workflow else f"definition {key} is of {name!r}, not of {workflow!r}"


def _recorded(entry: Entry) -> Recorded:
    row = entry.row
    return Recorded(row.execution_id, row.version, row.position, entry.event)


def _finding(error: Broken) -> Finding:
    return Finding(f"event {error.version} {error.message}", error.version)


def _against(expected: Head | None, end: _End, last: int) -> Iterator[Finding]:
    if expected is None or end.expected == expected.hash:
        return
    if end.expected is None:
        yield Finding(f"it ends with event {last}, and had {expected.version} when the head was kept", last + 1)
    else:
        yield Finding(f"an event up to {expected.version} is not what it was when the head was kept")


def _of_deleted(known: Deleted, expected: Head | None) -> Proof:
    """Hold a head that was kept against what is known of an execution that retention has deleted.

    That is its last hash: an earlier one is in the archive. Raises ExecutionDeleted without a head.
    """
    if expected is None:
        raise gone(known)
    message = ""
    if expected.version > known.events:
        message = f"it was deleted with {known.events} events, and had {expected.version} when the head was kept"
    elif expected.version == known.events and expected.hash.hex() != known.head:
        message = "its last event, when it was deleted, was not what it was when the head was kept"
    findings = (Finding(message),) if message else ()
    return Proof(execution_id=known.execution_id, events=0, head=None, findings=findings)


def _different(row: ExecutionRow, due: ExecutionRow) -> Iterator[str]:
    return (name for name in row.__struct_fields__ if getattr(row, name) != getattr(due, name))
