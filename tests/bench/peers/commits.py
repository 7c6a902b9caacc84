"""The raw limit without group commit: one row of 300 bytes a commit, by 1, 8 and 32 clients, as pgbench measures it."""

from __future__ import annotations

import asyncio
import re
import shutil
from pathlib import Path
from typing import TYPE_CHECKING

import psycopg

from tests.bench.figures import Bench, Benchmark, Figure

if TYPE_CHECKING:
    from collections.abc import Sequence

CLIENTS = (1, 8, 32)
THREADS = 2
TABLE = "CREATE TABLE event (id uuid DEFAULT gen_random_uuid() PRIMARY KEY, state bytea)"
SCRIPT = "INSERT INTO event (state) VALUES (decode(repeat('78', 284), 'hex'));"
RATE = re.compile(r"^tps = ([0-9.]+)", re.MULTILINE)
SHORTEST_S = 1
"""pgbench takes whole seconds."""
DEBIAN = Path("/usr/lib/postgresql")


def pgbench() -> str | None:
    """Find the program: on PATH, or where Debian keeps it."""
    return shutil.which("pgbench") or next(map(str, sorted(DEBIAN.glob("*/bin/pgbench"), reverse=True)), None)


async def run(bench: Bench) -> Sequence[Figure]:
    """Measure with each number of clients; nothing where there is no pgbench."""
    program = pgbench()
    if program is None:
        return []
    script = bench.folder / "commit.sql"
    script.write_text(SCRIPT)
    duration_s = max(SHORTEST_S, round(bench.sizes.append_s * 30))
    figures = []
    for clients in CLIENTS:
        with bench.fresh_store() as url:
            async with await psycopg.AsyncConnection.connect(url, autocommit=True) as connection:
                await connection.execute(TABLE)
            told = await _told(program, "-n", "-f", str(script), "-M", "prepared", "-c", str(clients),
                               "-j", str(min(THREADS, clients)), "-T", str(duration_s), url)  # fmt: skip
        figures.append(Figure(f"single-row commits, {clients} client{'s' * (clients > 1)}", rate(told), "/s"))
    return figures


async def _told(*command: str) -> str:
    process = await asyncio.create_subprocess_exec(
        *command, stdout=asyncio.subprocess.PIPE, stderr=asyncio.subprocess.STDOUT
    )
    told, _ = await process.communicate()
    return told.decode()


def rate(told: str) -> float:
    """Read the transactions a second from what pgbench printed; ValueError when it failed."""
    found = RATE.search(told)
    if found is None:
        raise ValueError(f"pgbench gave no rate: {told}")
    return float(found[1])


BENCHMARK = Benchmark(
    "commits", "Raw limit: one row a commit, no group commit", run, stores=("postgres",), contender="raw limit"
)
