"""What processes use: memory, processor time, and what a Postgres server was made to do."""

from __future__ import annotations

import time
from contextlib import contextmanager
from typing import TYPE_CHECKING

import psutil
import psycopg

if TYPE_CHECKING:
    from collections.abc import Iterator


def resident_bytes() -> int:
    """Return how much memory this process has."""
    resident: int = psutil.Process().memory_info().rss
    return resident


def wakeups() -> int:
    """Return how often this process has gone to sleep, all its threads together."""
    return sum(switches(thread.id) for thread in psutil.Process().threads())


def switches(thread_id: int) -> int:
    """Return how often a thread has gone to sleep by itself."""
    found: int = psutil.Process(thread_id).num_ctx_switches().voluntary
    return found


class Spent:
    """Seconds of processor time."""

    daemon_s = 0.0
    server_s = 0.0
    """Of the database's own backends; 0 for SQLite, and for a server that is not on this machine."""


@contextmanager
def spending(url: str) -> Iterator[Spent]:
    """Measure what the block spends. The connections that the database has then must stay until its end."""
    spent = Spent()
    backends = _backends(url)
    before = sum(map(_cpu_s, backends))
    began_s = time.process_time()
    yield spent
    spent.daemon_s = time.process_time() - began_s
    spent.server_s = sum(map(_cpu_s, backends)) - before


def _backends(url: str) -> list[psutil.Process]:
    if url.startswith("sqlite"):
        return []
    with psycopg.connect(url, autocommit=True) as connection:
        rows = connection.execute(
            "SELECT pid FROM pg_stat_activity WHERE datname = current_database() AND pid <> pg_backend_pid()"
        ).fetchall()
    try:
        found = [psutil.Process(pid) for (pid,) in rows]
        return [process for process in found if "postgres" in process.name()]
    except psutil.Error:
        return []


def _cpu_s(process: psutil.Process) -> float:
    try:
        times = process.cpu_times()
    except psutil.Error:
        return 0.0
    return float(times.user + times.system)


def transactions(url: str) -> int:
    """Return how many a database has had, of connections that are closed by now; 0 for SQLite."""
    return _sum(url, "SELECT xact_commit + xact_rollback FROM pg_stat_database WHERE datname = current_database()")


def rows_scanned(url: str) -> int:
    """Return how many rows were read by going through whole tables, by connections that are closed by now.

    0 for SQLite, which does not tell.
    """
    return _sum(url, "SELECT coalesce(sum(seq_tup_read), 0)::bigint FROM pg_stat_user_tables")


def _sum(url: str, query: str) -> int:
    if url.startswith("sqlite"):
        return 0
    with psycopg.connect(url, autocommit=True) as connection:
        row = connection.execute(query.encode()).fetchone()
    return row[0] if row else 0
