"""The drivers, what they read, and the comparison. Peers themselves are not installed here: that needs the network."""

from __future__ import annotations

import ast
import asyncio
import os
import sys
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from tests.bench.figures import SHORT, Bench, Benchmark, Figure, WrongOutcomeError
from tests.bench.peers import commits, driver, environments
from tests.bench.peers.catalogue import PEERS, Peer
from tests.bench.peers.comparison import Comparison, times
from tests.bench.peers.preparation import USUAL
from tests.bench.peers.work import Order
from tests.support.services import required

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

FOLDER = Path(__file__).parent
PYTHON = Path(sys.executable)
PGBENCH = """\
number of transactions actually processed: 33127
latency average = 0.966 ms
tps = 8281.472913 (without initial connection time)
"""


def least(tuning: Mapping[str, int] | None = None) -> Peer:
    return Peer(
        name="table",
        title="Table",
        requirements=("table==1.0",),
        program="tests.bench.peers.on_table",
        best=tuning or {},
        tried=[],
        shorter=(1,),
        recovers=True,
        rates=(500,),
    )


@pytest.fixture
def bench(tmp_path: Path) -> Bench:
    return Bench(store="postgres", sizes=SHORT, folder=tmp_path, postgres=required("SAGAD_TEST_POSTGRES_URL"))


async def test_the_driver_measures_a_program_and_names_its_figures_like_those_of_sagad(bench: Bench) -> None:
    """Every order is done by a real process on a real database, and one of them is killed half-way."""
    peer = least()
    figures = {figure.name: figure.value for figure in await driver.measure(peer, PYTHON, peer.best, bench)}
    named = {name for name in figures if "sustained" not in name}  # said only of a peer that a busy machine slows down
    assert named <= frozenset().union(*driver.COMPARED.values())
    assert figures[driver.STEPS_A_SECOND] > 0
    assert figures[driver.IN_FLIGHT] == 0, "this engine takes everything up before it is asked"
    assert 0 < figures[driver.RECOVERED] < driver.LIMIT_S


async def test_a_program_that_loses_an_execution_gives_no_figure(bench: Bench) -> None:
    with pytest.raises(WrongOutcomeError, match=r"has 43 finished executions, expected 45"):
        await driver.throughput(least(), PYTHON, {"lose": 1}, bench, 1)


async def test_a_program_that_fails_is_told_with_its_last_words() -> None:
    order = Order(work="throughput", steps=1, count=1, url="postgresql://nobody@127.0.0.1:1/nothing")
    with pytest.raises(WrongOutcomeError, match=r"(?s)Table's program ended with 1: .*OperationalError"):
        await driver.perform(least(), PYTHON, order)


async def test_a_program_that_does_not_end_is_killed_with_what_it_started(monkeypatch: pytest.MonkeyPatch) -> None:
    """A server that a peer's program started must not stay behind and disturb the runs after it."""
    monkeypatch.setattr(driver, "LIMIT_S", 0.01)
    killed: list[int] = []
    kill = os.killpg

    def note(group: int, number: int) -> None:
        killed.append(group)
        kill(group, number)

    monkeypatch.setattr(os, "killpg", note)
    with pytest.raises(WrongOutcomeError, match="Table had not done its throughput within"):
        await driver.perform(least(), PYTHON, Order(work="throughput", steps=1, count=1))
    assert len(killed) == 1
    with pytest.raises(ProcessLookupError):
        kill(killed[0], 0)


def test_the_result_is_the_last_line_whatever_an_engine_prints_before() -> None:
    result = driver.parse(b'launched!\n{"elapsed_s": 2.5, "latencies_s": [0.1], "finished": 7}\n')
    assert (result.elapsed_s, result.latencies_s, result.finished) == (2.5, [0.1], 7)
    with pytest.raises(WrongOutcomeError, match="printed nothing"):
        driver.parse(b"\n")


def test_pgbench_is_read() -> None:
    assert commits.rate(PGBENCH) == 8281.472913
    with pytest.raises(ValueError, match="no rate: pgbench: error"):
        commits.rate("pgbench: error: connection to server failed")


@pytest.mark.parametrize(
    ("output", "reason"),
    [
        ("WARNING: Retrying after connection broken by 'E'\nERROR: No match\n", "the package index is not reachable"),
        ("ERROR: No matching distribution found for dbos==99\n", "No matching distribution found for dbos==99"),
        ("dial tcp: lookup proxy: no such host\n", "the package index is not reachable"),
        ("", "it did not say why"),
    ],
)
def test_an_installer_that_fails_gives_the_reason_for_the_report(output: str, reason: str) -> None:
    command = [sys.executable, "-c", f"import sys; sys.stderr.write({output!r}); sys.exit(1)"]
    with pytest.raises(environments.NotInstalledError, match=f"^pip could not install dbos==3: {reason}$"):
        environments.run_installer("pip", "dbos==3", command, 30, {})


