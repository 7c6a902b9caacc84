"""Append throughput: the raw limit, the library's recorder as shipped, ours, and what the lock and the notice cost.

One event is 250 bytes; a batch has one append of one event for each execution, and is one commit. `with index` adds an
execution's row and a timer to each append. The raw limit has its rows ready in memory, and only inserts them.
"""

from __future__ import annotations

import asyncio
import sqlite3
import time
from collections.abc import Awaitable, Callable
from contextlib import asynccontextmanager
from datetime import UTC, datetime
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
from eventstore.index import ExecutionRow, IndexChange, TimerRow
from eventstore.log import Append
from eventstore.queries import migrations
from eventstore.sqlite_database import PRAGMAS
from eventstore.store import open_store
from tests.bench.figures import Bench, Benchmark, Figure

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Mapping, Sequence

    from eventsourcing.persistence import ApplicationRecorder

    from eventstore.store import Store

BATCHES = (1, 100, 500)
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

Insert: TypeAlias = Callable[[int], Awaitable[object]]
"""Inserts a batch of a size."""


async def run(bench: Bench) -> Sequence[Figure]:
    """Measure each way with each size of batch, one way after the other on the same store."""
    figures = []
    with bench.fresh_store() as url:
        ways = _on_postgres(url) if bench.store == "postgres" else _on_sqlite(url)
        async with ways as variants:
            for name, (insert, prepare) in variants.items():
                await prepare()
                for size in BATCHES:
                    rate = await _rate(size, insert, bench.sizes.append_s)
                    figures.append(Figure(f"{name}, {size} in a commit", rate, "events/s"))
    return figures


async def _rate(size: int, insert: Insert, duration_s: float) -> float:
    await insert(size)
    count, started = 0, time.perf_counter()
    while time.perf_counter() - started < duration_s:
        await insert(size)
        count += size
    return count / (time.perf_counter() - started)


def _indexed(execution_id: UUID) -> IndexChange:
    row = ExecutionRow(
        execution_id=execution_id,
        workflow="order-fulfilment",
        definition="0" * 64,
        status="running",
        cause="step",
        busy=True,
        started_at=NOW,
        updated_at=NOW,
    )
    return IndexChange(row, (TimerRow("charge/1", NOW),))


def _appends(size: int, *, index: bool) -> list[Append]:
    ids = [uuid4() for _ in range(size)]
    return [Append(key, 0, (EVENT,), _indexed(key) if index else IndexChange()) for key in ids]


def _ours(store: Store, *, index: bool = False) -> Insert:
    return lambda size: store.log.insert(_appends(size, index=index))


def _library(recorder: ApplicationRecorder) -> Insert:
    async def insert(size: int) -> None:
        rows: Sequence[StoredEvent] = [StoredEvent(uuid4(), 1, *CODEC.encode(EVENT, {})) for _ in range(size)]
        await asyncio.to_thread(recorder.insert_events, rows)

    return insert


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

    def insert(size: int) -> None:
        raw.execute("BEGIN IMMEDIATE")
        raw.executemany(RAW_SQLITE, [(uuid4().hex, 1, TOPIC, STATE) for _ in range(size)])
        raw.execute("COMMIT")

    try:
        yield {
            "raw limit: executemany": (lambda size: asyncio.to_thread(insert, size), _nothing),
            "library's recorder": (_library(recorder), _nothing),
            "ours, events only": (_ours(store), _nothing),
            "ours, with index": (_ours(store, index=True), _nothing),
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
    script = migrations("postgres")[0].sql
    shipped = script[script.index("CREATE FUNCTION sagad_append") :].replace("CREATE", "CREATE OR REPLACE", 1)
    no_notice = shipped.replace("PERFORM pg_notify", "-- ", 1)
    neither = no_notice.replace("PERFORM sagad_lock_log", "-- ", 1)
    async with await psycopg.AsyncConnection.connect(url, autocommit=True) as raw:
        arrays.register(raw)

        async def insert(size: int) -> None:
            ids, ones = Uuids.of([uuid4().bytes for _ in range(size)]), Bigints.of([1] * size)
            rows = (ids, ones, Texts.of([TOPIC] * size), Bytes.of([STATE] * size))
            await raw.execute(RAW_POSTGRES, rows, prepare=True)

        def function(sql: str) -> Callable[[], Awaitable[object]]:
            return lambda: raw.execute(sql.encode())

        yield {
            "raw limit: one INSERT of unnest": (insert, _nothing),
            "library's recorder": (_library(recorder), _nothing),
            "ours, events only": (_ours(store), _nothing),
            "ours, with index": (_ours(store, index=True), _nothing),
            "ours, with index, no notice": (_ours(store, index=True), function(no_notice)),
            "ours, with index, no notice, no lock": (_ours(store, index=True), function(neither)),
        }
    datastore.close()
    await store.close()


BENCHMARK = Benchmark("append", "Raw limit: events appended, no engine", run)
