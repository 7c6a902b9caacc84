"""Append throughput: the raw limit, the library's recorder as shipped, ours, and what the lock and the notice cost.

One event is 250 bytes. `events only` has one event of a new execution in each append. The executions of one step and of
ten are as a busy daemon writes them: appends of two events, with starts, steps and ends side by side in each batch; the
start writes an index row and a lease, the end changes the row and drops the lease. The raw limit makes new ids, has all
else of its rows ready in memory, and inserts them. `processor` is this process's alone, without the database server's.
"""

from __future__ import annotations

import asyncio
import os
import re
import sqlite3
import time
from collections import deque
from collections.abc import Awaitable, Callable
from contextlib import asynccontextmanager
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, ClassVar, TypeAlias
from uuid import UUID, uuid4

import psycopg
from eventsourcing.persistence import StoredEvent
from eventsourcing.postgres import PostgresApplicationRecorder, PostgresDatastore
from eventsourcing.sqlite import SQLiteApplicationRecorder, SQLiteDatastore
from msgspec import Raw, Struct
from psycopg.conninfo import conninfo_to_dict

from eventstore import arrays
from eventstore.arrays import Bigints, Bytes, Texts, Uuids
from eventstore.codec import Codec
from eventstore.index import UNCHANGED, ExecutionChange, ExecutionRow, IndexChange
from eventstore.log import Append
from eventstore.queries import migrations
from eventstore.sqlite_database import PRAGMAS
from eventstore.store import open_store
from tests.bench.figures import Bench, Benchmark, Figure

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Mapping, Sequence

    from eventsourcing.persistence import ApplicationRecorder

    from eventstore.store import Store

BATCHES = (100, 500)
NOW = datetime.now(UTC)
VALUE = Raw(b'{"text":"' + b"x" * 150 + b'"}')
RAW_SQLITE = "INSERT INTO stored_events (originator_id, originator_version, topic, state) VALUES (?, ?, ?, ?)"
RAW_POSTGRES = """
    INSERT INTO stored_events (originator_id, originator_version, topic, state) SELECT * FROM unnest(%s, %s, %s, %s)
"""


class Happened(Struct, frozen=True):
    """An event of the size of a small step."""

    NAME: ClassVar[str] = "Happened"
    VERSION: ClassVar[int] = 1

    address: str
    at: datetime
    output: Raw


EVENT = Happened("fanout[2].fetch", NOW, VALUE)
CODEC = Codec([Happened])
TOPIC, STATE = CODEC.encode(EVENT, {})
STAGES = 11
"""Appends that an execution of ten steps has; as many batches of a size go before those that count."""
ENDED = IndexChange(changed=ExecutionChange(status="completed", cause="", updated_at=NOW, finished_at=NOW), busy=False)
FUNCTION = re.compile(r"CREATE FUNCTION sagad_append\(.*?\$\$.*?\$\$;", re.DOTALL)

Insert: TypeAlias = Callable[[int], Awaitable[int]]
"""Inserts a batch of about so many events; returns how many."""


async def run(bench: Bench) -> Sequence[Figure]:
    """Measure each way with each size of batch, one way after the other on the same store."""
    figures: list[Figure] = []
    with bench.fresh_store() as url:
        ways = _on_postgres(url) if bench.store == "postgres" else _on_sqlite(url)
        async with ways as variants:
            for name, (insert, prepare) in variants.items():
                await prepare()
                for size in BATCHES:
                    figures += await _measure(f"{name}, {size} in a commit", size, insert, bench.sizes.append_s)
    return figures


async def _measure(name: str, size: int, insert: Insert, duration_s: float) -> Sequence[Figure]:
    for _ in range(STAGES):
        await insert(size)
    count, began, spent = 0, time.perf_counter(), time.process_time()
    while time.perf_counter() - began < duration_s:
        count += await insert(size)
    took, spent = time.perf_counter() - began, time.process_time() - spent
    return [Figure(name, count / took, "events/s"), Figure(f"{name}, processor", spent / count * 1e6, "µs/event")]


