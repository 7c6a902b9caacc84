"""The short form of the chaos run: every kind of fault befalls two daemons, or the one that SQLite allows.

`python -m tests.faults.chaos` is the long form.
"""

from __future__ import annotations

import asyncio
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
SHORT = ("--every", "0.7", "--harm", "1.5", "--ttl", "2", "--skew", "5", "--rate", "8", "--seed", "20")
STORES = {
    "postgres": ("--minutes", "0.25", "--daemons", "2"),
    "sqlite": ("--minutes", "0.1", "--store", "sqlite", "--without", "kafka", "rabbitmq"),
}

pytestmark = [pytest.mark.slow, pytest.mark.timeout(400)]


@pytest.mark.parametrize("store", list(STORES))
async def test_nothing_is_lost(tmp_path: Path, kafka_kind: str, store: str) -> None:
    """All that was accepted comes to its end, once, whatever befalls daemons, servers and the network between them."""
    options = [*SHORT, *STORES[store], "--folder", str(tmp_path)]
    if kafka_kind == "mock" and store == "postgres":
        options += ["--without", "kafka"]
    command = [sys.executable, "-m", "tests.faults.chaos", *options]
    done = await asyncio.to_thread(subprocess.run, command, cwd=ROOT, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr[-5000:]
    assert "violations: 0, problems: 0" in done.stdout
