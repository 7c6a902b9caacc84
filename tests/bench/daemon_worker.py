"""One of several daemons that share a store, in a process of its own; see `daemons`.

`python -m tests.bench.daemon_worker STORE_URL FOLDER NUMBER COUNT WARM_UP` says `ready`, waits for a line, runs so many
executions and prints when it began and ended, by the machine's monotonic clock, and its processor time.
"""

from __future__ import annotations

import asyncio
import json
import sys
import time
from pathlib import Path

from daemon.cli.serving import _loop_factory
from daemon.runtime import logs
from daemon.settings import Logging
from tests.bench.peers.driver import STEPS
from tests.bench.rig import WIDE, settings_of, started
from tests.bench.workflows import chain


async def work(url: str, folder: Path, number: int, count: int, warm_up: int) -> None:
    """Do it."""
    async with started(settings_of(url, folder, chain(STEPS), WIDE)) as rig:
        await rig.run(warm_up, f"warm-up-{number}")
        print("ready", flush=True)
        await asyncio.to_thread(sys.stdin.readline)
        began, cpu_s = time.monotonic(), time.process_time()
        await rig.run(count, f"timed-{number}")
        outcome = {"began": began, "ended": time.monotonic(), "cpu_s": time.process_time() - cpu_s}
        print(json.dumps(outcome), flush=True)


def main(url: str, folder: str, *numbers: str) -> None:
    """Run in an event loop of the kind that `sagad run` uses."""
    logs.configure(Logging(level="warning", format="console"))
    number, count, warm_up = map(int, numbers)
    with asyncio.Runner(loop_factory=_loop_factory()) as runner:
        runner.run(work(url, Path(folder), number, count, warm_up))


if __name__ == "__main__":
    main(*sys.argv[1:])
