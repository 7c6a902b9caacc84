"""The upper limit for this Python: executions whose steps only await their durable commit, with no engine at all.

All events that wait are written by one statement of binary arrays, one commit at a time, at most `LARGEST` in one; the
next batch gathers meanwhile. Nothing is decided, folded, indexed or checked. An event has 300 bytes. The time of one
execution is that of as many commits in a row as sagad makes: one more than it has steps.
"""

from __future__ import annotations

import asyncio
import time
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING
from uuid import uuid4

import psycopg

from eventstore import arrays
from eventstore.arrays import Bigints, Bytes, Uuids
from tests.bench.figures import Bench, Benchmark, Figure, WrongOutcomeError, milliseconds
from tests.bench.peers.driver import (
    CPU_A_STEP,
    IN_TURN,
    LATENCY_STEPS,
    LOW_RATE,
    SHORTER,
    STEPS,
    STEPS_A_SECOND,
    latency_of,
)

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Sequence

LARGEST = 500
"""Events in a commit: the knee, beyond which only latency grows."""
TABLE = "CREATE TABLE event (execution uuid, version bigint, state bytea, PRIMARY KEY (execution, version))"
INSERT = "INSERT INTO event SELECT * FROM unnest(%s, %s, %s)"
STATE = b"x" * 276
"""With id and version, a row of 300 bytes."""


class Log:
    """Appends events of many executions in one commit each time."""

    def __init__(self, connection: psycopg.AsyncConnection) -> None:
        self.connection = connection
        self.waiting: list[tuple[bytes, int, asyncio.Future[None]]] = []
        self.writing: asyncio.Task[None] | None = None

    async def append(self, execution: bytes, version: int) -> None:
        """Return when the event is durable."""
        durable = asyncio.get_running_loop().create_future()
        self.waiting.append((execution, version, durable))
        if self.writing is None:
            self.writing = asyncio.create_task(self._write())
        await durable

    async def _write(self) -> None:
        while self.waiting:
            batch, self.waiting = self.waiting[:LARGEST], self.waiting[LARGEST:]
            ids = Uuids.of([execution for execution, _, _ in batch])
            versions = Bigints.of([version for _, version, _ in batch])
            await self.connection.execute(INSERT, (ids, versions, Bytes.of([STATE] * len(batch))), prepare=True)
            for _, _, durable in batch:
                durable.set_result(None)
        self.writing = None


async def run(bench: Bench) -> Sequence[Figure]:
    """Measure executions of 10, 1, 3 and 5 steps, one event a step."""
    figures: list[Figure] = []
    for steps in (STEPS, *SHORTER):
        elapsed_s, cpu_s, steps_s = await _measure(bench, steps)
        count = bench.sizes.at_once
        if steps == STEPS:
            figures.append(Figure(STEPS_A_SECOND, count * steps / elapsed_s, "/s"))
            figures.append(Figure(CPU_A_STEP, cpu_s / (count * steps) * 1e6, "µs/step"))
            figures += milliseconds(f"step, {count:,} executions at once", steps_s, 50, 99)
        else:
            figures.append(Figure(f"executions of {steps} step{'s' * (steps > 1)}", count / elapsed_s, "/s"))
    for rate in (IN_TURN, LOW_RATE):
        figures += milliseconds(latency_of(rate), await _latencies(bench, rate), 50, 99)
    return figures


async def _measure(bench: Bench, steps: int) -> tuple[float, float, list[float]]:
    """Return elapsed seconds, seconds of processor time, and how long each step took."""
    steps_s: list[float] = []

    async def execution(log: Log) -> None:
        key = uuid4().bytes
        for version in range(steps):
            began = time.perf_counter()
            await log.append(key, version)
            steps_s.append(time.perf_counter() - began)

    sizes = bench.sizes
    async with _empty_log(bench) as log:
        await asyncio.gather(*(execution(log) for _ in range(sizes.warm_up)))
        steps_s.clear()
        began, cpu_s = time.perf_counter(), time.process_time()
        await asyncio.gather(*(execution(log) for _ in range(sizes.at_once)))
        elapsed_s, cpu_s = time.perf_counter() - began, time.process_time() - cpu_s
        row = await (await log.connection.execute("SELECT count(*) FROM event")).fetchone()
    if row != ((sizes.at_once + sizes.warm_up) * steps,):
        raise WrongOutcomeError(f"the table has {row} events")
    return elapsed_s, cpu_s, steps_s


async def _latencies(bench: Bench, rate: int) -> list[float]:
    """Return how long the commits of one execution take, with pauses in between that make it so many a second."""
    taken_s: list[float] = []
    sizes = bench.sizes
    async with _empty_log(bench) as log:
        for number in range(sizes.warm_up + sizes.low_rate_count):
            key, began = uuid4().bytes, time.perf_counter()
            for version in range(LATENCY_STEPS + 1):
                await log.append(key, version)
            took_s = time.perf_counter() - began
            if number >= sizes.warm_up:
                taken_s.append(took_s)
                await asyncio.sleep(max(0.0, 1 / rate - took_s) if rate else 0.0)
    return taken_s


@asynccontextmanager
async def _empty_log(bench: Bench) -> AsyncIterator[Log]:
    with bench.fresh_store() as url:
        async with await psycopg.AsyncConnection.connect(url, autocommit=True) as connection:
            arrays.register(connection)
            await connection.execute(TABLE)
            yield Log(connection)


BENCHMARK = Benchmark(
    "prototype",
    "Upper limit: {at_once:,} executions that only await their commits, no engine",
    run,
    stores=("postgres",),
    contender="prototype without an engine",
)
