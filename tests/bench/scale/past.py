"""What is asked of the past of very many executions: the deploy gate, verification, and the index made anew.

The commands as a user calls them, start of their processes included, on a store with copies of a real execution.
Elapsed time.
"""

from __future__ import annotations

import asyncio
import os
import sys
import time
from typing import TYPE_CHECKING

import msgspec

from daemon.core.evolve import evolve
from daemon.core.state import INITIAL, Finished
from daemon.runtime.codec import codec_of
from daemon.runtime.collection import calm_garbage_collector
from daemon.settings import Settings
from eventstore.store import open_store
from tests.bench.figures import Bench, Benchmark, Figure, WrongOutcomeError
from tests.bench.rig import WIDE, settings_of, started
from tests.bench.scale.clones import multiply
from tests.bench.workflows import chain

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path
    from typing import Any
    from uuid import UUID

    from daemon.core.state import State

STEPS = 10
PAGE = 5_000


async def run(bench: Bench) -> Sequence[Figure]:
    """Measure each command once."""
    count = bench.sizes.looked_at
    with bench.fresh_store() as url:
        async with started(settings_of(url, bench.folder, chain(STEPS), WIDE)) as rig:
            model = await rig.start("model")
            await rig.idle()
        multiply(url, [model], count - 1)
        config = bench.folder / "past.toml"
        config.write_text(f'[store]\nurl = "{url}"\n')
        changed = bench.folder / "changed.yaml"
        changed.write_text(f"{chain(STEPS)}\ndescription: the same, said otherwise\n")
        gate_s, told = await _timed(config, "check", str(changed), "--sample", str(count), "--json")
        verify_s, verified = await _timed(config, "verify", "--all", "--json")
        folded, fold_s = await _folded(url)
        rebuild_s, rebuilt = await _timed(config, "index", "rebuild", "--json")
    events = rebuilt["events"]
    if folded != events:
        raise WrongOutcomeError("not all events were folded")
    if (told["checked"], told["by_severity"]["none"], verified["executions"]) != (count, count, count):
        raise WrongOutcomeError("not all executions were looked at, or one was found to be another")
    return [
        Figure(f"deploy gate, {count:,} executions of {events // count} events", gate_s, "s"),
        Figure("deploy gate", count / gate_s, "executions/s"),
        Figure("verify --all", events / verify_s, "events/s"),
        Figure("read and folded, in one process", events / fold_s, "events/s"),
        Figure("index rebuild, in one process", events / rebuild_s, "events/s"),
    ]


async def _folded(url: str) -> tuple[int, float]:
    """Fold every execution of the log in its order; return how many events they have, and the seconds it took."""
    calm_garbage_collector()
    store = await open_store(url, codec_of(Settings()))
    count, position = 0, 0
    states: dict[UUID, State] = {}
    try:
        begun = time.perf_counter()
        while page := await store.log.read_all(after_position=position, limit=PAGE):
            for recorded in page:
                states[recorded.execution_id] = evolve(states.get(recorded.execution_id, INITIAL), recorded.event)
            count, position = count + len(page), page[-1].position
        spent_s = time.perf_counter() - begun
    finally:
        await store.close()
    if not all(isinstance(state, Finished) for state in states.values()):
        raise WrongOutcomeError("an execution has not ended")
    return count, spent_s


async def _timed(config: Path, *arguments: str) -> tuple[float, dict[str, Any]]:
    begun = time.perf_counter()
    process = await asyncio.create_subprocess_exec(
        sys.executable,
        "-m",
        "daemon.cli",
        *arguments,
        "--config",
        str(config),
        stdout=asyncio.subprocess.PIPE,
        env={**os.environ, "NO_COLOR": "1"},
    )
    told, _ = await process.communicate()
    if process.returncode:
        raise WrongOutcomeError(f"{arguments[0]} ended with {process.returncode}")
    return time.perf_counter() - begun, msgspec.json.decode(told)


BENCHMARK = Benchmark("past", "The past of {looked_at:,} executions", run, named_only=True)
