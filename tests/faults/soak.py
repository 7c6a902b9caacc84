"""Soak: one daemon at half of its top rate for long; memory, latency and the rest must stay flat, nothing may be lost.

    python -m tests.faults.soak --minutes 60 [--rate half|N]

The top rate of this machine is measured first, from a full Kafka topic, unless `--rate` is a number. Then executions of
three steps are sent evenly by Kafka. A sample is taken every few seconds (`--every`), and kept in `samples.jsonl`: RSS,
processor time, file descriptors, threads, executions ended, p50 and p99 from the sending of a message to the recorded
end. The first quarter after the warm-up (a tenth of the time) is compared with the last one, by medians. It fails when
memory grows by more than 10 % and 16 MiB, p50 by more than a half and 5 ms, p99 to more than twice and 20 ms, or
descriptors by more than 10; when less than nine tenths as much has ended in the last quarter; when anything that Kafka
has confirmed does not complete; or when tests/faults/checker finds anything. Services are found as tests find them
(deploy/services env). The short form is `test_load_short`.
"""

from __future__ import annotations

import argparse
import asyncio
import sys
import tempfile
import time
from dataclasses import dataclass
from pathlib import Path
from statistics import median
from typing import TYPE_CHECKING

import msgspec

from tests.faults.checker.__main__ import check_url
from tests.faults.checker.leases import lease_table
from tests.faults.checker.reading import Evidence
from tests.faults.load.rig import SENT, add_services, rig

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from tests.faults.load.rig import Rig, Sample

COMPLETE_S = 120.0
"""How long what was sent may take to complete, once no more is sent."""
LEAST_ENDED = 0.9
"""Of what has ended in the first quarter, so much at least must end in the last one."""


@dataclass(frozen=True)
class Bound:
    """How much larger the last quarter may be: both must be passed to fail."""

    field: str
    factor: float
    margin: float

    def broken(self, first: float, last: float) -> bool:
        """Tell whether it has grown too much."""
        return last > first * self.factor and last > first + self.margin


BOUNDS = (
    Bound("rss_mib", 1.10, 16.0),
    Bound("p50_s", 1.5, 0.005),
    Bound("p99_s", 2.0, 0.020),
    Bound("fds", 1.0, 10.0),
    Bound("threads", 1.0, 5.0),
)


def quarters(samples: Sequence[Sample]) -> tuple[Sequence[Sample], Sequence[Sample]]:
    """Return the first and the last quarter of what comes after the warm-up."""
    warm = samples[len(samples) // 10 :]
    size = max(1, len(warm) // 4)
    return warm[:size], warm[-size:]


def judge(samples: Sequence[Sample], bounds: Sequence[Bound], least_ended: float) -> Iterator[tuple[str, bool]]:
    """Give a line about each thing that must stay flat, and whether it has."""
    first, last = quarters(samples)
    for bound in bounds:
        before, after = _median(first, bound.field), _median(last, bound.field)
        holds = not bound.broken(before, after)
        yield f"{bound.field:8} first quarter {before:10.4f}, last {after:10.4f}", holds
    before, after = (sum(sample.finished for sample in quarter) for quarter in (first, last))
    yield f"ended    first quarter {before:10}, last {after:10}", 0 < before * least_ended <= after


def _median(samples: Sequence[Sample], name: str) -> float:
    return float(median(getattr(sample, name) for sample in samples))


async def soak(rig: Rig, rate: float | None, minutes: float, every_s: float, folder: Path) -> list[Sample]:
    """Send for so long; return the samples."""
    if rate is None:
        top = await rig.top_rate()
        rate = top / 2
        _say(f"top rate {top:.0f} executions/s")
    _say(f"offered {rate:.0f}/s for {minutes:g} minutes")
    await rig.sample(SENT)
    samples: list[Sample] = []
    sending = asyncio.create_task(rig.offer(rig.by_kafka, rate, minutes * 60))
    with (folder / "samples.jsonl").open("w") as file:
        until = time.monotonic() + minutes * 60
        while time.monotonic() + every_s <= until and not sending.done():
            await asyncio.sleep(every_s)
            samples.append(await rig.sample(SENT))
            file.write(msgspec.json.encode(samples[-1]).decode() + "\n")
            file.flush()
    await sending
    await rig.until_idle(COMPLETE_S)
    return samples


async def run(
    arguments: argparse.Namespace,
    folder: Path,
    bounds: Sequence[Bound] = BOUNDS,
    least_ended: float = LEAST_ENDED,
) -> bool:
    """Soak, compare, check; tell whether all is well."""
    async with rig(folder, services=arguments) as one:
        rate = None if arguments.rate == "half" else float(arguments.rate)
        samples = await soak(one, rate, arguments.minutes, arguments.every, folder)
        account = await one.account(COMPLETE_S)
        report = await check_url(one.url, Evidence(leases=lease_table(one.url)))
    found = [*judge(samples, bounds, least_ended), (str(account), account.balanced), (str(report), not report.total)]
    for violation in report.shown:
        _say(str(violation))
    for line, holds in found:
        _say(f"{line}{'' if holds else '  BROKEN'}")
    return all(holds for _, holds in found)


def read_arguments(given: Sequence[str] | None = None) -> argparse.Namespace:
    """Read these, by default the program's."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--minutes", type=float, default=60.0)
    parser.add_argument("--rate", default="half", help="executions a second, or `half` of what it can")
    parser.add_argument("--every", type=float, default=5.0, metavar="S", help="between two samples")
    add_services(parser)
    return parser.parse_args(given)


def main() -> int:
    """Soak and print."""
    arguments = read_arguments()
    folder = Path(tempfile.mkdtemp(prefix="sagad-soak-"))
    well = asyncio.run(run(arguments, folder))
    _say(f"{'flat and sound' if well else 'FAILED'}; kept in {folder}")
    return 0 if well else 1


def _say(line: str) -> None:
    sys.stdout.write(f"{line}\n")
    sys.stdout.flush()


if __name__ == "__main__":
    sys.exit(main())
