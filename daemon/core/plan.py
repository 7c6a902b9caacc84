"""The plan: a definition compiled into what `decide` needs, checked as a whole.

Comes from: `compilation`. Goes to: `decide`.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from datetime import timedelta
from typing import Any

from msgspec import Struct

from daemon.core.definition import Definition
from daemon.core.node import NodeType, Subflow, Turns
from daemon.core.retry import RetryPolicy
from daemon.core.templates import Template
from daemon.core.throttle import AT_ONCE, PlannedLimit, PlannedStart, SharedLimit


class Edge(Struct, frozen=True):
    """A connection: when `source` settles with `port`, this edge fires; with any other port it is dead."""

    source: str
    port: str
    target: str


class Body(Struct, frozen=True, kw_only=True):
    """A graph: the whole workflow's, or what a loop or fan-out repeats."""

    starts: tuple[str, ...]
    """Nodes without incoming edges, in the order of the definition."""
    last: tuple[str, ...]
    """Nodes without outgoing edges."""
    output: Template | None
    """What it gives; None gives the outputs of `last`, by id."""


class PlannedCompensation(Struct, frozen=True, kw_only=True):
    """What undoes a node's step."""

    node: PlannedNode | None
    """Who does it; None when only a person can."""
    lookup: PlannedNode | None = None
    """Who finds out whether the step took effect, where that is not known."""
    kind: str
    of_child: bool = False
    """Whether it is owed for a child only, and undoes that."""
    reason: str = ""
    """Why only a person can, and what there is to do."""


class PlannedCache(Struct, frozen=True, kw_only=True):
    """Where a node's results are kept for other steps."""

    name: str
    """Of the cache; `workflow/node` unless the definition gives one."""
    key: Template
    ttl: timedelta
    """How long a result may be used."""


class PlannedNode(Struct, frozen=True, kw_only=True):
    """One node, wired."""

    id: str
    scope: str = ""
    """Id of the loop or fan-out in whose body it stands; empty for the outermost scope."""
    type: NodeType
    config: Any
    ports: tuple[str, ...]
    incoming: tuple[Edge, ...]
    outgoing: tuple[Edge, ...]
    retry: RetryPolicy
    timeout: timedelta | None
    """Limit of one attempt."""
    on_error: str
    """`stop` | `continue`: what an error without an `error` edge does."""
    default: Any
    """Output when `on_error` is `continue`; `msgspec.UNSET` when there is none: what follows is then skipped."""
    join: str = "all"
    """`all`: begins when every incoming edge is settled and one has fired; `any`: as soon as one has fired."""

    readers: tuple[str, ...] | None = None
    """The nodes beside it that read its output, themselves or in their bodies; None when its end is not known: what is
    around it may read it too."""
    reads: tuple[str, ...] = ()
    """The nodes beside it whose output it, or its body, reads."""
    compensation: PlannedCompensation | None = None
    """What undoes its step; None when nothing has to."""
    limits: tuple[PlannedLimit, ...] = ()
    """Which it shares with other executions."""
    priority: Template | None = None
    subflow: Subflow | None = None
    """How it stands to the execution that it starts; None for a node that starts none."""
    cache: PlannedCache | None = None
    """Where its results are kept for other steps; None when they are not."""
    turns: Turns | None = None
    """How it repeats its body; None for a node without one."""
    body: Body | None = None

    @property
    def repeats(self) -> tuple[Turns, Body]:
        """How it repeats what. TypeError for a node that repeats nothing."""
        if self.turns is None or self.body is None:
            raise TypeError(f"`{self.type.name}` asks for turns and has none to offer")
        return self.turns, self.body

    @property
    def catches(self) -> bool:
        """Tell whether an `error` edge leaves it."""
        return any(edge.port == "error" for edge in self.outgoing)


class PlannedUpdate(Struct, frozen=True, kw_only=True):
    """What an update does. Its templates may read `update.data` and `update.actor`."""

    accept: Template | None
    """It must give true; None accepts all."""
    refusal: Template
    variables: tuple[tuple[str, Template], ...]
    signal: str | None
    result: Template | None


class Plan(Struct, frozen=True, kw_only=True):
    """A workflow ready to be decided on."""

    definition: Definition
    nodes: Mapping[str, PlannedNode]
    """By id; compensations by that of their node and `~undo`."""
    body: Body
    updates: Mapping[str, PlannedUpdate] = {}
    queries: Mapping[str, Template] = {}
    """What each gives; they may read `query.data`."""
    checks: Mapping[tuple[str, str], Callable[[object], None]] = {}
    """By kind (`signal`, `update`, `query`) and name: raises `InvalidInput` for data that is not allowed."""
    env: Mapping[str, str]
    """The allow-listed environment variables, as they were when the plan was made."""
    start: PlannedStart = AT_ONCE
    """How an execution begins."""
    priority: Template | None = None
    """Of those who wait for a limit, and say nothing themselves."""
    shared: tuple[SharedLimit, ...] = ()
    """The limits of the settings: those that hold for a handler or type hold for the calls of functions too."""

    @property
    def hash(self) -> str:
        """Hash of the definition."""
        return self.definition.hash

    @property
    def concurrency(self) -> int:
        """How many handlers of one execution may be at work at once."""
        return self.definition.concurrency
