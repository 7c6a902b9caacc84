"""Runs a peer's program as a process on a fresh database, and turns what it prints into figures named like sagad's.

Comes from: `catalogue`, `environments`. Goes to: `comparison`, by the figures' names.
"""

from __future__ import annotations

import asyncio
import json
import os
import signal
import time
from dataclasses import asdict, replace
from functools import partial
from typing import TYPE_CHECKING, Any

import psycopg

from tests.bench.figures import Bench, Benchmark, Figure, WrongOutcomeError, milliseconds
from tests.bench.peers.environments import ROOT
from tests.bench.peers.work import POLL_S, Order, Result

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence
    from pathlib import Path

    from tests.bench.peers.catalogue import Peer

STEPS = 10
SHORTER = (1, 3, 5)
LATENCY_STEPS = 3
IN_TURN = 0
"""As a rate: one execution at a time, the next when the last has ended. Nothing sleeps meanwhile."""
LOW_RATE = 20
RATES = (IN_TURN, LOW_RATE, 500)
KEPT_UP = 1.2
"""How much longer than planned executions may take that are offered at a rate."""
LIMIT_S = 600
"""How long one order may take."""

AS_SHIPPED = ", limits as shipped"
"""Ends the names of figures of sagad with the settings that it comes with."""
STEPS_A_SECOND = "durable steps (10 an execution)"
CPU_A_STEP = "processor time of the daemon"
IN_FLIGHT = "in flight at the kill"
RECOVERED = "from the start of the process to all finished"


def latency_of(rate: float) -> str:
    """Name the time of one execution at so many a second."""
    return f"{LATENCY_STEPS}-step execution " + (f"at {rate}/s" if rate else "one at a time")


COMPARED: Mapping[str, frozenset[str]] = {
    "steps": frozenset({STEPS_A_SECOND, CPU_A_STEP, *(f"executions of {n} step{'s' * (n > 1)}" for n in SHORTER)}),
    "latency": frozenset(f"{latency_of(rate)}, p{percent}" for rate in RATES for percent in (50, 99)),
    "recovery": frozenset({IN_FLIGHT, RECOVERED}),
}
"""sagad's benchmark -> those of its figures that peers have too."""


def benchmarks(peer: Peer, python: Path) -> Iterator[Benchmark]:
    """Return what is measured of an installed peer: as tuned best, then as shipped."""
    for variant, tuning in (("best tuning", peer.best), ("as shipped", peer.shipped)):
        yield Benchmark(
            f"{peer.name}-{variant.split()[-1]}",
            f"Peer: {peer.title} {peer.version}, {variant}",
            partial(measure, peer, python, tuning),
            stores=("postgres",),
            contender=f"{peer.title} {peer.version}, {variant}",
        )


async def measure(peer: Peer, python: Path, tuning: Mapping[str, Any], bench: Bench) -> Sequence[Figure]:
    """Measure everything of one peer once."""
    figures: list[Figure] = []
    for steps in (STEPS, *peer.shorter):
        figures += await throughput(peer, python, tuning, bench, steps)
    for rate in peer.rates:
        figures += await latency(peer, python, _better(peer, tuning, peer.latency_best), bench, rate)
    if peer.recovers:
        figures += await recovery(peer, python, _better(peer, tuning, peer.recovery_best), bench)
    return figures


def _better(peer: Peer, tuning: Mapping[str, Any], better: Mapping[str, Any] | None) -> Mapping[str, Any]:
    return tuning if better is None or tuning is peer.shipped else better


async def throughput(peer: Peer, python: Path, tuning: Mapping[str, Any], bench: Bench, steps: int) -> Sequence[Figure]:
    """Start all executions at once; time until all have ended."""
    sizes = bench.sizes
    order = Order(work="throughput", steps=steps, count=sizes.at_once, warm_up=sizes.warm_up, tuning=dict(tuning))
    result = await _on_fresh_database(peer, python, order, bench)
    if steps != STEPS:
        return [Figure(f"executions of {steps} step{'s' * (steps > 1)}", order.count / result.elapsed_s, "/s")]
    figures = [Figure(STEPS_A_SECOND, order.count * steps / result.elapsed_s, "/s")]
    if not peer.programs:  # its server's would be missing
        figures.append(Figure(CPU_A_STEP, result.cpu_s / (order.count * steps) * 1e6, "µs/step"))
    return figures


