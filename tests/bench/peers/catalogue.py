"""The engines that sagad is measured beside: their packages, their programs, and how each is tuned.

Every peer is measured as shipped and as tuned best: the knobs that gave the most steps a second when each of those
listed as tried was changed by itself. `python -m tests.bench.peers.tune PEER` looks for the best again.

Each peer is one process, as one sagad is; Temporal's server is another. LangGraph's "async" durability promises less
than the others do: a step may run before the one before it is saved.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence


@dataclass(frozen=True, kw_only=True)
class Peer:
    """One engine."""

    name: str
    """As on the command line."""
    title: str
    requirements: Sequence[str]
    """The first is the engine itself; versions are pinned."""
    program: str
    """A module that knows `work.main`."""
    programs: Sequence[str] = ()
    """Go programs that are built into the environment too."""
    shipped: Mapping[str, Any] = field(default_factory=dict)
    best: Mapping[str, Any]
    tried: Sequence[Mapping[str, Any]]
    """What `tune` compares; each is added to `best`."""
    latency_best: Mapping[str, Any] | None = None
    """Knobs that are better for the time of one execution; None: those of `best`."""
    recovery_best: Mapping[str, Any] | None = None
    """Knobs for taking up all executions after a kill; None: those of `best`."""
    recovers: bool = False
    """Whether the time after a kill is measured."""
    shorter: Sequence[int] = (1, 3, 5)
    """Lengths of executions whose number a second is measured, besides those of 10 steps."""
    rates: Sequence[int] = ()
    """Executions a second at which latency is measured; 0 is one at a time."""

    @property
    def version(self) -> str:
        """Of the engine: of its server, where it has one."""
        if self.programs:
            return self.programs[0].partition("@v")[2]
        return self.requirements[0].partition("==")[2]


PSYCOPG = "psycopg[binary,pool]==3.3.9"
UVLOOP = "uvloop==0.23.0"

DBOS = Peer(
    name="dbos",
    title="DBOS",
    requirements=("dbos==3.4.0", PSYCOPG, UVLOOP),
    program="tests.bench.peers.on_dbos",
    best={"threads": 8, "at_once": 64, "pool": 20, "uvloop": True},
    tried=[
        *({"threads": count} for count in (2, 4, 16, 32)),
        *({"at_once": count} for count in (8, 16, 32, 128, None)),
        {"pool": 8},
        {"pool": 50},
        {"uvloop": False},
        {"notify": False},
        {"switch_s": 0.0005},
        {"switch_s": 0.05},
        *({"style": "sync", "threads": count} for count in (4, 8, 16, 32)),
    ],
    recovery_best={"threads": 8, "pool": 20, "uvloop": True},
    recovers=True,
    rates=(0, 20, 500),
)

ABSURD = Peer(
    name="absurd",
    title="Absurd",
    requirements=("absurd-sdk==0.5.1", "absurdctl==0.5.1", PSYCOPG, UVLOOP),
    program="tests.bench.peers.on_absurd",
    best={"workers": 8, "concurrency": 4, "poll_s": 0.01, "starters": 4, "uvloop": True},
    tried=[
        *({"workers": count} for count in (1, 2, 4, 16)),
        *({"concurrency": count} for count in (1, 16, 64)),
        {"concurrency": 1, "batch": 16},
        {"poll_s": 0.25},
        {"starters": 1},
        {"uvloop": False},
        *({"style": "sync", "workers": count, "concurrency": 1, "batch": 32} for count in (4, 8, 16)),
    ],
)

LANGGRAPH = Peer(
    name="langgraph",
    title="LangGraph",
    requirements=("langgraph==1.2.22", "langgraph-checkpoint-postgres==3.2.0", PSYCOPG, UVLOOP),
    program="tests.bench.peers.on_langgraph",
    best={"pool": 8, "at_once": 64, "uvloop": True, "durability": "async"},
    tried=[
        *({"pool": count} for count in (None, 2, 4, 16)),
        *({"at_once": count} for count in (16, 256, None)),
        {"durability": "sync"},
        {"uvloop": False},
    ],
    rates=(0, 20),
)

TEMPORAL = Peer(
    name="temporal",
    title="Temporal",
    requirements=("temporalio==1.35.0", PSYCOPG, UVLOOP),
    programs=("go.temporal.io/server/cmd/server@v1.32.0", "go.temporal.io/server/cmd/tools/sql@v1.32.0"),
    program="tests.bench.peers.on_temporal",
    best={
        "unsandboxed": True,
        "eager": True,
        "at_once": 128,
        "activities": 128,
        "limits": {
            "frontend.rps": 100_000,
            "frontend.namespaceRPS": 100_000,
            "frontend.persistenceMaxQPS": 0,
            "history.persistenceMaxQPS": 0,
            "matching.persistenceMaxQPS": 0,
        },
    },
    tried=[
        {"unsandboxed": False},
        {"eager": False},
        *({"at_once": count} for count in (32, 512, None)),
        {"activities": 512},
        {"shards": 16},
        {"connections": 50},
        {"pollers": 20},
        {"limits": {}},
    ],
    shorter=(1,),
    rates=(0, 20),
)

PEERS: Sequence[Peer] = (DBOS, ABSURD, LANGGRAPH, TEMPORAL)
