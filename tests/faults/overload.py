"""Overload: three times what a daemon can take is offered by Kafka, RabbitMQ and the API, each in turn.

    python -m tests.faults.overload [--seconds 20] [--work-ms 30] [--times 3]

Handlers take `--work-ms` and few run at once, so that what the daemon can take is known and does not depend on the
machine; `--work-ms 0` lets the processor be the limit. While overloaded: what is in the daemon stays bounded
(executions that run, RSS), and so does the time from an accepted start to its end, for what cannot be taken waits in
the broker, or is answered with 503 and `Retry-After`. Afterwards: what waited is taken at the top rate, and then one
start takes as long as it did before, within `RECOVERS_S`. Nothing accepted is lost: all that a broker has confirmed or
the API has taken completes, and tests/faults/checker finds nothing. Exit code 1 when a bound is broken. The short form
is `test_load_short`.
"""

from __future__ import annotations

import argparse
import asyncio
import math
import sys
import tempfile
import time
from pathlib import Path
from typing import TYPE_CHECKING

import httpx

from daemon.api.waiting import ROOM_WAIT_S
from tests.faults.checker.__main__ import check_url
from tests.faults.checker.leases import lease_table
from tests.faults.checker.reading import Evidence
from tests.faults.load.rig import CALIBRATION_S, STARTED, Rig, add_services, rig
from tests.faults.soak import COMPLETE_S

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Sequence

BATCH = 500
"""The most messages in one append: so much above the limit of active executions may be taken at once."""
RSS_GROWTH_MIB = 100.0
RECOVERS_S = 10.0
SLOWER = 5.0
"""A start after the overload may take so many times what it took before, beside `GRACE_S`."""
GRACE_S = 0.5
REFUSES_S = 3 * ROOM_WAIT_S
"""A request waits for room before it is refused: in a shorter time all may get in."""
LOOK_S = 0.25


class Verdicts:
    """What was found."""

    def __init__(self) -> None:
        self.broken = 0

    def demand(self, what: str, *, holds: bool) -> None:
        """Print a line, and count it when it does not hold."""
        self.broken += not holds
        sys.stdout.write(f"  {'ok    ' if holds else 'BROKEN'} {what}\n")
        sys.stdout.flush()


async def overload(
    rig: Rig,
    name: str,
    send: Callable[[], Awaitable[object]],
    *,
    rate: float,
    arguments: argparse.Namespace,
    verdicts: Verdicts,
) -> None:
    """Offer so much in one way, and demand what must hold."""
    seconds: float = arguments.seconds
    sys.stdout.write(f"{name}: {rate:.0f} executions/s offered for {seconds:g} s\n")
    calm_s = await one_start(rig)
    verdicts.demand(f"a start takes {calm_s * 1000:.0f} ms", holds=calm_s < math.inf)
    before = await rig.sample(STARTED)
    number, ended = rig.number, await rig.finished()
    rig.refused.clear()
    sending = asyncio.create_task(rig.offer(send, rate, seconds))
    most_running, most_rss = await watch(rig, seconds)
    taken = await rig.finished() - ended
    during = await rig.sample(STARTED)
    await sending
    offered = rig.number - number
    most = arguments.active + BATCH
    bound_s = most / taken * seconds * 2 if taken else 0.0
    verdicts.demand(f"{taken} of {offered} ended meanwhile: {taken / seconds:.0f}/s", holds=taken > 0)
    verdicts.demand(f"running at once: {most_running}, at most {most}", holds=most_running <= most)
    verdicts.demand(
        f"RSS {before.rss_mib:.0f} -> {most_rss:.0f} MiB, at most {RSS_GROWTH_MIB:.0f} more",
        holds=most_rss - before.rss_mib <= RSS_GROWTH_MIB,
    )
    verdicts.demand(
        f"from accepted start to end: p50 {during.p50_s:.2f} s, p99 {during.p99_s:.2f} s, at most {bound_s:.2f} s",
        holds=during.p99_s <= bound_s,
    )
    if name == "api":
        told = all("retry-after" in answer.headers for answer in rig.refused)
        some = bool(rig.refused) or seconds < REFUSES_S
        verdicts.demand(f"{len(rig.refused)} answered with 503, each with Retry-After", holds=told and some)
    await recover(rig, calm_s, offered / max(1.0, taken / seconds) * 2 + 60, verdicts)


