"""The contract of `eventstore.streams.Streams`, on every store."""

from __future__ import annotations

import asyncio
from datetime import datetime, timedelta
from typing import TYPE_CHECKING
from uuid import UUID, uuid4

import pytest

from eventstore.index import IndexChange
from eventstore.streams import Batch, Run, StreamId
from tests.support.stores import NOW, append, row

if TYPE_CHECKING:
    from eventstore.store import Store
    from eventstore.streams import Streams

WRITE = StreamId(UUID(int=9), "each[3].write")


def later(seconds: float) -> datetime:
    return NOW + timedelta(seconds=seconds)


def batches(*sizes: int) -> list[Batch]:
    """Return batches of so many chunks each."""
    ends = [sum(sizes[: number + 1]) for number in range(len(sizes))]
    return [Batch(end - size + 1, end, b"[%d]" % end) for size, end in zip(sizes, ends, strict=True)]


@pytest.fixture
def streams(store: Store) -> Streams:
    return store.streams


async def test_chunks_are_read_from_any_number_on(streams: Streams) -> None:
    run = await streams.begin(WRITE, attempt=1, at=NOW)
    written = batches(3, 1, 4)
    for number, batch in enumerate(written):
        assert await streams.add(WRITE, run, batch, bytes_so_far=10 * (number + 1))
    assert await streams.read(WRITE, run, after=0, limit=9) == written
    assert await streams.read(WRITE, run, after=2, limit=9) == written
    assert await streams.read(WRITE, run, after=3, limit=1) == written[1:2]
    assert await streams.read(WRITE, run, after=8, limit=9) == []
    assert await streams.newest(WRITE) == Run(number=1, attempt=1, chunks=8, bytes=30, began_at=NOW)


async def test_of_a_stream_that_never_began_there_is_nothing(streams: Streams) -> None:
    assert await streams.newest(WRITE) is None
    assert await streams.read(WRITE, 1, after=0, limit=9) == []
    assert not await streams.add(WRITE, 1, Batch(1, 1, b"[1]"), bytes_so_far=1)


async def test_another_run_drops_the_chunks_of_the_one_before_and_refuses_its_writer(streams: Streams) -> None:
    first = await streams.begin(WRITE, attempt=1, at=NOW)
    await streams.add(WRITE, first, Batch(1, 2, b"[1,2]"), bytes_so_far=2)
    second = await streams.begin(WRITE, attempt=2, at=later(1))
    assert (first, second) == (1, 2)
    assert not await streams.add(WRITE, first, Batch(3, 3, b"[3]"), bytes_so_far=3)
    await streams.end(WRITE, first, at=later(1))
    assert await streams.read(WRITE, first, after=0, limit=9) == []
    assert await streams.read(WRITE, second, after=0, limit=9) == []
    assert await streams.newest(WRITE) == Run(number=2, attempt=2, began_at=later(1))


async def test_two_that_begin_at_once_get_a_run_each(streams: Streams) -> None:
    numbers = await asyncio.gather(*(streams.begin(WRITE, attempt=1, at=NOW) for _ in range(5)))
    assert sorted(numbers) == [1, 2, 3, 4, 5]


async def test_a_batch_that_is_added_twice_is_there_once(streams: Streams) -> None:
    run = await streams.begin(WRITE, attempt=1, at=NOW)
    for _ in range(2):
        assert await streams.add(WRITE, run, Batch(1, 2, b"[1,2]"), bytes_so_far=2)
    assert await streams.read(WRITE, run, after=0, limit=9) == [Batch(1, 2, b"[1,2]")]
    newest = await streams.newest(WRITE)
    assert newest is not None
    assert (newest.chunks, newest.bytes) == (2, 2)


async def test_streams_go_some_time_after_their_end(streams: Streams) -> None:
    others = [StreamId(uuid4(), "a"), StreamId(uuid4(), "a")]
    for number, stream in enumerate((WRITE, *others)):
        run = await streams.begin(stream, attempt=1, at=NOW)
        await streams.add(stream, run, Batch(1, 1, b"[1]"), bytes_so_far=1)
        if stream != others[1]:
            await streams.end(stream, run, at=later(number))
    assert await streams.oldest_end() == NOW
    assert await streams.prune(ended_before=later(1)) == 1
    assert await streams.newest(WRITE) is None
    assert await streams.read(WRITE, 1, after=0, limit=9) == []
    assert await streams.oldest_end() == later(1)
    assert len(await streams.read(others[1], 1, after=0, limit=9)) == 1


async def test_streams_go_some_time_after_the_end_of_their_execution(store: Store) -> None:
    """A crash may come before the end of a stream is noted; the execution's is in the index."""
    execution_id = uuid4()
    await store.streams.begin(StreamId(execution_id, "a"), attempt=1, at=NOW)
    await store.streams.begin(WRITE, attempt=1, at=NOW)
    ended = row(execution_id, status="failed", cause="", finished_at=NOW)
    await store.log.insert([append(execution_id, index=IndexChange(execution=ended))])
    assert await store.streams.oldest_end() is None
    assert await store.streams.prune(ended_before=NOW) == 0
    assert await store.streams.prune(ended_before=later(1)) == 1
    assert await store.streams.newest(StreamId(execution_id, "a")) is None
    assert await store.streams.newest(WRITE) is not None
