"""A daemon in a process of its own, to be killed and to recover.

`python -m tests.bench.victim begin STORE_URL FOLDER COUNT` kills itself when half of all steps have begun; with
`recover` it finishes them, checks the log and prints the times.
"""

from __future__ import annotations

import asyncio
import json
import sys
import time
from collections import Counter
from pathlib import Path
from typing import TYPE_CHECKING

from daemon.cli.serving import _loop_factory
from daemon.core.events import StepSucceeded
from daemon.main import open_daemon
from daemon.runtime import logs
from daemon.runtime.collection import calm_garbage_collector
from daemon.settings import Logging
from tests.bench.figures import WrongOutcomeError
from tests.bench.handlers import FUSE
from tests.bench.peers.driver import STEPS
from tests.bench.rig import WIDE, settings_of, started, until
from tests.bench.steps import events_of
from tests.bench.workflows import chain

if TYPE_CHECKING:
    from daemon.assembled import Daemon


async def begin(url: str, folder: Path, count: int) -> None:
    """Start the executions and be killed by the fuse."""
    FUSE.left = count * STEPS // 2
    async with started(settings_of(url, folder, chain(STEPS), WIDE)) as rig:
        await rig.run(count, "timed")


async def recover(url: str, folder: Path, count: int) -> None:
    """Open, finish, check."""
    settings = settings_of(url, folder, chain(STEPS), WIDE)
    began = time.monotonic()
    async with open_daemon(settings) as daemon:
        await daemon.start()
        calm_garbage_collector()
        await until(lambda: not daemon.engine.active)
        finished_at = time.monotonic()
        await _check(daemon, count)
        outcome = {
            "in_flight": daemon.supervisor.recovered,
            "open_to_finished_s": finished_at - began,
            "finished_at": finished_at,
        }
        print(json.dumps(outcome))


async def _check(daemon: Daemon, count: int) -> None:
    """Raise unless every execution ended, with each step's result recorded once and no event missing."""
    counts = await daemon.store.index.counts()
    if sum(counts.values()) != count or {status for _, status in counts} != {"completed"}:
        raise WrongOutcomeError(f"after the recovery the store has {counts}")
    events: Counter[object] = Counter()
    results: Counter[object] = Counter()
    position = 0
    while page := await daemon.store.log.read_all(after_position=position):
        position = page[-1].position
        events.update(recorded.execution_id for recorded in page)
        results.update((r.execution_id, r.event.address) for r in page if isinstance(r.event, StepSucceeded))
    if set(events.values()) != {events_of(STEPS)} or len(results) != count * STEPS or set(results.values()) != {1}:
        raise WrongOutcomeError("after the recovery the log has steps twice, or not at all")


def main(mode: str, url: str, folder: str, count: str) -> None:
    """Do one of the two."""
    logs.configure(Logging(level="warning", format="console"))
    work = {"begin": begin, "recover": recover}[mode]
    with asyncio.Runner(loop_factory=_loop_factory()) as runner:
        runner.run(work(url, Path(folder), int(count)))


if __name__ == "__main__":
    main(*sys.argv[1:])
