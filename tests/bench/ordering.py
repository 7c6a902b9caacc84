"""Several writers on one log: what keeping commit order for its tail costs, in three ways, and what the tail sees.

    lock        the statement takes an advisory lock, then the positions, and holds it to the end of the commit
    xmin        no lock; the tail reads only below the oldest running transaction, in order of (transaction, position)
    own log     each writer has a table (and lock) of its own; the tail reads them all, in no order between them
    late flush  as `lock`, but it commits without waiting for the disk, and then waits in a second statement

What a late flush has committed others see before it is on the disk, and may act on what a crash takes back.

`notice` is a NOTIFY in the transaction. A flush of 1 ms is emulated by `commit_delay`, which needs a superuser. Writers
are processes of their own (`ordering_writer`); events have 300 bytes; one statement of binary arrays is one commit.
"""

from __future__ import annotations

import asyncio
import json
import statistics
import sys
import time
from contextlib import asynccontextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

import psycopg

from tests.bench.figures import Bench, Benchmark, Figure, WrongOutcomeError, milliseconds

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Mapping, Sequence

ROOT = Path(__file__).parents[2]
LOGS = 4
BATCHES = (1, 100, 500)
FLUSHES_MS = (0, 1)
WAYS = (
    "lock",
    "lock, notice",
    "xmin",
    "xmin, notice",
    "own log",
    "own log, notice",
    "late flush",
    "late flush, notice",
)
TAILED = ("lock", "xmin", "own log", "late flush")
LEAD_S = 0.02
"""From the order to begin until all begin, so that they begin together."""
TAIL_RATE = 100
"""Commits a second of each writer while the tail is watched."""
TAIL_BATCH = 10
POLL_S = 0.001
PATIENCE_S = 30

LOG = """
    CREATE SCHEMA {log};
    CREATE TABLE {log}.events (
        id uuid NOT NULL, version bigint NOT NULL, topic text, state bytea, position bigserial, {more}
        PRIMARY KEY (id, version)
    );
    CREATE UNIQUE INDEX ON {log}.events ({order});
    CREATE FUNCTION {log}.append(ids uuid[], versions bigint[], topics text[], states bytea[], notice boolean)
    RETURNS void LANGUAGE plpgsql AS
    $$
    BEGIN
        {before}
        INSERT INTO {log}.events (id, version, topic, state) SELECT * FROM unnest(ids, versions, topics, states);
        IF notice THEN
            PERFORM pg_notify('{log}', '');
        END IF;
    END
    $$;
"""
LOCK = "PERFORM pg_advisory_xact_lock('{log}.events'::regclass::oid::bigint);"
NO_WAIT = "PERFORM set_config('synchronous_commit', 'off', true);"
BY_POSITION = b"SELECT id, 0, position FROM %s.events WHERE position > %%(position)s ORDER BY position LIMIT 2000"
BY_TRANSACTION = b"""
    SELECT id, xid::text::bigint, position FROM %s.events
    WHERE (xid, position) > (%%(xid)s::text::xid8, %%(position)s) AND xid < pg_snapshot_xmin(pg_current_snapshot())
    ORDER BY xid, position LIMIT 2000
"""


async def run(bench: Bench) -> Sequence[Figure]:
    """Measure throughput of each way, then what its tail sees."""
    sizes, figures = bench.sizes, []
    with bench.fresh_store() as url:
        await _make_logs(url)
        async with _writers(url, max(sizes.writers)) as writers:
            flushes = FLUSHES_MS if await _may_delay(url) else FLUSHES_MS[:1]
            for flush_ms in flushes:
                for size in BATCHES:
                    for count in sizes.writers:
                        kind = f"flush {flush_ms} ms, {size} in a commit, {count} writer{'s' * (count > 1)}"
                        rates = await _rates(writers[:count], bench, size=size, flush_ms=flush_ms)
                        figures += [Figure(f"{kind}: {way}", rate, "events/s") for way, rate in rates.items()]
            for way in TAILED:
                figures += await _tail(url, bench.service("postgres"), writers[:2], way, sizes.append_s * 20)
    return figures


def log_of(way: str, writer: int) -> str:
    """Return the schema of the log that the writer of this number appends to."""
    name = way.removesuffix(", notice").replace(" ", "_")
    return f"{name}_{writer}" if name == "own_log" else name


async def _make_logs(url: str) -> None:
    async with await psycopg.AsyncConnection.connect(url, autocommit=True) as connection:
        for log in ("lock", "late_flush", *(f"own_log_{number}" for number in range(LOGS))):
            before = LOCK.format(log=log) + (NO_WAIT if log == "late_flush" else "")
            await connection.execute(LOG.format(log=log, more="", order="position", before=before).encode())
        more = "xid xid8 NOT NULL DEFAULT pg_current_xact_id(),"
        await connection.execute(LOG.format(log="xmin", more=more, order="xid, position", before="").encode())


async def _may_delay(url: str) -> bool:
    async with await psycopg.AsyncConnection.connect(url, autocommit=True) as connection:
        try:
            await connection.execute("SET commit_delay = 1000")
        except psycopg.errors.InsufficientPrivilege:
            print("ordering: no flush of 1 ms, for `commit_delay` needs a superuser", file=sys.stderr)
            return False
    return True


