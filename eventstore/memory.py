"""The store in memory: for tests and trials. The same codec, the same contracts, nothing survives the process."""

from __future__ import annotations

import asyncio
from bisect import bisect_right
from collections import Counter, defaultdict
from contextlib import asynccontextmanager
from itertools import chain, islice
from operator import attrgetter
from typing import TYPE_CHECKING

from eventstore.codec import Stored
from eventstore.errors import Conflict, Fenced, Full
from eventstore.index import DefinitionUse, DueTimer
from eventstore.leases import News
from eventstore.memory_slots import MemorySlots
from eventstore.memory_subjects import MemorySubjects
from eventstore.outside import Reach
from eventstore.reads import Reads
from eventstore.rows import changed_row, clean, clean_approval

if TYPE_CHECKING:
    from collections.abc import AsyncIterable, AsyncIterator, Iterable, Mapping, Sequence
    from datetime import datetime
    from uuid import UUID

    from eventstore.codec import Codec
    from eventstore.deletions import Deleted
    from eventstore.index import (
        ApprovalChange,
        ApprovalFilter,
        ApprovalRow,
        ExecutionFilter,
        ExecutionRow,
        ForkRow,
        IndexChange,
    )
    from eventstore.leases import Member
    from eventstore.log import Append, KeyUsed, Recorded
    from eventstore.outside import Outside
    from eventstore.pins import Pin


class MemoryLog:
    """`log.EventLog` and `payloads.Payloads` in lists and dicts."""

    def __init__(self, codec: Codec, index: MemoryIndex, outside: Outside | None = None) -> None:
        self._codec = codec
        self.reach = Reach(codec, outside)
        self.reads = Reads()
        self.read_at: dict[str, datetime] = {}
        self._index = index
        self.subjects = MemorySubjects(index)
        self._rows: list[Stored | None] = []
        """By position; None for those of an execution that was deleted."""
        self.streams: defaultdict[UUID, list[Stored]] = defaultdict(list)
        self.kept: dict[str, bytes | None] = {}
        """Payloads by hash."""
        self.packed: set[str] = set()
        self.objects: dict[str, str] = {}
        """Names of objects outside by the hash of the payload."""
        self.loose: dict[str, tuple[str, datetime | None]] = {}
        """Objects that no payload has: of which one, and since when it is about to be written; None: to be removed."""
        self.uses: defaultdict[UUID, set[str]] = defaultdict(set)
        """The payloads that each execution refers to."""
        self._listeners: set[asyncio.Event] = set()

    async def insert(self, batch: Sequence[Append]) -> None:
        """See `log.EventLog`."""
        async with self._index.writing:
            if fenced := {append.by for append in batch if append.by} - self._index.members.keys():
                raise Fenced(fenced)
            losers = [append for append in batch if self._is_late(append)] or [
                append for append in batch if append.key is not None and self._is_gone(append.key)
            ]
            if losers:
                first = losers[0]
                raise Conflict(first.execution_id, first.after_version, losers=[lost.execution_id for lost in losers])
            payloads: dict[str, bytes] = {}
            slots = [(append.execution_id, change) for append in batch for change in append.index.slots]
            uses: list[list[str]] = [[] for _ in batch]
            encoded = [
                [self._codec.encode(event, payloads, used) for event in append.events]
                for append, used in zip(batch, uses, strict=True)
            ]
            if slots and (filled := self._index.slots.put(slots)):
                raise Full(filled)
            self.kept.update({key: data for key, data in payloads.items() if self.kept.get(key) is None})
            for append, events, used in zip(batch, encoded, uses, strict=True):
                stream = self.streams[append.execution_id]
                if used:
                    self.uses[append.execution_id].update(used)
                for topic, state in events:
                    row = Stored(append.execution_id, len(stream) + 1, len(self._rows) + 1, topic, state)
                    stream.append(row)
                    self._rows.append(row)
                self._index.apply(append.execution_id, append.index, append.by)
                if append.key is not None:
                    self.subjects.use(append.execution_id, append.key.key_ids)
        for listener in self._listeners:
            listener.set()

    async def read(
        self, execution_id: UUID, *, after_version: int = 0, up_to_version: int | None = None
    ) -> Sequence[Recorded]:
        """See `log.EventLog`."""
        return await self._decode(self.streams.get(execution_id, [])[after_version:up_to_version], self.reads)

    async def read_many(self, execution_ids: Sequence[UUID], *, limit: int) -> Mapping[UUID, Sequence[Recorded]]:
        """See `log.EventLog`."""
        return {
            key: await self._decode(self.streams[key][:limit], self.reads)
            for key in execution_ids
            if self.streams.get(key)
        }

    async def read_all(self, *, after_position: int = 0, limit: int = 1000) -> Sequence[Recorded]:
        """See `log.EventLog`."""
        there = (row for row in islice(self._rows, after_position, None) if row is not None)
        return await self._decode(list(islice(there, limit)))

    async def head(self) -> int:
        """See `log.EventLog`."""
        return len(self._rows)

    async def versions(self, execution_ids: Sequence[UUID]) -> Mapping[UUID, int]:
        """See `store.Store`."""
        return {key: len(self.streams[key]) for key in execution_ids if self.streams.get(key)}

    def drop(self, execution_id: UUID) -> None:
        """Forget the events of an execution, and the payloads that only it refers to."""
        for row in self.streams.pop(execution_id):
            self._rows[row.position - 1] = None
        others = {key for each, used in self.uses.items() if each != execution_id for key in used}
        for key in self.uses.pop(execution_id, set()) - others:
            self.kept.pop(key, None)
            self.packed.discard(key)
            self._loosen(key)

    def rows(self, hashes: Iterable[str]) -> list[tuple[str, bytes | None, str | None]]:
        """Return payloads by hash, with their bytes, if they are here, and the names of their objects."""
        return [(key, self.kept[key], self.objects.get(key)) for key in hashes if key in self.kept]

    def _loosen(self, key: str) -> None:
        if (name := self.objects.pop(key, None)) is not None:
            self.loose[name] = key, None

    def _is_late(self, append: Append) -> bool:
        """Tell whether the execution is not where the append extends it, or it or its source was deleted."""
        forked, deleted = append.index.forked, self._index.is_deleted
        return (
            append.after_version != len(self.streams.get(append.execution_id, ()))
            or deleted(append.execution_id)
            or (forked is not None and deleted(forked.source))
        )

    async def delete(self, payload_hash: str) -> bool:
        """See `payloads.Payloads`."""
        if self.kept.get(payload_hash) is None and payload_hash not in self.objects:
            return False
        self._loosen(payload_hash)
        self.kept[payload_hash] = None
        self.packed.discard(payload_hash)
        return True

    @asynccontextmanager
    async def hints(self) -> AsyncIterator[asyncio.Event]:
        """Give an event that is set after each append, until left."""
        event = asyncio.Event()
        self._listeners.add(event)
        try:
            yield event
        finally:
            self._listeners.discard(event)

    async def _decode(self, rows: Sequence[Stored], reads: Reads | None = None) -> list[Recorded]:
        opened = self._codec.open(rows)
        if reads is not None:
            reads.note(opened.wanted)
        payloads = await self.reach.fill(self.rows(opened.wanted))
        return opened.events(payloads, self.subjects.stored(opened.keys))

    def _is_gone(self, key: KeyUsed) -> bool:
        return key.checked and not all(map(self.subjects.is_there, key.key_ids))


