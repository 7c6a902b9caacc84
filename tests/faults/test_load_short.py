"""The short forms of `soak` and `overload`: nothing that was accepted is lost, and nothing grows without bound.

How long an execution takes is hardly judged: the machine has other work.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from tests.faults import overload, soak
from tests.faults.load.rig import Account, Sample
from tests.faults.soak import Bound
from tests.support.services import required

if TYPE_CHECKING:
    from pathlib import Path

SLOW_MACHINE = (
    Bound("rss_mib", 1.5, 64.0),
    Bound("p50_s", 5.0, 2.0),
    Bound("p99_s", 10.0, 5.0),
    Bound("fds", 1.0, 20.0),
    Bound("threads", 1.0, 10.0),
)
LEAST_ENDED = 0.5


@pytest.fixture
def services(kafka_bootstrap: str, kafka_kind: str, rabbitmq_url: str) -> list[str]:
    postgres = required("SAGAD_TEST_POSTGRES_URL")
    places = ["--postgres", postgres, "--kafka", kafka_bootstrap, "--rabbitmq", rabbitmq_url]
    return [*places, "--mocked"] if kafka_kind == "mock" else places


@pytest.mark.slow
@pytest.mark.timeout(240)
async def test_a_steady_load_is_borne(tmp_path: Path, services: list[str]) -> None:
    arguments = soak.read_arguments(["--minutes", "0.2", "--rate", "20", "--every", "0.5", *services])
    assert await soak.run(arguments, tmp_path, SLOW_MACHINE, LEAST_ENDED)


@pytest.mark.slow
@pytest.mark.timeout(240)
async def test_more_than_can_be_taken_waits(tmp_path: Path, services: list[str]) -> None:
    """Five handlers of 60 ms at once are the limit, whatever the machine can do."""
    few = ["--work-ms", "60", "--running", "5", "--active", "30"]
    quick = ["--seconds", "3", "--times", "4", "--calibrate", "4", "--ways", "kafka", "api"]
    arguments = overload.read_arguments([*few, *quick, *services])
    assert await overload.run(arguments, tmp_path) == 0


def samples(*finished: int) -> list[Sample]:
    """Make samples that differ in how much has ended."""
    return [
        Sample(
            at_s=at,
            rss_mib=80.0,
            cpu_s=1.0,
            fds=20,
            threads=5,
            finished=count,
            p50_s=0.01 if count else float("inf"),
            p99_s=0.02 if count else float("inf"),
        )
        for at, count in enumerate(finished)
    ]


def test_a_daemon_that_stands_still_is_seen() -> None:
    """What ends nothing is neither quick nor flat."""
    assert all(holds for _, holds in soak.judge(samples(*[50] * 20), soak.BOUNDS, soak.LEAST_ENDED))
    broken = [
        line.split()[0] for line, holds in soak.judge(samples(*[50] * 14, *[0] * 6), soak.BOUNDS, 0.9) if not holds
    ]
    assert broken == ["p50_s", "p99_s", "ended"]
    assert not all(holds for _, holds in soak.judge(samples(*[0] * 20), soak.BOUNDS, 0.9))


@pytest.mark.parametrize(
    ("account", "balanced"),
    [
        (Account(accepted=10, unsure=0, completed=10), True),
        (Account(accepted=10, unsure=0, completed=9), False),
        (Account(accepted=10, unsure=0, completed=11), False),
        (Account(accepted=10, unsure=2, completed=11), True),
    ],
)
def test_the_account_shows_what_is_lost(account: Account, balanced: bool) -> None:  # noqa: FBT001  an example
    assert account.balanced is balanced
