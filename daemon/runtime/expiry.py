"""Ended executions that were kept long enough: written to the archive, read back from there, then deleted.

In this order, so that a crash at any point loses nothing: what was archived and is still there is archived again, to
the same file, byte by byte. Deleting is one transaction, in which the store looks once more whether the execution is as
it was archived. So several may do this at once; each execution is deleted by one of them.

Comes from: `retention`, daemon/api, daemon/cli. Goes to: `exports`, `archive_places`, eventstore/deletions.
"""

from __future__ import annotations

import asyncio
import gzip
import tempfile
from collections import Counter
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple
from urllib.parse import quote

import structlog

from daemon.core.errors import ExecutionNotFound, Rejected
from daemon.runtime.archive_file import ArchiveFile, BadFile
from daemon.runtime.exports import Export
from daemon.runtime.relatives import relatives_of
from daemon.runtime.retention_rules import Rules
from daemon.runtime.stored_events import StoredEvents
from eventstore.deletions import Deletion, Ended
from eventstore.errors import Unavailable, Undecodable

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable
    from datetime import datetime
    from uuid import UUID

    from daemon.runtime.archive_places import Place
    from daemon.runtime.clock import Clock
    from daemon.settings_retention import Retention, RetentionRule
    from eventstore.codec import Codec
    from eventstore.deletions import Outcome
    from eventstore.index import ExecutionRow
    from eventstore.store import Store

PAGE = 500
"""Rows of the index that are looked at, at once."""
WRITTEN_BYTES = 2**18
"""Of a file, before it is packed and written in a thread."""

WHY: dict[Outcome, str] = {
    "changed": "it is going on",
    "owed": "its parent has not been told of its end yet",
    "forked": "another execution goes on from its past",
    "pinned": "it is pinned",
    "newest": "it has the newest event of the log, and a SQLite file would give that position again",
}

_logger = structlog.get_logger(__name__)


class Due(NamedTuple):
    """An execution that a rule lets go."""

    row: ExecutionRow
    rule: RetentionRule
    why: str = ""
    """Why it stays all the same; empty when it may go."""


class _Archived(NamedTuple):
    version: int
    head: str
    address: str | None


@dataclass
class Expired:
    """What was done so far."""

    deleted: int = 0
    archived: int = 0
    kept: Counter[str] = field(default_factory=Counter)
    """How many stay that a rule would let go, by why."""

    @property
    def seen(self) -> int:
        """How many a rule would let go."""
        return self.deleted + self.kept.total()


