"""Handlers that stream, on the real `Steps`: what readers get, what the output is, and who is held back."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import AsyncIterator, Iterator  # noqa: TC003  annotations of handlers are resolved
from typing import Any

import msgspec
import pytest

from daemon.core.commands import CompleteStep, FailStep
from daemon.core.templates import SecretName, SecretSlot
from daemon.core.values import from_json
from daemon.handlers import Context, handler
from daemon.runtime import streams as module
from daemon.runtime.handler_registry import HandlerRegistry, load_handlers
from daemon.testing.clock import settle
from eventstore.errors import Unavailable
from eventstore.streams import StreamId
from tests.support.step_bench import EXECUTION, Bench, bench

WORK = StreamId(EXECUTION, "work")
LANES = ("loop", "thread", "process")


@pytest.fixture(scope="module")
def handlers() -> HandlerRegistry:
    return load_handlers(["tests.support.streaming_handlers"])


async def written(steps: Bench, run: int = 1) -> list[Any]:
    """Return the chunks of a run."""
    batches = await steps.streams.read(WORK, run, after=0, limit=100_000)
    return [chunk for batch in batches for chunk in msgspec.json.decode(batch.data)]


@pytest.mark.parametrize("lane", LANES)
@pytest.mark.parametrize("way", ["count", "told"])
async def test_all_chunks_are_written_in_order_and_counted(handlers: HandlerRegistry, way: str, lane: str) -> None:
    async with bench(handlers=handlers) as steps:
        steps.run(f"{way}.{lane}", {"to": 3000})
        result = await steps.result()
        assert isinstance(result, CompleteStep), result
        assert await written(steps) == [f"{number} " for number in range(3000)]
        assert result.streamed is not None
        assert (result.streamed.run, result.streamed.chunks) == (1, 3000)
        assert result.streamed.bytes == sum(len(f'"{number} "') for number in range(3000))
        assert from_json(result.streamed.counted) == {"words": 3000, "seen": 3000}
        expected = "".join(f"{number} " for number in range(3000)) if way == "count" else 3000
        assert from_json(result.output) == expected


@pytest.mark.parametrize(
    ("name", "value", "output"),
    [
        ("listed", {"chunks": [1, {"a": 2}]}, [1, {"a": 2}]),
        ("listed", {"chunks": []}, []),
        ("last", {"chunks": [1, {"a": 2}]}, {"a": 2}),
        ("last", {"chunks": []}, None),
        ("summed", {"chunks": [1, 2, 3]}, 6),
        ("joined", {"chunks": ["a", "b"]}, "ab"),
        ("joined", {"chunks": []}, ""),
        ("returned", {"chunks": [1, 2], "result": {"n": 2}}, {"n": 2}),
        ("returned", {"chunks": [1, 2], "result": None}, [1, 2]),
    ],
)
async def test_what_is_yielded_makes_the_output(
    handlers: HandlerRegistry, name: str, value: dict[str, Any], output: Any
) -> None:
    async with bench(handlers=handlers) as steps:
        steps.run(name, value)
        assert await steps.output() == output
        assert await written(steps) == value["chunks"]


async def test_an_answer_that_is_yielded_ends_the_stream(handlers: HandlerRegistry) -> None:
    async with bench(handlers=handlers) as steps:
        steps.run("answered", {"chunks": [1, 2]})
        result = await steps.result()
        assert isinstance(result, CompleteStep)
        assert (from_json(result.output), result.port) == ({"after": 2}, "declined")
        assert await written(steps) == [1, 2]


@pytest.mark.parametrize(
    ("name", "chunks", "code"),
    [
        ("joined", ["a", 1], "invalid_output"),
        ("listed", ["x" * 2_000_000], "chunk_too_large"),
        ("listed", ["x" * 1_000_000] * 17, "output_too_large"),
    ],
)
async def test_what_cannot_be_a_chunk_or_an_output_fails_at_once(
    handlers: HandlerRegistry, name: str, chunks: list[Any], code: str
) -> None:
    async with bench(handlers=handlers) as steps:
        steps.run(name, {"chunks": chunks})
        failed = await steps.failure()
        assert (failed.error.code, failed.retryable) == (code, False)


async def test_a_failing_attempt_has_its_chunks_written_and_the_next_is_another_run(handlers: HandlerRegistry) -> None:
    async with bench(handlers=handlers) as steps:
        steps.run("broken", {})
        await steps.failure()
        assert await written(steps) == ["attempt 1"]
        steps.run("broken", {}, attempt=2)
        [_, result] = await steps.commands(2)
        assert isinstance(result, CompleteStep)
        assert (await written(steps, 1), await written(steps, 2)) == ([], ["attempt 2", "."])
        newest = await steps.streams.newest(WORK)
        assert newest is not None
        assert (newest.number, newest.attempt) == (2, 2)


async def test_a_handler_that_does_not_stream_has_no_stream(handlers: HandlerRegistry) -> None:
    async with bench(handlers=handlers) as steps:
        steps.run("quiet", {})
        result = await steps.result()
        assert isinstance(result, CompleteStep)
        assert (result.streamed, await steps.streams.newest(WORK)) == (None, None)


class Slow:
    """A store that writes when it is told to."""

    def __init__(self, steps: Bench) -> None:
        self.may = asyncio.Semaphore(0)
        self.asked = asyncio.Event()
        self._add = steps.streams.add
        steps.streams.add = self.add  # type: ignore[method-assign]  # the store of this test

    async def add(self, *arguments: Any, **more: Any) -> bool:
        self.asked.set()
        await self.may.acquire()
        return await self._add(*arguments, **more)


@pytest.mark.parametrize("lane", ["loop", "thread"])
async def test_a_slow_store_holds_the_handler_back(lane: str) -> None:
    """What waits in memory is bounded: chunks are taken no faster than they are written."""
    yielded = 0

    @handler("loop", collect="last")
    async def loop() -> AsyncIterator[int]:
        nonlocal yielded
        for yielded in range(1, 20_001):
            yield yielded

    @handler("thread", collect="last")
    def thread() -> Iterator[int]:
        nonlocal yielded
        for number in range(1, 20_001):
            yielded = number
            yield number

    async with bench(loop, thread) as steps:
        slow = Slow(steps)
        steps.run(lane, {})
        await slow.asked.wait()
        seen = -1
        while seen != yielded:
            seen = yielded
            await settle()
            await asyncio.to_thread(threading.Event().wait, 0.02)
        assert yielded <= module.MAX_WAITING_CHUNKS + 2 * module.BATCH_CHUNKS
        for _ in range(20_001):
            slow.may.release()
        while not steps.reported:
            await steps.clock.advance(module.PAUSE_S)
            await asyncio.to_thread(threading.Event().wait, 0.001)
        assert await written(steps) == list(range(1, 20_001))


async def test_a_store_that_is_away_is_waited_for() -> None:
    @handler("work")
    async def work() -> AsyncIterator[int]:
        yield 1
        yield 2

    async with bench(work) as steps:
        begin, add, faults = steps.streams.begin, steps.streams.add, [1, 1]

        async def fails(call: Any, *arguments: Any, **more: Any) -> Any:
            if faults and faults.pop():
                raise Unavailable("away")
            return await call(*arguments, **more)

        steps.streams.begin = lambda *a, **m: fails(begin, *a, **m)  # type: ignore[method-assign]  # a faulty store
        steps.streams.add = lambda *a, **m: fails(add, *a, **m)  # type: ignore[method-assign]  # a faulty store
        steps.run(value={})
        await steps.clock.until_sleeping()
        await steps.clock.advance(10)
        assert await steps.output() == [1, 2]
        assert await written(steps) == [1, 2]


async def test_a_stream_that_was_taken_over_is_not_written_to() -> None:
    """The attempt goes on: what it reports is refused by the log if another daemon has its work."""
    begun, go_on = asyncio.Event(), asyncio.Event()

    @handler("work", collect="text")
    async def work() -> AsyncIterator[str]:
        yield "old"
        begun.set()
        await go_on.wait()
        for _ in range(3):
            yield " older"

    async with bench(work) as steps:
        steps.run(value={})
        await begun.wait()
        await settle()
        assert await steps.streams.begin(WORK, attempt=1, at=steps.clock.now()) == 2
        go_on.set()
        await settle()
        await steps.clock.advance(module.PAUSE_S)
        result = await steps.result()
        assert isinstance(result, CompleteStep)
        assert (from_json(result.output), result.streamed) == ("old older older older", None)
        assert (await written(steps, 1), await written(steps, 2)) == ([], [])


async def test_secrets_are_struck_out_of_chunks() -> None:
    @handler("work")
    async def work(key: str) -> AsyncIterator[str]:
        yield f"Bearer {key}"

    slot = SecretSlot(("key",), (SecretName("KEY"),))
    async with bench(work, secrets={"SAGAD_SECRET_KEY": "s3cret-value"}) as steps:
        steps.run(value={"key": "***"}, secrets=(slot,))
        await steps.result()
        assert "s3cret" not in str(await written(steps))


async def test_a_timeout_ends_a_generator_in_a_thread_between_two_chunks() -> None:
    closed = threading.Event()

    @handler("thread")
    def thread(*, context: Context) -> Iterator[int]:
        try:
            while True:
                yield context.attempt
        finally:
            closed.set()

    async with bench(thread) as steps:
        slow = Slow(steps)
        steps.run("thread", {}, timeout_s=1)
        await slow.asked.wait()
        await steps.clock.advance(1)
        failed = await steps.failure()
        assert failed.error.code == "timeout"
        assert await asyncio.to_thread(closed.wait, 10)


async def test_a_count_that_fails_fails_the_attempt() -> None:
    def wrong(chunk: Any) -> dict[str, int]:
        raise ValueError(f"cannot count {chunk}")

    @handler("work", count=wrong)
    async def work() -> AsyncIterator[int]:
        yield 7

    async with bench(work) as steps:
        steps.run(value={})
        result = await steps.result()
        assert isinstance(result, FailStep)
        assert result.error.message == "cannot count 7"