async def latency(peer: Peer, python: Path, tuning: Mapping[str, Any], bench: Bench, rate: int) -> Sequence[Figure]:
    """Offer executions at a rate; time each.

    A rate that is too high for the peer gives no times: its queue grows as long as it is measured.
    """
    sizes = bench.sizes
    count = sizes.low_rate_count if rate <= LOW_RATE else sizes.rate_count
    order = Order(
        work="latency", steps=LATENCY_STEPS, count=count, warm_up=sizes.warm_up, rate=rate, tuning=dict(tuning)
    )
    result = await _on_fresh_database(peer, python, order, bench)
    if rate and result.elapsed_s > KEPT_UP * count / rate:
        return [
            Figure(f"executions of {LATENCY_STEPS} steps sustained, {rate}/s offered", count / result.elapsed_s, "/s")
        ]
    return milliseconds(latency_of(rate), result.latencies_s, 50, 99)


def check(result: Result, count: int) -> None:
    """Raise unless the peer's database has the end of every execution."""
    if result.finished != count:
        raise WrongOutcomeError(f"the peer's database has {result.finished} finished executions, expected {count}")


async def recovery(peer: Peer, python: Path, tuning: Mapping[str, Any], bench: Bench) -> Sequence[Figure]:
    """Kill the program half-way with all executions in flight; time another one from its start on."""
    order = Order(work="begin", steps=STEPS, count=bench.sizes.at_once, tuning={**tuning, "at_once": None})
    with bench.fresh_store() as url:
        killed, told = await _process(peer, python, replace(order, url=url))
        if killed != -signal.SIGKILL:
            raise WrongOutcomeError(f"{peer.title} was to be killed, and ended with {killed}: {told.decode()}")
        await _let_go(url)
        began = time.monotonic()
        result = await perform(peer, python, replace(order, work="recover", url=url, tuning=dict(tuning)))
    check(result, order.count)
    return [Figure(IN_FLIGHT, result.in_flight, ""), Figure(RECOVERED, result.finished_at - began, "s")]


async def _let_go(url: str) -> None:
    """Return when the server has noticed that the killed program's connections are gone."""
    others = "SELECT count(*) FROM pg_stat_activity WHERE datname = current_database() AND pid <> pg_backend_pid()"
    async with await psycopg.AsyncConnection.connect(url, autocommit=True) as connection, asyncio.timeout(30):
        while (row := await (await connection.execute(others)).fetchone()) and row[0]:  # noqa: ASYNC110  a server tells
            await asyncio.sleep(POLL_S)


async def _on_fresh_database(peer: Peer, python: Path, order: Order, bench: Bench) -> Result:
    with bench.fresh_store() as url:
        result = await perform(peer, python, replace(order, url=url))
    check(result, order.count + order.warm_up)
    return result


async def perform(peer: Peer, python: Path, order: Order) -> Result:
    """Let the peer's program do an order."""
    ended, told = await _process(peer, python, order)
    if ended:
        raise WrongOutcomeError(f"{peer.title}'s program ended with {ended}: {told.decode()[-2000:]}")
    return parse(told)


def parse(told: bytes) -> Result:
    """Read the result, which is the last line: an engine may print what it likes before."""
    lines = told.decode().strip().splitlines()
    if not lines:
        raise WrongOutcomeError("the peer's program printed nothing")
    return Result(**json.loads(lines[-1]))


async def _process(peer: Peer, python: Path, order: Order) -> tuple[int | None, bytes]:
    """Run the peer's program; return how it ended and what it printed, or its errors when it failed."""
    process = await asyncio.create_subprocess_exec(
        str(python), "-m", peer.program,
        cwd=ROOT, stdin=asyncio.subprocess.PIPE, stdout=asyncio.subprocess.PIPE, stderr=asyncio.subprocess.PIPE,
        start_new_session=True,
    )  # fmt: skip
    try:
        async with asyncio.timeout(LIMIT_S):
            told, errors = await process.communicate(json.dumps(asdict(order)).encode())
    except BaseException as error:
        os.killpg(process.pid, signal.SIGKILL)  # and the servers that it started
        await process.wait()
        if isinstance(error, TimeoutError):
            raise WrongOutcomeError(f"{peer.title} had not done its {order.work} within {LIMIT_S} s") from error
        raise
    return process.returncode, told if process.returncode == 0 else told + errors
