"""Every benchmark runs to its end on both stores and gives numbers. How large they are is not looked at."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

import pytest

from tests.bench.__main__ import BENCHMARKS
from tests.bench.figures import SHORT, Bench, Benchmark, Service, StoreKind
from tests.bench.peers.comparison import LIMITS
from tests.bench.peers.driver import COMPARED
from tests.bench.processes import run
from tests.bench.report import Report
from tests.support.services import required

if TYPE_CHECKING:
    from pathlib import Path

LIMITS_OF = {"append": frozenset(name for name in LIMITS if name.startswith("raw limit"))}
URLS: dict[Service, str] = {"kafka": "kafka_bootstrap", "rabbitmq": "rabbitmq_url"}


@pytest.mark.parametrize(
    ("benchmark", "store"),
    [
        pytest.param(benchmark, store, id=f"{benchmark.name}-{store}")
        for benchmark in BENCHMARKS
        for store in benchmark.stores
    ],
)
def test_each_benchmark_gives_finite_numbers(
    benchmark: Benchmark, store: StoreKind, tmp_path: Path, request: pytest.FixtureRequest
) -> None:
    services: dict[Service, str] = {name: request.getfixturevalue(URLS[name]) for name in benchmark.needs}
    postgres = required("SAGAD_TEST_POSTGRES_URL") if store == "postgres" else None
    bench = Bench(store=store, sizes=SHORT, folder=tmp_path, postgres=postgres, **services)
    figures = run(benchmark.run(bench))
    assert figures
    assert all(math.isfinite(figure.value) and figure.value >= 0 for figure in figures), figures
    if store == "postgres":
        compared = COMPARED.get(benchmark.name, frozenset()) | LIMITS_OF.get(benchmark.name, frozenset())
        assert compared <= {figure.name for figure in figures}, "others could not be compared with these"
    report = Report("test", SHORT)
    report.add(benchmark, store, figures)
    report.save(tmp_path / "report.json")