class Lease:
    """One row of the leases."""

    __slots__ = ("daemon", "hinted")

    def __init__(self, daemon: UUID | None) -> None:
        self.daemon = daemon
        self.hinted = False


class MemoryIndex:
    """`index.Index` in dicts; `memory_leases` works on its members and leases."""

    def __init__(self) -> None:
        self.writing = asyncio.Lock()
        self.members: dict[UUID, Member] = {}
        self.leases: dict[UUID, Lease] = {}
        self.news = News()
        self.slots = MemorySlots()
        self._rows: dict[UUID, ExecutionRow] = {}
        self._timers: defaultdict[UUID, dict[str, datetime]] = defaultdict(dict)
        self._approvals: dict[tuple[UUID, str], ApprovalChange] = {}
        self._forks: dict[UUID, ForkRow] = {}
        self.deleted: dict[UUID, Deleted] = {}
        """Those that were restored too."""
        self.pins: dict[UUID, Pin] = {}

    def rows(self) -> Iterable[ExecutionRow]:
        """Give the rows of all executions."""
        return self._rows.values()

    def is_deleted(self, execution_id: UUID) -> bool:
        """Tell whether the execution was deleted, and not restored since."""
        return (known := self.deleted.get(execution_id)) is not None and known.restored_at is None

    def drop(self, execution_id: UUID) -> None:
        """Drop all rows of an execution but the slots of messages that it has collected."""
        del self._rows[execution_id]
        self._timers.pop(execution_id, None)
        self._forks.pop(execution_id, None)
        for key in [key for key in self._approvals if key[0] == execution_id]:
            del self._approvals[key]

    def apply(self, execution_id: UUID, change: IndexChange, by: UUID | None = None) -> None:
        """Make one change; the log calls this inside its insert."""
        timers = self._timers[execution_id]
        for timer_id in change.timers_cleared:
            timers.pop(timer_id, None)
        timers.update({timer.timer_id: timer.due_at for timer in change.timers_set})
        row = change.execution
        if row is None and change.changed is not None and execution_id in self._rows:
            row = changed_row(self._rows[execution_id], change.changed)
        if row is not None:
            self._rows[execution_id] = clean(row)
            if row.finished_at is not None:
                timers.clear()
        if not timers:
            del self._timers[execution_id]
        for approval in map(clean_approval, change.approvals):
            self._approvals[execution_id, approval.row.address] = approval
        if change.forked is not None:
            self._forks[execution_id] = change.forked
        if change.busy:
            self.leases.setdefault(execution_id, Lease(by))
        elif change.busy is False:
            self.leases.pop(execution_id, None)
        lease = self.leases.get(execution_id)
        if lease is not None and (change.hint or lease.daemon is None):
            lease.hinted = lease.hinted or change.hint
            self.news.wake(lease.daemon) if lease.daemon in self.members else self.news.wake_all()

    async def execution(self, execution_id: UUID) -> ExecutionRow | None:
        """See `index.Index`."""
        return self._rows.get(execution_id)

    async def executions(self, which: ExecutionFilter) -> Sequence[ExecutionRow]:
        """See `index.Index`."""
        found = [row for row in self._rows.values() if _matches(row, which)]
        found.sort(key=attrgetter("started_at", "execution_id"), reverse=True)
        return found[: which.limit]

    async def counts(self) -> Mapping[tuple[str, str], int]:
        """See `index.Index`."""
        return Counter((row.workflow, row.status) for row in self._rows.values())

    async def uses(self, workflow: str) -> Sequence[DefinitionUse]:
        """See `index.Index`."""
        rows: dict[str, list[ExecutionRow]] = defaultdict(list)
        for row in self._rows.values():
            if row.workflow == workflow:
                rows[row.definition].append(row)
        found: list[DefinitionUse] = []
        for definition, of_it in rows.items():
            going = [row.started_at for row in of_it if row.finished_at is None]
            last = max(row.started_at for row in of_it)
            found.append(DefinitionUse(definition, len(going), len(of_it), min(going, default=None), last))
        return sorted(sorted(found, key=attrgetter("definition")), key=attrgetter("last_started_at"), reverse=True)

    async def busy(self, *, after: UUID | None, limit: int) -> Sequence[UUID]:
        """See `index.Index`."""
        ids = sorted(self.leases)
        return ids[0 if after is None else bisect_right(ids, after) :][:limit]

    async def due_timers(self, now: datetime, *, after: DueTimer | None = None, limit: int) -> Sequence[DueTimer]:
        """See `index.Index`."""
        key = attrgetter("due_at", "execution_id", "timer_id")
        due = [
            DueTimer(execution_id, timer_id, due_at)
            for execution_id, timers in self._timers.items()
            for timer_id, due_at in timers.items()
            if due_at <= now
        ]
        return sorted((row for row in due if after is None or key(row) > key(after)), key=key)[:limit]

    async def next_due(self, *, after: datetime | None = None) -> datetime | None:
        """See `index.Index`."""
        due = (due_at for timers in self._timers.values() for due_at in timers.values())
        return min((due_at for due_at in due if after is None or due_at > after), default=None)

    async def latest_dedupe_key(self, trigger: str) -> str | None:
        """See `index.Index`."""
        known: Iterable[ExecutionRow | Deleted] = chain(self._rows.values(), self.deleted.values())
        keys = (each.dedupe_key for each in known if each.trigger == trigger)
        return max((key for key in keys if key is not None), default=None)

    async def approvals(self, which: ApprovalFilter) -> Sequence[ApprovalRow]:
        """See `index.Index`."""
        key = attrgetter("requested_at", "execution_id", "address")
        found = [
            change.row
            for change in self._approvals.values()
            if change.row.status == which.status
            and which.workflow in (None, change.row.workflow)
            and (not which.approvers or set(which.approvers) & set(change.approvers))
            and (which.after is None or key(change.row) > which.after)
        ]
        return sorted(found, key=key)[: which.limit]

    async def without_cause(self, *, limit: int = 100) -> Sequence[UUID]:
        """See `index.Index`."""
        return sorted(row.execution_id for row in self._rows.values() if not row.cause and row.finished_at is None)[
            :limit
        ]

    async def fork(self, execution_id: UUID) -> ForkRow | None:
        """See `index.Index`."""
        return self._forks.get(execution_id)

    async def forks(self, source: UUID, *, limit: int = 100) -> Sequence[ForkRow]:
        """See `index.Index`."""
        found = [row for row in self._forks.values() if row.source == source]
        return sorted(found, key=lambda row: (row.forked_at, row.execution_id))[:limit]

    async def rebuild(self, changes: AsyncIterable[tuple[UUID, IndexChange]]) -> None:
        """See `index.Index`."""
        fresh = MemoryIndex()
        async with self.writing:
            async for execution_id, change in changes:
                fresh.apply(execution_id, change)
                fresh.slots.put([(execution_id, each) for each in change.slots], checked=False)
            kept = {execution_id: self.leases.get(execution_id, lease) for execution_id, lease in fresh.leases.items()}
            self._rows, self._timers, self.leases = fresh._rows, fresh._timers, kept
            self.slots.become(fresh.slots, keeping=self.is_deleted)
            self._approvals, self._forks = fresh._approvals, fresh._forks


def _matches(row: ExecutionRow, which: ExecutionFilter) -> bool:
    return (
        which.workflow in (None, row.workflow)
        and which.status in (None, row.status)
        and which.trigger in (None, row.trigger)
        and (which.since is None or row.started_at >= which.since)
        and (which.until is None or row.started_at < which.until)
        and (which.after is None or (row.started_at, row.execution_id) < which.after)
    )
