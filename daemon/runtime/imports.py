"""Executions of a file into a store: all that the file holds and that is not there, or nothing.

Comes from: daemon/cli/archiving. Goes to: `archive_file`, `projection`, eventstore/archive.
"""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Literal
from uuid import UUID, uuid4

from msgspec import Struct
from msgspec.structs import replace

from daemon.core.errors import Rejected
from daemon.runtime.archive_file import ArchiveFile
from daemon.runtime.projection import project
from daemon.runtime.stored_events import StoredEvents
from eventstore.index import UNCHANGED
from eventstore.log import Append, KeyUsed, StoredDefinition, Verbatim
from eventstore.rows import is_end, merged
from eventstore.sealing import key_of
from eventstore.subjects import SubjectKey

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Collection
    from pathlib import Path

    from daemon.runtime.archive_file import Step, Told
    from daemon.runtime.clock import Clock
    from eventstore.codec import Codec
    from eventstore.index import IndexChange
    from eventstore.store import Store

Conflicts = Literal["refuse", "skip", "as-new"]
MOST_EVENTS = 500
MOST_BYTES = 2**20
"""Of one append, beside its first event."""


class Wish(Struct, frozen=True, kw_only=True):
    """How somebody wants a file to be imported."""

    conflicts: Conflicts = "refuse"
    """What to do about an execution that is there already: import nothing, leave it as it is, or give all that are in
    the file new ids."""
    go_on: bool = False
    """Whether executions that have not ended are to go on in this store."""


class Imported(Struct, frozen=True, kw_only=True):
    """What an import has done."""

    execution_id: UUID
    """Of the execution that the file is about, as it is called here."""
    imported: tuple[UUID, ...]
    left: tuple[UUID, ...]
    """Those that were there already."""
    events: int


class Import:
    """Brings one file into a store. Use it once."""

    def __init__(self, store: Store, codec: Codec, clock: Clock, path: Path, wish: Wish) -> None:
        self._store = store
        self._codec = codec
        self._clock = clock
        self._path = path
        self._wish = wish
        self._events = StoredEvents(store, codec)
        self._names: dict[UUID, UUID] = {}
        self._keys: dict[str, bytes | None] = {}
        """Of subjects, wrapped, by id; None for those that are not here, or not any more."""

    async def run(self) -> Imported:
        """Read the file to its end, then write it in one transaction.

        Raises BadFile at the first line that is not sound; Rejected for what would not fit into this store.
        """
        file = ArchiveFile(self._path, self._codec)
        await asyncio.to_thread(file.read_all)
        if self._wish.conflicts == "as-new":
            self._names = {key: uuid4() for key in file.told}
        wanted = {key: told for key, told in file.told.items() if await self._is_wanted(file, told)}
        await self._check_open(file, wanted)
        await self._take_keys(file, wanted)
        for line in file.definitions.values():
            definition = StoredDefinition(line.hash, line.workflow, bytes(line.document), self._clock.now())
            await self._store.definitions.put(definition)
        for payload_hash in file.deleted:
            await self._store.archive.bury(payload_hash)
        if wanted:
            awaited = {child for told in wanted.values() for child in told.waits_for}
            at_rest = {key for key, told in wanted.items() if told.ended and key not in awaited}
            await self._store.archive.adopt(self._appends(wanted.keys(), at_rest), at=self._clock.now())
        assert file.header is not None  # noqa: S101  or the file had been refused
        return Imported(
            execution_id=self._named(file.header.execution),
            imported=tuple(map(self._named, wanted)),
            left=tuple(key for key in file.told if key not in wanted),
            events=sum(told.version for told in wanted.values()),
        )

    def _named(self, key: UUID) -> UUID:
        return self._names.get(key, key)

    async def _is_wanted(self, file: ArchiveFile, told: Told) -> bool:
        """Tell whether the execution is not there. Raises Rejected for one that is there and should not be."""
        key, forked_at = told.section.id, told.section.forked_at
        if self._names or not await self._events.last_version(key):
            return True
        if forked_at is not None:
            if await self._events.hash_at(key, forked_at) == told.kept:
                return False
            raise Rejected(f"execution {key} is here with another past than what {_asked(file)} was forked from")
        if self._wish.conflicts == "skip":
            return False
        raise Rejected(f"execution {key} is here already; skip it, or import it as new")

    async def _check_open(self, file: ArchiveFile, wanted: dict[UUID, Told]) -> None:
        """Refuse executions that would go on here where nobody has said so, or could not."""
        for key, told in wanted.items():
            if told.ended:
                continue
            if self._names:
                raise Rejected(f"execution {key} has not ended: as a new one it would do again what it is about to do")
            if not self._wish.go_on:
                raise Rejected(
                    f"execution {key} has not ended, and would go on here: see to it that it does not go on "
                    "where it comes from, and say so (--go-on)"
                )
            for child in told.waits_for:
                if child not in file.told and not await self._events.last_version(child):
                    raise Rejected(
                        f"execution {key} waits for its child {child}, which is not in the file: "
                        "export it with its children"
                    )

    async def _take_keys(self, file: ArchiveFile, wanted: dict[UUID, Told]) -> None:
        """Look for the keys that have sealed values: no file has them. Those that are not here count as destroyed.

        Raises Rejected for an execution that would go on without its values.
        """
        needed = sorted({key_id for key in wanted for key_id in file.sealed.get(key, ())})
        self._keys = {**dict.fromkeys(needed), **await self._store.subjects.wrapped(needed)}
        for key, told in wanted.items():
            if not told.ended and any(self._keys[key_id] is None for key_id in file.sealed.get(key, ())):
                raise Rejected(f"execution {key} has not ended, and the key of its subject is not here")
        now = self._clock.now()
        for key_id in needed:
            unknown = SubjectKey(
                key_id=key_id, hash=None, wrapped=None, name=None, created_at=now, forgotten_at=now, reason="imported"
            )
            await self._store.subjects.add(unknown)

    async def _appends(self, wanted: Collection[UUID], at_rest: Collection[UUID]) -> AsyncIterator[Append]:
        names = {str(old).encode(): str(new).encode() for old, new in self._names.items()}
        gathered: _Gathered | None = None
        placed: set[str] = set()
        for step in ArchiveFile(self._path, self._codec, names, self._keys).read():
            key = step.told.section.id
            if key not in wanted:
                continue
            change = _change(step, at_rest=key in at_rest)
            if gathered is not None and not gathered.takes(step, change):
                yield gathered.append()
                gathered = None
            gathered = gathered or _Gathered(step)
            gathered.add(step, change, placed)
        if gathered is not None:
            yield gathered.append()


