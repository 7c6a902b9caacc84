"""Soak: one daemon at half of its top rate for long; memory, latency and the rest must stay flat.

    python -m tests.faults.soak --minutes 60 [--rate half|N]

The top rate of this machine is measured first, from a full Kafka topic. Then executions of three steps are sent evenly
by Kafka. A sample is taken every few seconds (`--every`), and kept in `samples.jsonl`: RSS, processor time, file
descriptors, threads, executions ended, p50 and p99 from the sending of a message to the recorded end. The first quarter
after the warm-up (a tenth of the time) is compared with the last one, by medians. It fails when memory grows by more
than 10 % and 16 MiB, p50 by more than a half and 5 ms, p99 to more than twice and 20 ms, or descriptors by more than
10; or when tests/faults/checker finds anything. Services are found as tests find them (deploy/services env).
"""

from __future__ import annotations

import argparse
import asyncio
import os
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
from tests.faults.load.rig import SENT, rig

if TYPE_CHECKING:
    from collections.abc import Sequence

    from tests.faults.load.rig import Rig, Sample


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


def compare(samples: Sequence[Sample]) -> list[tuple[Bound, float, float]]:
    """Return each bound with the medians of the first and the last quarter."""
    first, last = quarters(samples)
    return [(bound, _median(first, bound.field), _median(last, bound.field)) for bound in BOUNDS]


def _median(samples: Sequence[Sample], name: str) -> float:
    return float(median(getattr(sample, name) for sample in samples))


async def soak(rig: Rig, rate: float | None, minutes: float, every_s: float, folder: Path) -> list[Sample]:
    """Send for so long; return the samples."""
    top = await rig.top_rate()
    rate = rate or top / 2
    _say(f"top rate {top:.0f} executions/s; offered {rate:.0f}/s for {minutes:g} minutes")
    await rig.sample(SENT)
    samples: list[Sample] = []
    sending = asyncio.create_task(rig.offer(rig.by_kafka, rate, minutes * 60))
    with (folder / "samples.jsonl").open("w") as file:
        until = time.monotonic() + minutes * 60
        while time.monotonic() < until and not sending.done():
            await asyncio.sleep(every_s)
            samples.append(await rig.sample(SENT))
            file.write(msgspec.json.encode(samples[-1]).decode() + "\n")
            file.flush()
    await sending
    await rig.until_idle(120)
    return samples


async def run(arguments: argparse.Namespace, folder: Path) -> bool:
    """Soak, compare, check; tell whether all is well."""
    async with rig(
        folder, postgres=arguments.postgres, kafka=arguments.kafka, rabbitmq=arguments.rabbitmq, work_s=0.0
    ) as one:
        rate = None if arguments.rate == "half" else float(arguments.rate)
        samples = await soak(one, rate, arguments.minutes, arguments.every, folder)
        report = await check_url(one.url, Evidence(leases=lease_table(one.url)))
    well = not report.total
    for bound, first, last in compare(samples):
        broken = bound.broken(first, last)
        well = well and not broken
        _say(f"{bound.field:8} first quarter {first:10.4f}, last {last:10.4f}{'  GROWN' if broken else ''}")
    for violation in report.shown:
        _say(str(violation))
    _say(str(report))
    return well


def main() -> int:
    """Soak and print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--minutes", type=float, default=60.0)
    parser.add_argument("--rate", default="half", help="executions a second, or `half` of what it can")
    parser.add_argument("--every", type=float, default=5.0, metavar="S", help="between two samples")
    add_services(parser)
    arguments = parser.parse_args()
    folder = Path(tempfile.mkdtemp(prefix="sagad-soak-"))
    well = asyncio.run(run(arguments, folder))
    _say(f"{'flat and sound' if well else 'FAILED'}; kept in {folder}")
    return 0 if well else 1


def add_services(parser: argparse.ArgumentParser) -> None:
    """Add the options that say where the services are."""
    for name, variable in (
        ("postgres", "SAGAD_TEST_POSTGRES_URL"),
        ("kafka", "SAGAD_TEST_KAFKA_BOOTSTRAP"),
        ("rabbitmq", "SAGAD_TEST_RABBITMQ_URL"),
    ):
        given = os.environ.get(variable)
        parser.add_argument(f"--{name}", default=given, required=given is None, help=f"by default ${variable}")


def _say(line: str) -> None:
    sys.stdout.write(f"{line}\n")
    sys.stdout.flush()


if __name__ == "__main__":
    sys.exit(main())
