"""The short form of the chaos run: every kind of fault befalls two daemons, or the one that SQLite allows.

`python -m tests.faults.chaos` is the long form.
"""

from __future__ import annotations

import asyncio
import json
import re
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from tests.faults.chaos.faults import KINDS

ROOT = Path(__file__).parents[2]
RUN_S, STOP_S = 240.0, 60.0
"""How long a run may take at most, and how long its servers may take to stop when it took longer."""
LEAST_EXECUTIONS = 30
SHORT = ("--every", "0.7", "--harm", "1.2", "--ttl", "2", "--skew", "5", "--settle", "90")
SEED = ("--seed", "20")
STORES = {
    "postgres": ("--minutes", "0.3", "--daemons", "2", "--rate", "2"),
    "sqlite": ("--minutes", "0.1", "--rate", "5", "--store", "sqlite", "--without", "kafka", "rabbitmq"),
}
KINDS_OF = {"postgres": set(KINDS), "sqlite": {"kill", "stop", "pause", "clock"}}

pytestmark = [pytest.mark.slow, pytest.mark.timeout(RUN_S + STOP_S + 30)]


@pytest.mark.parametrize("store", list(STORES))
async def test_nothing_is_lost(tmp_path: Path, kafka_kind: str, store: str) -> None:
    """All that was accepted comes to its end, once, whatever befalls daemons, servers and the network between them."""
    options, wanted = [*SHORT, *SEED, *STORES[store], "--folder", str(tmp_path)], KINDS_OF[store]
    if kafka_kind == "mock" and store == "postgres":
        options += ["--without", "kafka"]
        wanted = {kind for kind in wanted if not kind.startswith("kafka")}
    code, said = await asyncio.to_thread(run, [sys.executable, "-m", "tests.faults.chaos", *options])
    assert code == 0, said
    assert "violations: 0, problems: 0" in said
    assert struck(tmp_path / "timeline.jsonl") == wanted, said
    executions = re.search(r"(\d+) executions", said)
    assert executions is not None
    assert int(executions[1]) > LEAST_EXECUTIONS


def run(command: list[str]) -> tuple[int, str]:
    """Return its exit code and what it has said; one that takes too long is interrupted, so that its servers stop."""
    with subprocess.Popen(  # noqa: S603  our own program
        command, cwd=ROOT, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True
    ) as process:
        try:
            said, _ = process.communicate(timeout=RUN_S)
        except subprocess.TimeoutExpired:
            process.send_signal(signal.SIGINT)
            said, _ = process.communicate(timeout=STOP_S)
        finally:
            process.kill()
    return process.returncode, said


def struck(timeline: Path) -> set[str]:
    """Return the kinds of faults that had something to harm."""
    entries = [json.loads(line) for line in timeline.read_text().splitlines()]
    return {entry["kind"] for entry in entries if entry.get("struck")}