class _Writer:
    """A process that appends when it is told to."""

    def __init__(self, number: int, process: asyncio.subprocess.Process) -> None:
        self.number = number
        self._process = process

    async def ask(self, **order: Any) -> Mapping[str, Any]:
        """Have it append; return what it did."""
        stdin, stdout = self._process.stdin, self._process.stdout
        if stdin is None or stdout is None:
            raise TypeError("a writer without pipes")
        stdin.write(json.dumps(order).encode() + b"\n")
        await stdin.drain()
        line = await stdout.readline()
        if not line:
            raise WrongOutcomeError(f"writer {self.number} ended with {await self._process.wait()}")
        told: Mapping[str, Any] = json.loads(line)
        return told

    async def end(self) -> None:
        """Close its input, which ends it."""
        if self._process.stdin is not None:
            self._process.stdin.close()
        await self._process.wait()


@asynccontextmanager
async def _writers(url: str, count: int) -> AsyncIterator[list[_Writer]]:
    writers: list[_Writer] = []
    try:
        for number in range(count):
            process = await asyncio.create_subprocess_exec(
                sys.executable, "-m", "tests.bench.ordering_writer", url,
                cwd=ROOT, stdin=asyncio.subprocess.PIPE, stdout=asyncio.subprocess.PIPE, limit=1 << 24,
            )  # fmt: skip
            writers.append(_Writer(number, process))
        await _append(writers, WAYS[0], size=1, flush_ms=0, duration_s=0.0, pause_s=0.0)
        yield writers
    finally:
        for writer in writers:
            await writer.end()


async def _rates(writers: Sequence[_Writer], bench: Bench, *, size: int, flush_ms: int) -> Mapping[str, float]:
    """Return events a second of all writers together, for each way; they take turns."""
    rates: dict[str, list[float]] = {way: [] for way in WAYS}
    for _ in range(bench.sizes.rounds):
        for way in WAYS:
            order = {"size": size, "flush_ms": flush_ms, "duration_s": bench.sizes.append_s, "pause_s": 0.0}
            told = await _append(writers, way, **order)
            rates[way].append(sum(each["events"] / each["took_s"] for each in told))
    return {way: statistics.median(found) for way, found in rates.items()}


async def _append(writers: Sequence[_Writer], way: str, **order: Any) -> list[Mapping[str, Any]]:
    begin_at = time.monotonic() + LEAD_S
    notice, late = way.endswith(", notice"), way.startswith("late flush")
    return await asyncio.gather(
        *(
            writer.ask(log=log_of(way, writer.number), notice=notice, late=late, begin_at=begin_at, **order)
            for writer in writers
        )
    )


async def _tail(url: str, server: str, writers: Sequence[_Writer], way: str, duration_s: float) -> list[Figure]:
    """Watch the tail while events come at a modest rate, then again beside a foreign transaction.

    That is open for half of the time, in another database of the server, and has nothing to do with the log.
    """
    figures = []
    for foreign in (False, True):
        seen: dict[str, float] = {}
        logs = sorted({log_of(way, writer.number) for writer in writers})
        ready = asyncio.Event()
        tail = asyncio.create_task(_follow(url, way, logs, seen, ready))
        await asyncio.wait_for(ready.wait(), PATIENCE_S)
        holding = asyncio.create_task(_hold_transaction(server, duration_s / 2)) if foreign else None
        order = {"size": TAIL_BATCH, "flush_ms": 0, "duration_s": duration_s, "pause_s": 1 / TAIL_RATE}
        told = await _append(writers, way, **order)
        answered = {key: at for each in told for key, at in each["answered"].items()}
        if holding is not None:
            await holding
        async with asyncio.timeout(PATIENCE_S):
            while not tail.done() and not answered.keys() <= seen.keys():  # noqa: ASYNC110  polls as the tail does
                await asyncio.sleep(POLL_S)
        if tail.done():
            await tail
        tail.cancel()
        await asyncio.wait({tail})
        delays_s = [max(0.0, seen[key] - at) for key, at in answered.items()]
        early = sum(seen[key] < at for key, at in answered.items())
        name = f"{way}: answered to seen by the tail"
        figures.append(Figure(f"{way}: seen before it was answered", 100 * early / max(1, len(answered)), "%"))
        if foreign:
            figures += milliseconds(f"{name}, foreign transaction of {duration_s / 2:g} s", delays_s, 50, 100)
        else:
            figures += milliseconds(name, delays_s, 50, 99)
    return figures


async def _follow(url: str, way: str, logs: Sequence[str], seen: dict[str, float], ready: asyncio.Event) -> None:
    """Read each log on and on from its end, noting when each event came."""
    query = BY_TRANSACTION if way == "xmin" else BY_POSITION
    async with await psycopg.AsyncConnection.connect(url, autocommit=True) as connection:
        places = {}
        for log in logs:
            key = b"xid::text::bigint" if way == "xmin" else b"0"
            last = b"SELECT %s, position FROM %s.events ORDER BY 1 DESC, 2 DESC LIMIT 1" % (key, log.encode())
            row = await (await connection.execute(last)).fetchone()
            places[log] = row or (0, 0)
        ready.set()
        while True:
            found = 0
            for log in logs:
                xid, position = places[log]
                cursor = await connection.execute(
                    query % log.encode(), {"xid": xid, "position": position}, prepare=True
                )
                rows = await cursor.fetchall()
                now = time.monotonic()
                seen.update((row[0].hex, now) for row in rows)
                if rows:
                    places[log] = rows[-1][1:]
                found += len(rows)
            if not found:
                await asyncio.sleep(POLL_S)


async def _hold_transaction(server: str, duration_s: float) -> None:
    async with await psycopg.AsyncConnection.connect(server) as connection:
        await connection.execute("SELECT pg_current_xact_id()")
        await asyncio.sleep(duration_s)


TITLE = "Commit order with several writers: {writers} processes; events of 300 bytes"
BENCHMARK = Benchmark("ordering", TITLE, run, stores=("postgres",), named_only=True)