class Expiry:
    """Lets executions of one store go, as the rules say."""

    def __init__(
        self,
        store: Store,
        codec: Codec,
        clock: Clock,
        retention: Retention,
        place: Place | None,
        *,
        on_deleted: Callable[[str], None] = lambda _workflow: None,
    ) -> None:
        """Without a `place` what is to be archived stays; `on_deleted` is told the workflow, to count."""
        self._store = store
        self._codec = codec
        self._clock = clock
        self._retention = retention
        self.place = place
        self._on_deleted = on_deleted
        self._events = StoredEvents(store, codec)
        self._rules = Rules(retention, store.definitions)

    async def any_rules(self) -> bool:
        """Tell whether there is any rule, in the settings or in a definition of the store."""
        return await self._rules.refresh() is not None

    async def due(self) -> AsyncIterator[Due]:
        """Give the executions that a rule lets go now, oldest start first, with why some stay."""
        shortest = await self._rules.refresh()
        if shortest is None:
            return
        now, after = self._clock.now(), None
        before = now - shortest
        while page := await self._store.deletions.ended(before=before, after=after, limit=PAGE):
            for ended in page:
                if (rule := self._rule_of(ended, now)) is not None:
                    yield Due(ended.row, rule, await self._why(ended.row, rule))
            after = page[-1].row.started_at, page[-1].row.execution_id

    async def run(
        self,
        *,
        most: int | None = None,
        pause_s: float = 0.0,
        told: Callable[[Expired], None] = lambda _done: None,
    ) -> Expired:
        """Let those go that may, at most so many, with a pause after each batch; `told` hears of each.

        Raises Unavailable when the store or the archive cannot go on: then the rest is as it was.
        """
        done = Expired()
        async for due in self.due():
            if most is not None and done.deleted >= most:
                break
            await self._expire(due, done)
            told(done)
            if done.seen % self._retention.batch == 0:
                await self._clock.sleep(pause_s)
        return done

    async def _expire(self, due: Due, done: Expired) -> None:
        row, why = due.row, due.why
        if not why:
            try:
                archived = await self._archived(due)
                outcome = await self._store.deletions.delete(
                    Deletion(
                        execution_id=row.execution_id,
                        version=archived.version,
                        head=archived.head,
                        at=self._clock.now(),
                        archived_as=archived.address,
                    )
                )
            except ExecutionNotFound:
                return
            except Undecodable as error:
                _logger.error("execution_not_deleted", execution_id=str(row.execution_id), error=str(error))  # noqa: TRY400  foreseen: the message says all
                why = "its events are not sound"
            else:
                if outcome == "gone":
                    return
                if outcome == "deleted":
                    done.deleted += 1
                    done.archived += archived.address is not None
                    self._on_deleted(row.workflow)
                    return
                why = WHY[outcome]
        done.kept[why] += 1

    def _rule_of(self, ended: Ended, now: datetime) -> RetentionRule | None:
        rule = self._rules.rule_for(ended.row)
        return rule if rule is not None and ended.since + rule.age < now else None

    async def _why(self, row: ExecutionRow, rule: RetentionRule) -> str:
        """Return why the execution stays; what the store itself looks at, it looks at once more when it deletes."""
        index = self._store.index
        if await self._store.pins.of([row.execution_id]):
            return WHY["pinned"]
        if rule.archive and self.place is None:
            return "it is to be archived, and the settings name no archive"
        if await index.forks(row.execution_id, limit=1):
            return WHY["forked"]
        version = await self._events.last_version(row.execution_id)
        try:
            found = await relatives_of(self._store, self._codec, row.execution_id, version)
        except Undecodable:
            return "its events are not sound"
        for what, ids in (("parent", found.parents), ("child", found.children)):
            for each in ids:
                if (other := await index.execution(each)) is not None and other.finished_at is None:
                    return f"its {what} has not ended"
        return ""

    async def _archived(self, due: Due) -> _Archived:
        """Write the file, if the rule says so, and read it back; return what is known of the last event.

        Raises Undecodable for an execution that is not sound, ExecutionNotFound for one that is gone meanwhile.
        """
        key = due.row.execution_id
        if self.place is None or not due.rule.archive:
            version = await self._events.last_version(key)
            found = await self._events.hash_at(key, version)
            if found is None:
                raise ExecutionNotFound(key)
            return _Archived(version, found.hex(), None)
        name = name_of(due.row)
        with tempfile.TemporaryDirectory(prefix="sagad-archive-") as folder:
            file, back = Path(folder) / "file", Path(folder) / "back"
            await self._write(key, file)
            await self.place.put(name, file)
            try:
                await self.place.fetch(name, back)
                read = ArchiveFile(back, self._codec)
                await asyncio.to_thread(read.read_all)
            except (BadFile, Rejected) as error:
                await self.place.remove(name)
                message = f"the archive at {self.place.url} does not give back what it was given: {error}"
                raise Unavailable(message) from error
        told = read.told[key]
        return _Archived(told.version, told.hash.hex(), f"{self.place.url}/{name}")

    async def _write(self, execution_id: UUID, file: Path) -> None:
        export = Export(self._store, self._codec, execution_id)
        with file.open("wb") as raw, gzip.GzipFile(filename="", mode="wb", fileobj=raw, mtime=0) as packed:
            lines = bytearray()
            async for line in export.lines():
                lines += line
                if len(lines) > WRITTEN_BYTES:
                    await asyncio.to_thread(packed.write, bytes(lines))
                    lines.clear()
            await asyncio.to_thread(packed.write, bytes(lines))


def name_of(row: ExecutionRow) -> str:
    """Return the name of an execution's file in the archive: the same whenever it is archived."""
    return f"{quote(row.workflow, safe='')}/{row.started_at:%Y/%m/%d}/{row.execution_id}.jsonl.gz"
