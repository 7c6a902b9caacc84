"""Streams on a whole daemon: readers from any place, restarts after crashes and failures, and what remains."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Any
from uuid import uuid4

import pytest

from daemon.core.commands import CancelExecution
from daemon.core.errors import ExecutionNotFound
from daemon.runtime.stream_readers import START, Place, StreamReader, read_place
from daemon.runtime.views import execution_view, plain
from daemon.settings import Streams
from daemon.testing.clock import FakeClock
from eventstore.streams import Batch, StreamId
from tests.support import gated_handlers
from tests.support.daemons import PATIENCE_S, finished, in_flight, running, settings_for, start, until

if TYPE_CHECKING:
    from collections.abc import AsyncIterator
    from pathlib import Path
    from uuid import UUID

    from daemon.assembled import Daemon
    from daemon.runtime.stream_readers import Entry

HANDLERS = "tests.support.streaming_handlers"
FLOWS = """
workflow: writing
nodes:
  write: {task: held, with: {name: "{{ input }}"}}
  after: {transform: "{{ write }}!"}
edges: [write -> after]
---
workflow: counting
nodes: {count: {task: count.loop, with: {to: "{{ input }}"}}}
---
workflow: broken
nodes: {write: {task: broken, retry: {max_attempts: 2, initial: 1s}}}
---
workflow: turns
nodes:
  each:
    forEach: [a, b]
    do: {nodes: {write: {task: listed, with: {chunks: ["{{ loop.item }}"]}}}}