class _Gathered:
    """Events on their way into one append."""

    def __init__(self, first: Step) -> None:
        self._execution_id = first.entry.row.execution_id
        self._after_version = first.entry.row.version - 1
        self._events: list[Verbatim] = []
        self._bytes = 0
        self._index = UNCHANGED
        self._keys: dict[str, None] = {}

    def takes(self, step: Step, change: IndexChange) -> bool:
        """Tell whether one more event can join: what it changes must go together with what changes before it."""
        return (
            step.entry.row.execution_id == self._execution_id
            and len(self._events) < MOST_EVENTS
            and self._bytes < MOST_BYTES
            and not is_end(self._index)
            and not (self._index.slots and change.slots)
        )

    def add(self, step: Step, change: IndexChange, placed: set[str]) -> None:
        """Take one more; `placed` has the payloads that were taken before."""
        row, payloads = step.entry.row, step.entry.payloads
        fresh = {key: data for key, data in payloads.items() if data is not None and key not in placed}
        placed |= fresh.keys()
        if (key_id := key_of(row.state)) is not None:
            self._keys[key_id] = None
        self._events.append(Verbatim(row.topic, row.state, fresh))
        self._bytes += len(row.state) + sum(map(len, fresh.values()))
        if change is not UNCHANGED:
            self._index = change if self._index is UNCHANGED else merged(self._index, change)

    def append(self) -> Append:
        """Return what was gathered."""
        key = KeyUsed(tuple(self._keys), checked=False) if self._keys else None
        return Append(self._execution_id, self._after_version, tuple(self._events), self._index, key=key)


def _change(step: Step, *, at_rest: bool) -> IndexChange:
    """Return what the event changes in the index.

    What ends in this file, and tells nobody, has no lease and holds no slots, and takes none on its way.
    """
    event, after = step.entry.event, step.after
    branched = after if step.branched else None
    change = project(step.entry.row.execution_id, step.before, [event], after, branched=branched)
    if at_rest and (change.slots or change.busy is not None):
        return replace(change, slots=(), busy=None)
    return change


def _asked(file: ArchiveFile) -> UUID | None:
    return file.header.execution if file.header is not None else None