class _Stream:
    """Batches of appends by one daemon, of executions that begin, go on and end all the time."""

    def __init__(self, store: Store, steps: int, daemon: UUID) -> None:
        self._store = store
        self._stages = steps + 1
        self._daemon = daemon
        self._under_way: deque[list[UUID]] = deque()

    async def insert(self, size: int) -> int:
        """Insert about so many events."""
        starting = [uuid4() for _ in range(max(1, size // 2 // self._stages))]
        batch = [self._append(one, 0, IndexChange(_row(one), busy=True)) for one in starting]
        for age, executions in enumerate(reversed(self._under_way), start=1):
            change = ENDED if age == self._stages - 1 else UNCHANGED
            batch += [self._append(one, 2 * age, change) for one in executions]
        self._under_way.append(starting)
        while len(self._under_way) >= self._stages:
            self._under_way.popleft()
        await self._store.log.insert(batch)
        return 2 * len(batch)

    def _append(self, execution_id: UUID, after_version: int, change: IndexChange) -> Append:
        return Append(execution_id, after_version, (EVENT, EVENT), change, self._daemon)


def _row(execution_id: UUID) -> ExecutionRow:
    return ExecutionRow(
        execution_id=execution_id,
        workflow="order-fulfilment",
        definition="0" * 64,
        status="running",
        cause="step",
        trigger="order-fulfilment/orders",
        dedupe_key=str(execution_id.int % 10**12),
        started_at=datetime.now(UTC),
        updated_at=NOW,
    )


def _ours(store: Store) -> Insert:
    async def insert(size: int) -> int:
        await store.log.insert([Append(uuid4(), 0, (EVENT,)) for _ in range(size)])
        return size

    return insert


def _library(recorder: ApplicationRecorder) -> Insert:
    async def insert(size: int) -> int:
        rows: Sequence[StoredEvent] = [StoredEvent(uuid4(), 1, *CODEC.encode(EVENT, {})) for _ in range(size)]
        await asyncio.to_thread(recorder.insert_events, rows)
        return size

    return insert


async def _ways(store: Store) -> Variants:
    daemon = uuid4()
    await store.leases.join(daemon, "bench", ttl=timedelta(hours=1))
    return {
        "ours, events only": (_ours(store), _nothing),
        "ours, executions of ten steps": (_Stream(store, 10, daemon).insert, _nothing),
        "ours, executions of one step": (_Stream(store, 1, daemon).insert, _nothing),
    }


async def _nothing() -> None:
    """Prepare nothing."""


Variants: TypeAlias = "Mapping[str, tuple[Insert, Callable[[], Awaitable[object]]]]"
"""Name -> how it inserts, and what goes before."""


@asynccontextmanager
async def _on_sqlite(url: str) -> AsyncIterator[Variants]:
    path = url.removeprefix("sqlite:///")
    store = await open_store(url, CODEC)
    datastore = SQLiteDatastore(f"{path}-library")
    recorder = SQLiteApplicationRecorder(datastore)
    recorder.create_table()
    raw = sqlite3.connect(path, isolation_level=None, check_same_thread=False)
    raw.executescript(PRAGMAS)

    def insert(size: int) -> int:
        raw.execute("BEGIN IMMEDIATE")
        keys = os.urandom(16 * size).hex()
        raw.executemany(RAW_SQLITE, [(keys[at : at + 32], 1, TOPIC, STATE) for at in range(0, 32 * size, 32)])
        raw.execute("COMMIT")
        return size

    try:
        yield {
            "raw limit: executemany": (lambda size: asyncio.to_thread(insert, size), _nothing),
            "library's recorder": (_library(recorder), _nothing),
            **await _ways(store),
        }
    finally:
        raw.close()
        datastore.close()
        await store.close()


@asynccontextmanager
async def _on_postgres(url: str) -> AsyncIterator[Variants]:
    store = await open_store(url, CODEC)
    given = {name: str(value) for name, value in conninfo_to_dict(url).items()}
    datastore = PostgresDatastore(
        given["dbname"], given["host"], given["port"], given["user"], given.get("password", "")
    )
    recorder = PostgresApplicationRecorder(datastore)
    recorder.create_table()
    (function_now,) = FUNCTION.findall("".join(step.sql for step in migrations("postgres")[1:]))
    shipped = function_now.replace("CREATE", "CREATE OR REPLACE", 1)
    no_notice = shipped.replace("PERFORM pg_notify", "-- ", 1)
    neither = no_notice.replace("PERFORM sagad_lock_log", "-- ", 1)
    async with await psycopg.AsyncConnection.connect(url, autocommit=True) as raw:
        arrays.register(raw)

        rest = {n: (Bigints.of([1] * n), Texts.of([TOPIC] * n), Bytes.of([STATE] * n)) for n in BATCHES}

        async def insert(size: int) -> int:
            keys = os.urandom(16 * size)
            ids = Uuids.of([keys[at : at + 16] for at in range(0, 16 * size, 16)])
            await raw.execute(RAW_POSTGRES, (ids, *rest[size]), prepare=True)
            return size

        def function(sql: str) -> Callable[[], Awaitable[object]]:
            return lambda: raw.execute(sql.encode())

        yield {
            "raw limit: one INSERT of unnest": (insert, _nothing),
            "library's recorder": (_library(recorder), _nothing),
            **await _ways(store),
            "ours, events only, no notice": (_ours(store), function(no_notice)),
            "ours, events only, no notice, no lock": (_ours(store), function(neither)),
        }
    datastore.close()
    await store.close()


BENCHMARK = Benchmark("append", "Raw limit: events appended, no engine", run)
