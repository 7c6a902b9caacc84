"""Append throughput: the library's recorder as shipped, ours, and what the lock and the notification cost.

    python -m tests.bench.append                              SQLite, in a temporary directory
    python -m tests.bench.append postgresql://host/database   and Postgres: an EMPTY database, its functions are altered

One event is 250 bytes; a batch has one append of one event for each execution. `with index` adds an execution's row and
a timer to each append. Figures are events a second, the median of the rounds.
"""

from __future__ import annotations

import argparse
import asyncio
import statistics
import tempfile
import time
from collections import defaultdict
from collections.abc import Awaitable, Callable
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, ClassVar
from uuid import UUID, uuid4

import psycopg
from eventsourcing.persistence import StoredEvent
from eventsourcing.postgres import PostgresApplicationRecorder, PostgresDatastore
from eventsourcing.sqlite import SQLiteApplicationRecorder, SQLiteDatastore
from msgspec import Raw, Struct
from psycopg.conninfo import conninfo_to_dict

from eventstore.codec import Codec
from eventstore.index import ExecutionRow, IndexChange, TimerRow
from eventstore.log import Append
from eventstore.queries import migrations
from eventstore.store import open_store

if TYPE_CHECKING:
    from collections.abc import Sequence

    from eventsourcing.persistence import ApplicationRecorder

    from eventstore.store import Store

BATCHES = (1, 100, 500)
ROUND_S = 0.5
ROUNDS = 5
NOW = datetime.now(UTC)
VALUE = Raw(b'{"text":"' + b"x" * 150 + b'"}')


class Happened(Struct, frozen=True):
    """An event of the size of a small step."""

    NAME: ClassVar[str] = "Happened"
    VERSION: ClassVar[int] = 1

    address: str
    at: datetime
    output: Raw


EVENT = Happened("fanout[2].fetch", NOW, VALUE)
CODEC = Codec([Happened])


def indexed(execution_id: UUID) -> IndexChange:
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


def appends(size: int, *, index: bool) -> list[Append]:
    ids = [uuid4() for _ in range(size)]
    return [Append(key, 0, (EVENT,), indexed(key) if index else IndexChange()) for key in ids]


Insert = Callable[[int], Awaitable[None]]
Variant = tuple[str, Insert, str]
"""Its name, how it inserts a batch of a size, and SQL to run before each of its rounds."""


async def one_round(size: int, insert: Insert) -> float:
    """Return events a second."""
    await insert(size)
    count, started = 0, time.perf_counter()
    while time.perf_counter() - started < ROUND_S:
        await insert(size)
        count += size
    return count / (time.perf_counter() - started)


async def table(title: str, variants: Sequence[Variant], prepare: Callable[[str], None]) -> None:
    """Measure all variants in turn, round after round, so that a growing table and a busy machine hit all alike."""
    rounds: defaultdict[tuple[str, int], list[float]] = defaultdict(list)
    for _ in range(ROUNDS):
        for name, insert, sql in variants:
            prepare(sql)
            for size in BATCHES:
                rounds[name, size].append(await one_round(size, insert))
    print(f"\n{title:32}" + "".join(f"{f'batch {size}':>12}" for size in BATCHES))
    for name, _, _ in variants:
        print(f"{name:32}" + "".join(f"{statistics.median(rounds[name, size]):12,.0f}" for size in BATCHES))


def ours(store: Store, *, index: bool = False) -> Insert:
    return lambda size: store.log.insert(appends(size, index=index))


def library(recorder: ApplicationRecorder) -> Insert:
    async def insert(size: int) -> None:
        rows: Sequence[StoredEvent] = [StoredEvent(uuid4(), 1, *CODEC.encode(EVENT, {})) for _ in range(size)]
        await asyncio.to_thread(recorder.insert_events, rows)

    return insert


async def encoding() -> None:
    started = time.perf_counter()
    for _ in range(200_000):
        CODEC.encode(EVENT, {})
    print(f"\nencode alone: {200_000 / (time.perf_counter() - started):,.0f} events/s")


async def sqlite(folder: str) -> None:
    datastore = SQLiteDatastore(str(Path(folder, "library.db")))
    recorder = SQLiteApplicationRecorder(datastore)
    recorder.create_table()
    store = await open_store(f"sqlite:///{folder}/ours.db", CODEC)
    variants = [
        ("library", library(recorder), ""),
        ("ours, events only", ours(store), ""),
        ("ours, with index", ours(store, index=True), ""),
    ]
    await table("SQLite", variants, lambda _: None)
    datastore.close()
    await store.close()


async def postgres(url: str) -> None:
    store = await open_store(url, CODEC)
    given = {name: str(value) for name, value in conninfo_to_dict(url).items()}
    datastore = PostgresDatastore(
        given["dbname"], given["host"], given["port"], given["user"], given.get("password", "")
    )
    recorder = PostgresApplicationRecorder(datastore)
    recorder.create_table()
    script = migrations("postgres")[0].sql
    shipped = script[script.index("CREATE FUNCTION sagad_append") :].replace("CREATE", "CREATE OR REPLACE", 1)
    no_notification = shipped.replace("PERFORM pg_notify", "-- ", 1)
    neither = no_notification.replace("PERFORM sagad_lock_log", "-- ", 1)
    variants = [
        ("library", library(recorder), shipped),
        ("ours, events only", ours(store), shipped),
        ("ours, with index", ours(store, index=True), shipped),
        ("ours, no notification", ours(store), no_notification),
        ("ours, no notification, no lock", ours(store), neither),
    ]
    with psycopg.connect(url, autocommit=True) as connection:

        def replace_function(sql: str) -> None:
            connection.execute(sql.encode())

        await table("Postgres", variants, replace_function)
        connection.execute(shipped.encode())
    datastore.close()
    await store.close()


async def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("postgres_url", nargs="?", help="of an empty database")
    arguments = parser.parse_args()
    await encoding()
    with tempfile.TemporaryDirectory() as folder:
        await sqlite(folder)
    if arguments.postgres_url:
        await postgres(arguments.postgres_url)


if __name__ == "__main__":
    asyncio.run(main())
