"""What a benchmark is, what it may use, and what it gives."""

from __future__ import annotations

import math
import secrets
from contextlib import contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal, NamedTuple, TypeAlias

from daemon.testing.databases import new_database

if TYPE_CHECKING:
    from collections.abc import Callable, Collection, Coroutine, Iterator, Sequence
    from pathlib import Path
    from typing import Any

StoreKind: TypeAlias = Literal["sqlite", "postgres"]
Service: TypeAlias = Literal["kafka", "rabbitmq"]


class WrongOutcomeError(Exception):
    """The work that was timed is not what the log holds afterwards: the figure would be worth nothing."""


class Figure(NamedTuple):
    """One number of one run."""

    name: str
    value: float
    unit: str


@dataclass(frozen=True, kw_only=True)
class Sizes:
    """How much work one run does."""

    at_once: int = 1000
    """Executions that are started together, and that are in flight at the kill."""
    warm_up: int = 100
    low_rate_count: int = 300
    """Executions offered at 20 a second, or one at a time."""
    rate_count: int = 1000
    """Executions and messages offered at 500 a second."""
    kafka_messages: int = 20_000
    rabbitmq_messages: int = 5_000
    append_s: float = 0.1
    """How long each way of appending is measured."""
    rounds: int = 5
    """How often ways that are compared take turns in one run; the median counts."""
    writers: tuple[int, ...] = (1, 2, 4)
    """Processes that append to one log."""
    sleepers: int = 1_000_000
    """Executions that wait."""
    timers: int = 25_000
    stored: tuple[int, int] = (10, 100_000)
    """Finished executions in the store."""
    steps_in_one: tuple[int, ...] = (10, 1_000, 10_000)
    widths: tuple[int, ...] = (10, 100, 1_000)
    steps_decided: tuple[int, int] = (1_000, 100_000)
    """Steps of executions that no store takes."""
    events_in_one: int = 100_000
    looked_at: int = 10_000
    """Executions whose past is asked about."""
    definition_nodes: int = 10_000
    recovered: tuple[int, ...] = (1_000, 10_000)
    """Executions in flight at the kill."""
    idle_s: float = 20.0
    through: int = 100_000
    """Executions that go through one daemon."""


SHORT = Sizes(
    at_once=40,
    warm_up=5,
    low_rate_count=5,
    rate_count=50,
    kafka_messages=300,
    rabbitmq_messages=300,
    append_s=0.01,
    rounds=1,
    writers=(1, 2),
    sleepers=200,
    timers=100,
    stored=(10, 200),
    steps_in_one=(5, 20),
    widths=(5, 20),
    steps_decided=(20, 200),
    events_in_one=400,
    looked_at=30,
    definition_nodes=60,
    recovered=(40,),
    idle_s=0.2,
    through=400,
)


@dataclass(frozen=True, kw_only=True)
class Bench:
    """Where one run finds its services. Nothing of one run is seen by another."""

    store: StoreKind
    sizes: Sizes
    folder: Path
    """For SQLite files; on the disk that is to be measured."""
    postgres: str | None = None
    kafka: str | None = None
    rabbitmq: str | None = None

    @contextmanager
    def fresh_store(self) -> Iterator[str]:
        """Give the URL of an empty store, which goes away at the end."""
        if self.store == "postgres":
            with new_database(self.service("postgres")) as url:
                yield url
            return
        path = self.folder / f"{secrets.token_hex(4)}.db"
        try:
            yield f"sqlite:///{path}"
        finally:
            for file in self.folder.glob(f"{path.name}*"):
                file.unlink()

    def service(self, name: Literal["postgres"] | Service) -> str:
        """Return its URL or bootstrap server."""
        found: str | None = getattr(self, name)
        if found is None:
            raise LookupError(f"there is no {name} to measure on")
        return found

    def missing(self, needs: Collection[Service]) -> list[Service]:
        """Return which of the services are not there."""
        return [name for name in needs if getattr(self, name) is None]


class Benchmark(NamedTuple):
    """`run` measures once, on stores of its own."""

    name: str
    title: str
    run: Callable[[Bench], Coroutine[Any, Any, Sequence[Figure]]]
    needs: tuple[Service, ...] = ()
    stores: tuple[StoreKind, ...] = ("sqlite", "postgres")
    """On which it means something."""
    named_only: bool = False
    """It takes minutes: left out unless `--only` names it."""
    contender: str = "sagad"
    """Whom the figures are of: sagad's are compared with those of the same name of others, in the same run."""


def percentile(values: Sequence[float], percent: float) -> float:
    """Return the least value that so many percent do not exceed."""
    ordered = sorted(values)
    return ordered[max(0, math.ceil(len(ordered) * percent / 100) - 1)]


def milliseconds(name: str, seconds: Sequence[float], *percents: int) -> list[Figure]:
    """Return percentiles of durations as figures."""
    return [Figure(f"{name}, p{percent}", percentile(seconds, percent) * 1000, "ms") for percent in percents]
