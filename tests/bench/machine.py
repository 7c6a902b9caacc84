"""What the figures depend on: the machine, the versions, and how durable a commit is, as the servers tell."""

from __future__ import annotations

import os
import platform
import statistics
import time
from importlib.metadata import version
from pathlib import Path
from typing import TYPE_CHECKING, cast

import psutil
import psycopg

from eventstore.codec import Codec
from eventstore.store import open_store

if TYPE_CHECKING:
    from collections.abc import Mapping

    from eventstore.sqlite_database import Recorder, SqliteDatabase
    from tests.bench.figures import Bench

SYNCS = 50
BUSY = 0.5
"""Load, in runnable processes, above which figures are not to be trusted."""
POSTGRES = (
    "server_version",
    "fsync",
    "synchronous_commit",
    "full_page_writes",
    "wal_sync_method",
    "commit_delay",
    "shared_buffers",
    "max_wal_size",
)
SQLITE = ("journal_mode", "synchronous", "wal_autocheckpoint")


def facts(folder: Path) -> Mapping[str, str]:
    """Return what holds for both stores."""
    load = os.getloadavg()[0]
    return {
        "processor": f"{_processor()}, {psutil.cpu_count()} cores",
        "memory": f"{psutil.virtual_memory().total / 2**30:.1f} GiB",
        "system": f"{platform.system()} {platform.release()}",
        "Python": f"{platform.python_implementation()} {platform.python_version()}, uvloop {version('uvloop')}",
        "disk": f"{_sync_s(folder) * 1000:.2f} ms for a write of 4 KiB with fsync, in {folder}",
        "load before": f"{load:.2f}" + (" - BUSY: do not trust these figures" if load > BUSY else ""),
    }


async def sqlite_facts(bench: Bench) -> Mapping[str, str]:
    """Return the settings of a connection of the store."""
    with bench.fresh_store() as url:
        store = await open_store(url, Codec([]))
        try:
            return await cast("SqliteDatabase", store.schema).read(_pragmas)
        finally:
            await store.close()


def _pragmas(recorder: Recorder) -> dict[str, str]:
    found = {}
    with recorder.datastore.transaction(commit=False) as cursor:
        cursor.execute("SELECT sqlite_version()")
        found["SQLite"] = str(cursor.fetchone()[0])
        for name in SQLITE:
            cursor.execute(f"PRAGMA {name}")
            found[f"SQLite {name}"] = str(cursor.fetchone()[0])
    return found


async def postgres_facts(bench: Bench) -> Mapping[str, str]:
    """Return the server's settings."""
    async with await psycopg.AsyncConnection.connect(bench.service("postgres"), autocommit=True) as connection:
        found = {}
        for name in POSTGRES:
            row = await (await connection.execute(f"SHOW {name}".encode())).fetchone()
            found[f"Postgres {name}"] = str(row and row[0])
        return found


def _processor() -> str:
    cpuinfo = Path("/proc/cpuinfo")
    lines = cpuinfo.read_text().splitlines() if cpuinfo.exists() else []
    names = [line.partition(":")[2].strip() for line in lines if line.startswith("model name")]
    return names[0] if names else platform.processor() or platform.machine()


def _sync_s(folder: Path) -> float:
    """Return the median time of a small durable write: what every commit costs at least."""
    path, durations_s = folder / "sync", []
    with path.open("wb", buffering=0) as file:
        for _ in range(SYNCS):
            began = time.perf_counter()
            file.write(bytes(4096))
            os.fsync(file.fileno())
            durations_s.append(time.perf_counter() - began)
    path.unlink()
    return statistics.median(durations_s)
