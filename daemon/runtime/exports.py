"""Executions of a store as the lines of a file, one after another, in memory that does not grow with them.

Comes from: daemon/cli/archiving. Goes to: `stored_events`, `archive_lines`.
"""

from __future__ import annotations

from hashlib import sha256
from typing import TYPE_CHECKING

from msgspec import Raw

from daemon.core.errors import ExecutionNotFound
from daemon.core.events import ChildStarted, ExecutionForked
from daemon.runtime.archive_lines import (
    FORMAT,
    KIND,
    Counts,
    DefinitionLine,
    Header,
    Section,
    encode_line,
    event_line,
    payload_line,
)
from daemon.runtime.history import gone
from daemon.runtime.stored_events import Broken, StoredEvents, definition_of
from daemon.runtime.verification import wrong_definition

if TYPE_CHECKING:
    from collections.abc import AsyncIterator
    from uuid import UUID

    from daemon.runtime.archive_lines import Line
    from daemon.runtime.stored_events import Entry
    from eventstore.codec import Codec
    from eventstore.store import Store


class Export:
    """One file in the making. Use it once."""

    def __init__(self, store: Store, codec: Codec, execution_id: UUID, *, with_children: bool = False) -> None:
        self._store = store
        self._events = StoredEvents(store, codec)
        self._execution_id = execution_id
        self._with_children = with_children
        self._written: set[str] = set()
        """Hashes of the payloads and definitions that are in the file."""
        self._children: dict[UUID, None] = {}
        self.counts = Counts()

    async def lines(self) -> AsyncIterator[bytes]:
        """Give the file's lines. What an execution goes on from comes before it, its children come after it.

        Raises ExecutionNotFound; Broken where what is stored is damaged.
        """
        digest = sha256()
        async for line in self._lines():
            self.counts.count(line)
            text = encode_line(line)
            digest.update(text)
            yield text
        yield encode_line(self.counts.trailer(digest.hexdigest()))

    async def _lines(self) -> AsyncIterator[Line]:
        yield Header(KIND, FORMAT, self._execution_id)
        lineage = [section async for section in self._lineage()]
        seen = {section.id for section in lineage}
        for section in reversed(lineage):
            async for line in self._section(section):
                yield line
        while self._with_children and self._children:
            child, _ = self._children.popitem()
            if child not in seen and await self._events.last_version(child):
                seen.add(child)
                async for line in self._section(Section(child)):
                    yield line

    async def _lineage(self) -> AsyncIterator[Section]:
        """Give the execution, what it was forked from, and so on."""
        section = Section(self._execution_id)
        if not await self._events.last_version(section.id):
            known = await self._store.deletions.deleted(section.id)
            raise ExecutionNotFound(section.id) if known is None else gone(known)
        while True:
            yield section
            async for entry in self._events.walk(section.id, 1):
                if not isinstance(entry.event, ExecutionForked):
                    return
                section = Section(entry.event.source, entry.event.at_version)

    async def _section(self, section: Section) -> AsyncIterator[Line]:
        yield section
        async for entry in self._events.walk(section.id, await self._events.last_version(section.id)):
            async for line in self._referred(entry):
                yield line
            if isinstance(entry.event, ChildStarted):
                self._children[entry.event.child] = None
            row = entry.row
            yield event_line(row.version, row.topic, entry.hash, row.state)

    async def _referred(self, entry: Entry) -> AsyncIterator[Line]:
        for key, data in entry.payloads.items():
            if key not in self._written:
                self._written.add(key)
                yield payload_line(key, data)
        pinned = definition_of(entry.event)
        if pinned is not None and pinned not in self._written:
            self._written.add(pinned)
            stored = await self._store.definitions.get(pinned)
            wrong = "its definition is missing"
            if stored is None or (wrong := wrong_definition(pinned, stored.workflow, stored.document)):
                raise Broken(entry.row.execution_id, entry.row.version, f"cannot be exported: {wrong}")
            yield DefinitionLine(stored.hash, stored.workflow, Raw(stored.document))
