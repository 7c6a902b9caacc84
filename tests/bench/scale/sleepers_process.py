"""A daemon beside very many sleepers, in a process of its own, so that its memory is its own.

    python -m tests.bench.scale.sleepers_process STORE_URL FOLDER IDS_FILE COUNT

It starts, signals the executions that the file names, starts COUNT others, and prints what that took.
"""

from __future__ import annotations

import asyncio
import json
import sys
import time
from pathlib import Path
from uuid import UUID

from daemon.cli.serving import _loop_factory
from daemon.core.state import Finished
from daemon.runtime import logs
from daemon.settings import Logging
from tests.bench.figures import WrongOutcomeError
from tests.bench.rig import SHIPPED, settings_of, started
from tests.bench.scale.templates import SLEEPERS
from tests.bench.scale.usage import resident_bytes
from tests.bench.workflows import NAME


async def work(url: str, folder: Path, wake: list[UUID], count: int) -> None:
    """Measure."""
    settings = settings_of(url, folder, SLEEPERS, SHIPPED)
    began = time.perf_counter()
    async with started(settings) as rig:
        start_s, started_bytes = time.perf_counter() - began, resident_bytes()
        intake = rig.daemon.intake

        began = time.perf_counter()
        handled = await asyncio.gather(*(intake.signal(each, "go", None, actor="bench") for each in wake))
        woken_s = time.perf_counter() - began
        if not all(isinstance(each.state, Finished) for each in handled):
            raise WrongOutcomeError("a sleeper has not finished")

        began = time.perf_counter()
        await asyncio.gather(*(intake.start(NAME, {"n": number % 2}, actor="bench") for number in range(count)))
        starts_s = time.perf_counter() - began
        outcome = {
            "start_s": start_s,
            "started_bytes": started_bytes,
            "worked_bytes": resident_bytes(),
            "woken_rate": len(wake) / woken_s,
            "started_rate": count / starts_s,
        }
    print(json.dumps(outcome))


def main(url: str, folder: str, ids: str, count: str) -> None:
    """Run."""
    logs.configure(Logging(level="warning", format="console"))
    wake = [UUID(each) for each in json.loads(Path(ids).read_text())]
    with asyncio.Runner(loop_factory=_loop_factory()) as runner:
        runner.run(work(url, Path(folder), wake, int(count)))


if __name__ == "__main__":
    main(*sys.argv[1:])
