"""Reading a stream: from any chunk on, while it is written and after, on any daemon of the store.

Each reader reads the store by itself, page by page, as fast as it is asked; so one that is slow holds up nobody. Chunks
of two runs are never mixed: when another run has begun, the reader is told to forget what it has. What the log says of
the step is looked at before the chunks, which are written before the result: so when the step is settled and no chunk
is left, there is none.

Comes from: daemon/api/streams. Goes to: eventstore/streams, `step_outcome`.
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Any

import msgspec
from msgspec import Struct

from daemon.core.values import Json
from daemon.runtime.leases import first_of
from daemon.runtime.step_outcome import StepOutcome
from eventstore.errors import Undecodable

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable, Sequence

    from daemon.runtime.changes import Changes
    from daemon.runtime.history import History
    from daemon.runtime.step_outcome import Outcome
    from daemon.runtime.streams import StreamHub
    from eventstore.streams import Batch, Run, StreamId

PAGE_BATCHES = 16
"""Read at once: about a megabyte, unless single chunks are large."""
POLL_S, LOCAL_POLL_S = 0.25, 2.0
"""How often to look for what another daemon writes, and this one, of which there are hints."""

PLACE = r"^(?:([0-9]{1,15})-)?([0-9]{1,15}|end)$"
"""How the id of an entry is written: run and chunk."""
_chunks = msgspec.json.Decoder(list[Json]).decode


class Place(Struct, frozen=True):
    """How far a reader has come: chunk 0 is before the first; run None is whichever there is."""

    run: int | None = None
    chunk: int = 0


START = Place()


class Entry(Struct, frozen=True):
    """One thing that a reader gets. `id` is the place after it."""

    kind: str
    """`chunk` | `restart` (what came before is to be forgotten: another run has begun) | `end`."""
    id: str
    data: Any


def read_place(text: str) -> Place | None:
    """Return the place that an id names, `RUN-CHUNK` or `CHUNK`; None when it is the end. Raises ValueError."""
    found = re.match(PLACE, text, re.ASCII)
    if found is None or text.endswith("\n"):
        raise ValueError(f"{text[:40]!r} is no place in a stream: write 17, or 2-17 for chunk 17 of run 2")
    run, chunk = found.groups()
    return None if chunk == "end" else Place(int(run) if run else None, int(chunk))


class StreamReader:
    """One reader of one stream."""

    def __init__(
        self,
        stream: StreamId,
        place: Place,
        *,
        hub: StreamHub,
        history: History,
        changes: Changes,
        local: Callable[[], bool],
    ) -> None:
        """`local` tells whether this daemon is the one that may be writing."""
        self.step = StepOutcome(history, stream)
        self._stream = stream
        self._run = place.run
        self._chunk = place.chunk
        self._hub = hub
        self._changes = changes
        self._local = local

    async def pages(self, *, stopping: Callable[[], bool]) -> AsyncIterator[Sequence[Entry]]:
        """Yield entries as they come, up to the end, or until the daemon stops; empty pages as signs of life.

        Raises ExecutionNotFound, and what the store raises.
        """
        with self._hub.watch(self._stream) as written, self._changes.watch(self._stream.execution_id) as committed:
            while True:
                written.clear()
                committed.clear()
                stop = stopping()
                await self.step.look()
                page = await self._page()
                if page:
                    yield page
                    continue
                if self.step.outcome is not None:
                    yield self._ending(self.step.outcome)
                    return
                yield ()
                if stop:
                    return
                pause_s = LOCAL_POLL_S if self._local() else POLL_S
                await first_of(written.wait(), committed.wait(), self._hub.clock.sleep(pause_s))

    async def _page(self) -> list[Entry]:
        newest = await self._hub.store.newest(self._stream)
        if newest is None:
            return []
        page = self._moved_to(newest.number, newest)
        batches = await self._hub.store.read(self._stream, newest.number, after=self._chunk, limit=PAGE_BATCHES)
        for batch in batches:
            page += self._new_in(batch)
        return page

    def _moved_to(self, run: int, newest: Run | None) -> list[Entry]:
        """Turn to this run; return what the reader is told when it was at another one."""
        before, self._run = self._run, run
        if before in {None, run}:
            return []
        self._chunk = 0
        return [Entry("restart", f"{run}-0", {"run": run, "attempt": newest.attempt if newest is not None else None})]

    def _new_in(self, batch: Batch) -> list[Entry]:
        try:
            chunks = _chunks(batch.data)
        except msgspec.MsgspecError as error:
            raise Undecodable(f"chunks {batch.first} to {batch.last} of {self._stream}: {error}") from error
        skipped = max(0, self._chunk - batch.first + 1)
        first, self._chunk = batch.first + skipped, batch.last
        return [
            Entry("chunk", f"{self._run}-{number}", chunk) for number, chunk in enumerate(chunks[skipped:], start=first)
        ]

    def _ending(self, outcome: Outcome) -> list[Entry]:
        """Return the end; before it a restart, when what the reader has is not of the run that gave the result."""
        streamed = outcome.streamed
        page: list[Entry] = []
        if self._run is not None and self._chunk and (streamed is not None or outcome.status == "succeeded"):
            page = self._moved_to(streamed.run if streamed is not None else 0, None)
        end = {
            "status": outcome.status,
            "output": outcome.output,
            "error": msgspec.structs.asdict(outcome.error) if outcome.error is not None else None,
            "streamed": msgspec.structs.asdict(streamed) if streamed is not None else None,
        }
        return [*page, Entry("end", f"{self._run or 0}-end", end)]
