"""Decides what is measured beside sagad in a run, and makes the peers ready before any clock runs."""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

from tests.bench.peers import commits, driver
from tests.bench.peers.catalogue import PEERS
from tests.bench.peers.environments import NotInstalledError, install

if TYPE_CHECKING:
    from collections.abc import Collection, Mapping, Sequence
    from pathlib import Path

    from tests.bench.figures import Benchmark

USUAL = ("dbos", "absurd", "langgraph")
"""Temporal is left to those who ask for it: its server has to be built, which takes minutes."""


class Prepared(NamedTuple):
    """What can be measured, and what cannot."""

    benchmarks: Sequence[Benchmark]
    left_out: Mapping[str, str]
    """Title -> why."""


def prepare(names: Collection[str], folder: Path) -> Prepared:
    """Install the peers of these names into environments below the folder."""
    benchmarks: list[Benchmark] = []
    left_out: dict[str, str] = {}
    if commits.pgbench():
        benchmarks.append(commits.BENCHMARK)
    else:
        left_out[commits.BENCHMARK.title] = "there is no pgbench on PATH"
    for peer in PEERS:
        if peer.name in names:
            try:
                benchmarks += driver.benchmarks(peer, install(peer, folder))
            except NotInstalledError as error:
                left_out[f"Peer: {peer.title} {peer.version}"] = str(error)
    return Prepared(benchmarks, left_out)
