"""The plan: a definition compiled into what `decide` needs, checked as a whole.

Comes from: `compilation`. Goes to: `decide`.
"""

from __future__ import annotations

from collections.abc import Mapping
from datetime import timedelta
from typing import Any

from msgspec import Struct

from daemon.core.definition import Definition
from daemon.core.node import NodeType
from daemon.core.retry import RetryPolicy
from daemon.core.templates import Template


class Edge(Struct, frozen=True):
    """A connection: when `source` settles with `port`, this edge fires; with any other port it is dead."""

    source: str
    port: str
    target: str


class PlannedNode(Struct, frozen=True, kw_only=True):
    """One node, wired."""

    id: str
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

    @property
    def catches(self) -> bool:
        """Tell whether an `error` edge leaves it."""
        return any(edge.port == "error" for edge in self.outgoing)


class Plan(Struct, frozen=True, kw_only=True):
    """A workflow ready to be decided on."""

    definition: Definition
    nodes: Mapping[str, PlannedNode]
    starts: tuple[str, ...]
    """Nodes without incoming edges, in the order of the definition."""
    output: Template | None
    """The execution's output; None gives the outputs of the nodes without outgoing edges, by id."""
    env: Mapping[str, str]
    """The allow-listed environment variables, as they were when the plan was made."""

    @property
    def hash(self) -> str:
        """Hash of the definition."""
        return self.definition.hash

    @property
    def concurrency(self) -> int:
        """How many handlers of one execution may be at work at once."""
        return self.definition.concurrency
