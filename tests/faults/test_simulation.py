"""The short form of `tests.faults.simulation`: some schedules, proof that they can be replayed, a few mutants."""

from __future__ import annotations

import asyncio
import os
import subprocess
import sys
from pathlib import Path

import pytest

from tests.faults.simulation.dice import dice
from tests.faults.simulation.loop import Deadlock, Livelock, Policy, SimulatedLoop
from tests.faults.simulation.mutants import MUTANTS
from tests.faults.simulation.run import simulate

ROOT = Path(__file__).parents[2]
SEEDS = 240
PARTS = 4
FOUND_WITHIN = 60
"""Seeds within which each mutant of the short form is found."""


@pytest.mark.parametrize("part", range(PARTS))
def test_nothing_is_lost_in_any_schedule(part: int) -> None:
    failed = {seed: problems for seed in range(part, SEEDS, PARTS) if (problems := simulate(seed).problems)}
    assert failed == {}, "replay with: python -m tests.faults.simulation --seed N --trace"


def test_a_seed_replays_exactly() -> None:
    """The same steps in the same order, in this process and in others, whatever their hashes are."""
    code = "from tests.faults.simulation.run import simulate; print([simulate(seed).digest for seed in range(3, 9)])"
    here = str([simulate(seed).digest for seed in range(3, 9)])
    for hash_seed in ("1", "2"):
        there = subprocess.run(  # noqa: S603  this interpreter, this code
            [sys.executable, "-c", code],
            env={**os.environ, "PYTHONHASHSEED": hash_seed, "PYTHONPATH": str(ROOT)},
            cwd=ROOT,
            check=True,
            capture_output=True,
            text=True,
        )
        assert there.stdout.strip() == here


def test_seeds_differ() -> None:
    assert len({simulate(seed).digest for seed in range(20)}) == 20


@pytest.mark.parametrize(
    "name",
    [
        "the writer answers before the commit",
        "messages are acknowledged before the append",
        "the engine forgets what met a conflict",
        "the log does not check versions",
        "the broker forgets what a dead consumer had",
    ],
)
def test_a_broken_part_is_found(name: str) -> None:
    assert any(simulate(seed, mutate=MUTANTS[name]).problems for seed in range(FOUND_WITHIN))


@pytest.mark.slow
@pytest.mark.parametrize("name", MUTANTS)
def test_every_broken_part_is_found(name: str) -> None:
    assert any(simulate(seed, mutate=MUTANTS[name]).problems for seed in range(400))


# The loop itself


def loop_of(policy: Policy = "random", seed: int = 1, **options: float) -> SimulatedLoop:
    return SimulatedLoop(dice(seed), policy=policy, max_steps=10_000, **options)


def test_time_passes_only_while_everybody_waits() -> None:
    loop = loop_of()

    async def nap(seconds: float) -> float:
        await asyncio.sleep(seconds)
        return loop.time()

    async def both() -> list[float]:
        return list(await asyncio.gather(nap(3600), nap(60)))

    assert loop.run_until_complete(both()) == [3600, 60]
    loop.dispose()


def test_tasks_go_on_in_many_orders_and_callbacks_in_one() -> None:
    tasks, callbacks = set(), set()
    for seed in range(20):
        loop, order, called = loop_of(seed=seed), list[int](), list[int]()

        async def step(number: int, order: list[int] = order) -> None:
            order.append(number)

        async def all_of_them(loop: SimulatedLoop = loop, called: list[int] = called) -> None:
            for number in range(4):
                loop.call_soon(called.append, number)
            await asyncio.gather(*(step(number) for number in range(4)))

        loop.run_until_complete(all_of_them())
        loop.dispose()
        tasks.add(tuple(order))
        callbacks.add(tuple(called))
    assert len(tasks) > 5
    assert callbacks == {(0, 1, 2, 3)}


def test_a_killed_process_runs_nothing_more() -> None:
    loop, told = loop_of(), list[str]()
    process = loop.process("victim")

    async def victim() -> None:
        try:
            told.append("began")
            await asyncio.sleep(10)
        finally:
            told.append("cleaned up")

    async def killer() -> None:
        loop.spawn(process, victim())
        await asyncio.sleep(1)
        loop.kill(process)
        await asyncio.sleep(20)

    loop.run_until_complete(killer())
    assert told == ["began"]
    loop.dispose()


def test_a_paused_process_goes_on_later() -> None:
    loop, woke = loop_of(), list[float]()
    process = loop.process("sleeper")

    async def sleeper() -> None:
        await asyncio.sleep(1)
        woke.append(loop.time())

    async def main() -> None:
        loop.spawn(process, sleeper())
        await asyncio.sleep(0.5)
        process.paused = True
        await asyncio.sleep(9.5)
        process.paused = False
        await asyncio.sleep(0.5)

    loop.run_until_complete(main())
    assert woke == [10]
    loop.dispose()


def test_a_deadlock_and_a_livelock_are_told() -> None:
    async def wait_for_ever() -> None:
        await asyncio.Event().wait()

    async def spin() -> None:
        while True:  # noqa: ASYNC110  that is the mistake to be found
            await asyncio.sleep(0)

    for work, error in ((wait_for_ever, Deadlock), (spin, Livelock)):
        loop = loop_of()
        with pytest.raises(error):
            loop.run_until_complete(work())
        loop.dispose()


def test_threads_and_sockets_are_refused() -> None:
    loop = loop_of()

    async def reach_out() -> None:
        with pytest.raises(RuntimeError, match="real input or output"):
            await asyncio.open_connection("127.0.0.1", 1)
        with pytest.raises(RuntimeError, match="a thread"):
            await asyncio.to_thread(print)

    loop.run_until_complete(reach_out())
    loop.dispose()