async def watch(rig: Rig, seconds: float) -> tuple[int, float]:
    """Return the most executions that ran at once in this time, and the largest RSS in MiB."""
    most_running, most_rss = 0, 0.0
    until = time.monotonic() + seconds
    while time.monotonic() < until:
        await asyncio.sleep(LOOK_S)
        most_running = max(most_running, await rig.running())
        most_rss = max(most_rss, rig.process.memory_info().rss / 2**20)
    return most_running, most_rss


async def recover(rig: Rig, calm_s: float, patience_s: float, verdicts: Verdicts) -> None:
    """Wait until what is left is done; demand that nothing is lost, and that all is as before."""
    left_s = await rig.until_idle(patience_s)
    sys.stdout.write(f"         what waited was done {left_s:.1f} s after\n")
    calm_again_s = calm_s * SLOWER + GRACE_S
    again_s = await until_calm(rig, calm_again_s)
    verdicts.demand(
        f"a start takes {again_s * 1000:.0f} ms again ({calm_s * 1000:.0f} before)", holds=again_s <= calm_again_s
    )
    account = await rig.account(COMPLETE_S)
    verdicts.demand(str(account), holds=account.balanced)


async def one_start(rig: Rig) -> float:
    """Return how long one start by the API takes; infinite when it is refused."""
    began = time.monotonic()
    taken = await rig.by_api()
    return time.monotonic() - began if taken else math.inf


async def until_calm(rig: Rig, calm_s: float) -> float:
    """Return how long a start takes as soon as it takes no longer than this, or after `RECOVERS_S`."""
    until = time.monotonic() + RECOVERS_S
    while True:
        took_s = await one_start(rig)
        if took_s <= calm_s or time.monotonic() > until:
            return took_s
        await asyncio.sleep(LOOK_S)


async def run(arguments: argparse.Namespace, folder: Path) -> int:
    """Overload by each way; return how many demands were not met."""
    verdicts = Verdicts()
    async with rig(
        folder,
        services=arguments,
        work_s=arguments.work_ms / 1000,
        max_active_executions=arguments.active,
        max_running_steps=arguments.running,
    ) as one:
        top = await one.top_rate(arguments.calibrate)
        sys.stdout.write(f"it takes {top:.0f} executions/s\n")
        ways = {"kafka": one.by_kafka, "rabbitmq": one.by_rabbitmq, "api": one.by_api}
        for name in arguments.ways:
            await overload(one, name, ways[name], rate=top * arguments.times, arguments=arguments, verdicts=verdicts)
        await one.until_idle(COMPLETE_S)
        report = await check_url(one.url, Evidence(leases=lease_table(one.url)))
        for violation in report.shown:
            sys.stdout.write(f"{violation}\n")
        verdicts.demand(str(report), holds=not report.total)
    return verdicts.broken


def read_arguments(given: Sequence[str] | None = None) -> argparse.Namespace:
    """Read these, by default the program's."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seconds", type=float, default=20.0)
    parser.add_argument("--work-ms", type=float, default=30.0)
    parser.add_argument("--times", type=float, default=3.0, help="what it can take")
    parser.add_argument("--running", type=int, default=20, help="handlers at once")
    parser.add_argument("--active", type=int, default=200, help="executions at once, before it takes no more")
    parser.add_argument("--calibrate", type=float, default=CALIBRATION_S, metavar="S", help="to learn what it can take")
    parser.add_argument("--ways", nargs="+", choices=["kafka", "rabbitmq", "api"], default=["kafka", "rabbitmq", "api"])
    add_services(parser)
    return parser.parse_args(given)


def main() -> int:
    """Overload and print."""
    arguments = read_arguments()
    folder = Path(tempfile.mkdtemp(prefix="sagad-overload-"))
    broken = asyncio.run(run(arguments, folder))
    sys.stdout.write(f"broken: {broken}; kept in {folder}\n")
    return 1 if broken else 0


if __name__ == "__main__":
    try:
        sys.exit(main())
    except httpx.HTTPError as error:
        sys.exit(f"the daemon did not answer: {type(error).__name__}: {error}")