def test_an_installer_that_is_not_there_is_named() -> None:
    with pytest.raises(environments.NotInstalledError, match="no go on PATH to build server@v1 with"):
        environments.run_installer("go", "server@v1", ["no-such-program-anywhere"], 30, {})


def test_an_environment_that_fits_is_used_as_it_is(tmp_path: Path) -> None:
    """Nothing is installed twice: there is no index to ask in this test."""
    python = tmp_path / f"table-{sys.version_info.major}.{sys.version_info.minor}" / "bin" / "python"
    python.parent.mkdir(parents=True)
    python.touch()
    (python.parents[1] / environments.STAMP).write_text("table==1.0\n")
    assert environments.install(least(), tmp_path) == python


def figures_of(contender: str, values: Sequence[float], name: str, unit: str, into: Comparison) -> None:
    async def nothing(_: Bench) -> Sequence[Figure]:
        return await asyncio.sleep(0, ())

    benchmark = Benchmark("any", "any", nothing, contender=contender)
    for value in values:
        into.add(benchmark, "postgres", [Figure(name, value, unit)])


def test_a_ratio_says_how_many_times_better_sagad_is_whichever_way_is_better() -> None:
    assert times([14_000, 15_000, 99_000], [750, 700, 760], "/s") == "20 x"
    assert times([2.0], [8.0], "ms") == "4 x"
    assert times([95.0], [190.0], "/s") == "0.5 x"
    assert times(None, [1.0], "/s") == ""
    assert times([1000], [1000], "") == "", "a count is no figure to be better at"


def test_the_comparison_has_what_more_than_one_contender_measured() -> None:
    comparison = Comparison()
    figures_of("sagad", [15_000, 14_000, 16_000], driver.STEPS_A_SECOND, "/s", comparison)
    figures_of("sagad", [1.0], "only ours", "ms", comparison)
    figures_of("DBOS 3, best tuning", [750, 740, 760], driver.STEPS_A_SECOND, "/s", comparison)
    figures_of("DBOS 3, as shipped", [350, 300, 400], driver.STEPS_A_SECOND, "/s", comparison)
    figures_of("raw limit", [20_000], "single-row commits, 32 clients", "/s", comparison)
    assert comparison.markdown().replace(driver.STEPS_A_SECOND, "steps").splitlines() == [
        "| | sagad | DBOS 3 | raw limit |",
        "|---|---|---|---|",
        "| steps, /s | **15,000** (14,000 .. 16,000) | 750 / 350 (20 x / 42.9 x) | 20,000 (0.75 x) |",
    ]
    table = comparison.table()
    assert table is not None
    assert table.row_count == 4
    assert list(table.columns[5].cells) == ["", "20 x", "42.9 x", "0.75 x"]
    assert list(table.columns[3].cells)[1] == "740 .. 760"


def test_without_others_there_is_no_comparison() -> None:
    comparison = Comparison()
    figures_of("sagad", [15_000], driver.STEPS_A_SECOND, "/s", comparison)
    assert comparison.table() is None


def test_versions_are_pinned_and_the_usual_peers_exist() -> None:
    assert all("==" in requirement for peer in PEERS for requirement in peer.requirements)
    assert all("@v" in program for peer in PEERS for program in peer.programs)
    assert set(USUAL) < {peer.name for peer in PEERS}
    assert all(peer.version for peer in PEERS)


@pytest.mark.parametrize("program", ["work", "temporal_server", *(peer.program.split(".")[-1] for peer in PEERS)])
def test_a_peers_program_imports_nothing_of_sagad(program: str) -> None:
    """Its environment has none of it."""
    allowed = {"tests.bench.peers", "tests.bench.peers.work", "tests.bench.peers.temporal_server"}
    for node in ast.walk(ast.parse((FOLDER / f"{program}.py").read_text())):
        modules = [alias.name for alias in node.names] if isinstance(node, ast.Import) else []
        modules += [node.module or ""] if isinstance(node, ast.ImportFrom) else []
        for module in modules:
            assert module in allowed or module.split(".")[0] not in {"daemon", "eventstore", "triggers", "tests"}, (
                module
            )