---
workflow: quiet
nodes: {write: {task: quiet}, never: {task: quiet}, choose: {branch: "{{ false }}"}}
edges: [choose.true -> never]
"""


def reader(daemon: Daemon, target: UUID, address: str = "write", place: Place = START) -> AsyncIterator[Any]:
    """Return the pages of a reader."""
    made = StreamReader(
        StreamId(target, address),
        place,
        hub=daemon.streams,
        history=daemon.history,
        changes=daemon.changes,
        local=lambda: daemon.engine.holds(target),
    )
    return made.pages(stopping=lambda: daemon.stopping)


async def entries(pages: AsyncIterator[Any], *, number: int | None = None) -> list[Entry]:
    """Return so many entries, or all up to the end."""
    found: list[Entry] = []
    async with asyncio.timeout(PATIENCE_S):
        async for page in pages:
            found += page
            if number is not None and len(found) >= number:
                break
    return found


def told(found: list[Entry]) -> list[Any]:
    """Return kinds and data, of the end only the status and output."""
    return [_told(entry) for entry in found]


def _told(entry: Entry) -> Any:
    data = plain(entry.data)
    if entry.kind == "end":
        return "end", data["status"], data["output"]
    return data if entry.kind == "chunk" else (entry.kind, data["run"])


async def test_a_reader_sees_chunks_while_the_step_is_at_work_and_then_its_end(tmp_path: Path) -> None:
    async with running(settings_for(tmp_path, FLOWS, handlers=HANDLERS)) as daemon:
        target = await start(daemon, "writing", "stream-live")
        pages = reader(daemon, target)
        assert told(await entries(pages, number=1)) == ["before 1"]
        assert in_flight("write")(await daemon.history.load(target))
        gated_handlers.gates["stream-live"].set()
        assert told(await entries(pages)) == [" after", ("end", "succeeded", "before 1 after")]


@pytest.mark.parametrize("place", ["0", "1", "1999", "2000", "1-1999", "1-2000"])
async def test_a_late_reader_reads_from_any_chunk(tmp_path: Path, place: str) -> None:
    """Chunks stay for a while after the end, and nobody need read from the first."""
    settings = settings_for(tmp_path, FLOWS, handlers=HANDLERS, store_url=f"sqlite:///{tmp_path}/log.db")
    async with running(settings) as daemon:
        target = await start(daemon, "counting", 2000)
        await finished(daemon, target)
        begin = read_place(place)
        assert begin is not None
        found = await entries(reader(daemon, target, "count", begin))
        assert [entry.id for entry in found] == [*(f"1-{n}" for n in range(begin.chunk + 1, 2001)), "1-end"]
        assert told(found)[:-1] == [f"{number} " for number in range(begin.chunk, 2000)]
        end = plain(found[-1].data)
        assert (end["streamed"]["chunks"], end["streamed"]["counted"]) == (2000, {"words": 2000, "seen": 2000})


async def test_a_stream_makes_no_events(tmp_path: Path) -> None:
    """However many chunks there are; what went through is recorded with the result."""
    async with running(settings_for(tmp_path, FLOWS, handlers=HANDLERS)) as daemon:
        target = await start(daemon, "counting", 5000)
        state = await finished(daemon, target)
        history = await daemon.history.events(target)
        assert len(history) == 4
        [step] = plain(execution_view(target, state, history))["steps"]
        assert step["streamed"]["chunks"] == 5000


async def test_a_retry_is_a_run_of_its_own_and_readers_are_told(tmp_path: Path) -> None:
    clock = FakeClock()
    async with running(settings_for(tmp_path, FLOWS, handlers=HANDLERS), clock=clock) as daemon:
        target = await start(daemon, "broken", None)
        pages = reader(daemon, target)
        assert told(await entries(pages, number=1)) == ["attempt 1"]
        await until(daemon, target, lambda state: getattr(state, "sleeping", 0) == 1)
        reading = asyncio.ensure_future(entries(pages))
        await clock.advance(1)
        await finished(daemon, target)
        await clock.advance(2)
        whole = [("restart", 2), "attempt 2", ".", ("end", "succeeded", "attempt 2.")]
        assert told(await reading) == whole
        assert told(await entries(reader(daemon, target, place=Place(1, 1)))) == whole
        assert told(await entries(reader(daemon, target))) == whole[1:]


async def test_a_crash_while_streaming_restarts_the_readers_and_mixes_nothing(tmp_path: Path) -> None:
    """The attempt has the same number when another daemon makes it again; its run has not."""
    settings = settings_for(tmp_path, FLOWS, handlers=HANDLERS, store_url=f"sqlite:///{tmp_path}/log.db")
    async with running(settings) as first:
        target = await start(first, "writing", "stream-crash")
        seen = await entries(reader(first, target), number=1)
        assert told(seen) == ["before 1"]
    gated_handlers.gates["stream-crash"].set()
    async with running(settings) as second:
        place = read_place(seen[-1].id)
        assert place is not None
        found = told(await entries(reader(second, target, place=place)))
        assert found == [("restart", 2), "before 1", " after", ("end", "succeeded", "before 1 after")]


async def test_a_crash_after_the_chunks_and_before_the_result_too(tmp_path: Path) -> None:
    settings = settings_for(tmp_path, FLOWS, handlers=HANDLERS, store_url=f"sqlite:///{tmp_path}/log.db")
    async with running(settings) as first:
        first.steps._report = lambda job: None  # type: ignore[method-assign]  # the process dies here
        target = await start(first, "counting", 3)
        seen = await entries(reader(first, target, "count"), number=3)
        assert told(seen) == ["0 ", "1 ", "2 "]
        first.steps.abandon()
    async with running(settings) as second:
        place = read_place(seen[-1].id)
        assert place is not None
        found = told(await entries(reader(second, target, "count", place)))
        assert found == [("restart", 2), "0 ", "1 ", "2 ", ("end", "succeeded", "0 1 2 ")]


async def test_another_daemons_stream_is_read_too(tmp_path: Path, fresh_postgres_url: str) -> None:
    settings = settings_for(tmp_path, FLOWS, handlers=HANDLERS, store_url=fresh_postgres_url)
    async with running(settings) as writer, running(settings) as other:
        target = await start(writer, "writing", "stream-elsewhere")
        pages = reader(other, target)
        assert told(await entries(pages, number=1)) == ["before 1"]
        gated_handlers.gates["stream-elsewhere"].set()
        assert told(await entries(pages)) == [" after", ("end", "succeeded", "before 1 after")]


async def test_a_slow_reader_slows_only_itself(tmp_path: Path) -> None:
    """It has read one page, and everybody else is done; then it gets the rest, page by page."""
    async with running(settings_for(tmp_path, FLOWS, handlers=HANDLERS)) as daemon:
        target = await start(daemon, "counting", 30_000)
        slow = reader(daemon, target, "count")
        first = await entries(slow, number=1)
        await finished(daemon, target)
        assert len(await entries(reader(daemon, target, "count"))) == 30_001
        pages = [page async for page in slow if page]
        assert len(first) + sum(map(len, pages)) == 30_001
        assert max(map(len, pages)) <= 16 * 500


async def test_chunks_go_some_time_after_the_end_and_the_output_remains(tmp_path: Path) -> None:
    clock = FakeClock()
    settings = settings_for(tmp_path, FLOWS, handlers=HANDLERS, streams=Streams(keep_s=600))
    async with running(settings, clock=clock) as daemon:
        target = await start(daemon, "counting", 3)
        await finished(daemon, target)
        await clock.advance(500)
        assert len(await entries(reader(daemon, target, "count"))) == 4
        await clock.advance(200)
        [end] = await entries(reader(daemon, target, "count"))
        assert (end.id, _told(end)) == ("0-end", ("end", "succeeded", "0 1 2 "))
        assert plain(end.data)["streamed"]["chunks"] == 3


async def test_a_step_without_a_stream_has_an_end_only(tmp_path: Path) -> None:
    async with running(settings_for(tmp_path, FLOWS, handlers=HANDLERS)) as daemon:
        target = await start(daemon, "quiet", None)
        await finished(daemon, target)
        assert told(await entries(reader(daemon, target))) == [("end", "succeeded", 1)]
        assert told(await entries(reader(daemon, target, "never"))) == [("end", "skipped", None)]
        assert told(await entries(reader(daemon, target, "nowhere"))) == [("end", "abandoned", None)]
        with pytest.raises(ExecutionNotFound):
            await entries(reader(daemon, uuid4()))


async def test_steps_in_turns_have_streams_of_their_own(tmp_path: Path) -> None:
    """Also when the turn is over, and its steps have left the state."""
    async with running(settings_for(tmp_path, FLOWS, handlers=HANDLERS)) as daemon:
        target = await start(daemon, "turns", None)
        await finished(daemon, target)
        assert told(await entries(reader(daemon, target, "each[1].write"))) == ["b", ("end", "succeeded", ["b"])]


async def test_a_step_that_is_given_up_ends_its_readers(tmp_path: Path) -> None:
    async with running(settings_for(tmp_path, FLOWS, handlers=HANDLERS)) as daemon:
        target = await start(daemon, "writing", "given-up-stream")
        pages = reader(daemon, target)
        await entries(pages, number=1)
        await daemon.engine.send(target, CancelExecution(reason="", actor="ann", at=daemon.clock.now()))
        assert told(await entries(pages)) == [("end", "abandoned", None)]


async def test_what_was_streamed_by_an_attempt_that_did_not_succeed_is_void(tmp_path: Path) -> None:
    """A step that had a stream, and then its result from an attempt without one, tells so."""
    async with running(settings_for(tmp_path, FLOWS, handlers=HANDLERS)) as daemon:
        target = await start(daemon, "quiet", None)
        await finished(daemon, target)
        stream = StreamId(target, "write")
        run = await daemon.store.streams.begin(stream, attempt=1, at=daemon.clock.now())
        await daemon.store.streams.add(stream, run, Batch(1, 1, b"[7]"), bytes_so_far=1)
        assert told(await entries(reader(daemon, target))) == [7, ("restart", 0), ("end", "succeeded", 1)]


@pytest.mark.parametrize(
    ("text", "place"), [("17", Place(None, 17)), ("2-17", Place(2, 17)), ("3-end", None), ("0-end", None)]
)
def test_places_are_read(text: str, place: Place | None) -> None:
    assert read_place(text) == place


@pytest.mark.parametrize("text", ["", "x", "-1", "1-", "1-2-3", "9" * 16, "١"])
def test_what_is_no_place_is_refused(text: str) -> None:
    with pytest.raises(ValueError, match="no place in a stream"):
        read_place(text)


async def test_a_stopping_daemon_ends_its_readers(tmp_path: Path) -> None:
    async with running(settings_for(tmp_path, FLOWS, handlers=HANDLERS)) as daemon:
        target = await start(daemon, "writing", "stopped-stream")
        pages = reader(daemon, target)
        await entries(pages, number=1)
        reading = asyncio.ensure_future(entries(pages))
        stopping = asyncio.ensure_future(daemon.stop())
        assert told(await reading) == []
        await stopping
