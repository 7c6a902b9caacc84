"""Executions on their way out of a store and into another, in tests."""

from __future__ import annotations

import gzip
from typing import TYPE_CHECKING, Any

from daemon.core.events import EVENT_TYPES, UPCASTERS, ExecutionForked, ExecutionRewound
from daemon.core.state import INITIAL, State
from daemon.runtime.archive_file import ArchiveFile
from daemon.runtime.clock import SystemClock
from daemon.runtime.exports import Export
from daemon.runtime.imports import Import, Imported, Wish
from daemon.runtime.projection import project
from eventstore.codec import Codec
from eventstore.log import Append, StoredDefinition
from tests.core.spec import EXECUTION, NOON

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Iterator
    from pathlib import Path
    from uuid import UUID

    from eventstore.store import Store
    from tests.core.histories import History

CODEC = Codec(EVENT_TYPES, UPCASTERS, payload_threshold_bytes=300)
"""With a threshold that some values of any execution are above."""


async def exported(store: Store, execution_id: UUID, path: Path, **parts: Any) -> bytes:
    """Write the execution's file; return what is in it, not packed."""
    whole = b"".join([line async for line in Export(store, CODEC, execution_id, **parts).lines()])
    write(path, gzip.compress(whole, mtime=0) if path.suffix == ".gz" else whole)
    return whole


def write(path: Path, data: bytes) -> None:
    """Write a file."""
    path.write_bytes(data)


async def imported(store: Store, path: Path, **wish: Any) -> Imported:
    """Bring a file into the store."""
    return await Import(store, CODEC, SystemClock(), path, Wish(**wish)).run()


def read(path: Path) -> ArchiveFile:
    """Read a file to its end."""
    file = ArchiveFile(path, CODEC)
    file.read_all()
    return file


def appends_of(history: History) -> Iterator[Append]:
    """Give a drawn execution as what its daemon would have appended."""
    state: State = INITIAL
    for turn in history.turns:
        if turn.events:
            branched = turn.after if isinstance(turn.events[0], ExecutionForked | ExecutionRewound) else None
            change = project(EXECUTION, state, turn.events, turn.after, branched=branched)
            yield Append(EXECUTION, state.version, turn.events, change)
            state = turn.after


async def put_history(store: Store, history: History) -> None:
    """Put a drawn execution into the store, append by append; whether its slots are free was drawn too."""

    async def appends() -> AsyncIterator[Append]:
        for append in appends_of(history):
            yield append

    definition = history.plan.definition
    await store.definitions.put(
        StoredDefinition(definition.hash, definition.workflow, definition.document, NOON),
    )
    await store.archive.adopt(appends())
