"""Timers that come due at 5,000 a second: how late each is fired: from due to the commit of TimerFired."""

from __future__ import annotations

import asyncio
import time
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING

from daemon.core.events import TimerFired
from tests.bench.figures import Bench, Benchmark, Figure, WrongOutcomeError, milliseconds
from tests.bench.rig import WIDE, clocked, settings_of, started, until
from tests.bench.scale.templates import UNTIL
from tests.bench.workflows import NAME

if TYPE_CHECKING:
    from collections.abc import Sequence
    from uuid import UUID

    from eventstore.log import Append

RATE = 5000
CHUNK = 1000
LEAD_S = 1.0
"""From when the firing daemon is up until the first timer is due, at least."""
SLOWEST_START = 1000
"""Executions a second that can surely be started on any machine: when the first timer is due is decided before."""


async def run(bench: Bench) -> Sequence[Figure]:
    """Start sleepers with one daemon, let another fire their timers."""
    count = bench.sizes.timers
    commits: list[tuple[float, Sequence[Append]]] = []
    left = count

    def note(at: float, batch: Sequence[Append]) -> None:
        nonlocal left
        left -= len(batch)
        commits.append((at, batch))

    with bench.fresh_store() as url:
        settings = settings_of(url, bench.folder, UNTIL, WIDE)
        first = time.time() + count / SLOWEST_START + 10 * LEAD_S
        due: dict[UUID, float] = {}
        async with started(settings) as rig:

            async def start(number: int) -> None:
                at = first + number / RATE
                given = {"due": datetime.fromtimestamp(at, UTC).isoformat()}
                execution_id, _ = await rig.daemon.intake.start(NAME, given, actor="bench")
                due[execution_id] = at

            for begin in range(0, count, CHUNK):
                await asyncio.gather(*(start(number) for number in range(begin, min(begin + CHUNK, count))))
        async with clocked(settings, note) as rig:
            early_s = first - time.time()
            if early_s < LEAD_S / 2:
                raise WrongOutcomeError("starting the executions took longer than their timers")
            await asyncio.sleep(early_s - LEAD_S / 4)
            cpu_s, offset_s = time.process_time(), time.time() - time.monotonic()
            await until(lambda: left <= 0)
            cpu_s = time.process_time() - cpu_s
            await rig.check(completed=count)
    late_s = [
        at + offset_s - due[append.execution_id]
        for at, batch in commits
        for append in batch
        for event in append.events
        if isinstance(event, TimerFired)
    ]
    if len(late_s) != count or min(late_s) < -timedelta(milliseconds=1).total_seconds():
        raise WrongOutcomeError(f"{len(late_s)} of {count} timers fired, the earliest by {min(late_s)} s")
    return [
        *milliseconds("fired late by", late_s, 50, 99, 100),
        Figure("processor time of the daemon", cpu_s / count * 1e6, "µs/timer"),
    ]


BENCHMARK = Benchmark("timers", f"{{timers:,}} timers that come due at {RATE:,}/s", run, named_only=True)
