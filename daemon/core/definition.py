"""A workflow as its author wrote it, parsed and checked by itself; `compilation` then checks it as a whole.

Comes from: `parsing`. Goes to: `compilation`.
"""

from __future__ import annotations

from collections.abc import Mapping
from datetime import timedelta
from typing import Any

from msgspec import UNSET, Struct

from daemon.core.retention import RetentionDefinition
from daemon.core.retry import RetryPolicy
from daemon.core.throttle import StartDefinition, ThrottleDefinition


class BodyDefinition(Struct, frozen=True, kw_only=True):
    """What a loop or a fan-out repeats: a graph of its own, whose nodes and edges are among the definition's."""

    path: tuple[str | int, ...]
    """Where it stands in the document."""
    output: Any = UNSET
    """Template of a turn's output."""


class CompensationDefinition(Struct, frozen=True, kw_only=True):
    """What undoes a node's step, as written."""

    node: NodeDefinition | None
    """Who does it; None when only a person can."""
    lookup: NodeDefinition | None = None
    """Who finds out whether the step took effect where that is not known."""
    kind: str = "reversible"
    """`reversible` | `idempotent` | `eventual` | `irreversible`."""
    reason: str = ""
    manual: str = ""
    """What a person has to do."""


class NodeDefinition(Struct, frozen=True, kw_only=True):
    """One node as written. `type` is the key that names its node type; `own` holds that key and the type's others."""

    id: str
    type: str
    path: tuple[str | int, ...]
    """Where it stands in the document."""
    scope: str = ""
    """Id of the loop or fan-out in whose body it stands; empty for the outermost scope."""
    body: BodyDefinition | None = None
    compensation: CompensationDefinition | None = None
    side_effects: bool = True
    """False for a node that changes nothing outside, so that there is nothing to undo."""
    own: Mapping[str, Any]
    description: str = ""
    retry: RetryPolicy = RetryPolicy()
    timeout: timedelta | None = None
    on_error: str | None = None
    """`stop` | `continue`; None takes the workflow's."""
    default: Any = UNSET
    cache: Mapping[str, Any] | None = None
    """The key `cache`, its time to live read; None when there is none."""
    join: str | None = None
    """`all` | `any`, the key `after`; None when not written."""
    throttle: tuple[ThrottleDefinition, ...] = ()
    priority: Any = None
    """Template; None takes the workflow's."""
    checkpoint: bool = False
    """Whether the version at which its step succeeds gets a name."""


class EdgeDefinition(Struct, frozen=True):
    """`source.port -> target`; the port is `out` when not written."""

    source: str
    port: str
    target: str
    text: str
    """As written, for messages."""
    path: tuple[str | int, ...]
    """Where it stands in the document."""
    scope: str = ""
    """Id of the loop or fan-out in whose body it stands; empty for the outermost scope."""


class SignalRoute(Struct, frozen=True, kw_only=True):
    """A trigger that signals: which signal, and to which execution.

    Either `execution` (a template that gives the id) or `key` (a template that gives the dedupe key the execution was
    started with) within `scope` (qualified trigger name or shared scope).
    """

    name: str
    execution: str | None = None
    key: str | None = None
    scope: str | None = None


class TriggerDefinition(Struct, frozen=True, kw_only=True):
    """One trigger as written. Templates are source text, checked when the definition was parsed."""

    name: str
    index: int
    """Its place in the list of triggers."""
    kind: str
    """`kafka` | `rabbitmq` | `webhook` | `schedule` | `memory`."""
    settings: Mapping[str, Any]
    """The adapter's own settings, checked against its schema; durations are still text."""
    filter: str | None = None
    dedupe: str | None = None
    scope: str | None = None
    """Namespace of the dedupe key; None is the trigger's own, `workflow/name`."""
    input: Any = UNSET
    """Template of the execution's input; unset gives the message's value."""
    signal: SignalRoute | None = None
    dead_letter: str | None = None
    retry: RetryPolicy = RetryPolicy(max_attempts=3)


class SignalDefinition(Struct, frozen=True, kw_only=True):
    """A signal that executions take, as written."""

    data: Mapping[str, Any] | None = None
    """JSON Schema of its data; None allows all."""
    description: str = ""


class UpdateDefinition(Struct, frozen=True, kw_only=True):
    """An update as written."""

    path: tuple[str | int, ...]
    data: Mapping[str, Any] | None = None
    """JSON Schema of its data; None allows all."""
    accept: Any = UNSET
    """Template that must give true."""
    refusal: Any = "the workflow does not accept the update now"
    """Template of what the sender is told else."""
    variables: Mapping[str, Any] = {}
    """Templates of the variables that it sets."""
    signal: str | None = None
    """The signal that it stands for too."""
    result: Any = UNSET


class QueryDefinition(Struct, frozen=True, kw_only=True):
    """A query as written."""

    path: tuple[str | int, ...]
    data: Mapping[str, Any] | None = None
    result: Any


class Limits(Struct, frozen=True, kw_only=True):
    """What an execution may hold at most."""

    output_bytes: int = 16 * 2**20
    """Of one step's output, as JSON."""
    context_bytes: int = 64 * 2**20
    """Of its input, the outputs that later nodes may read, the items of loops, and variables, as JSON."""
    depth: int = 16
    """Executions above one that starts a child; more are an error."""


class Definition(Struct, frozen=True, kw_only=True):
    """One immutable version of a workflow."""

    workflow: str
    hash: str
    """SHA-256, hex, of `document`."""
    document: bytes
    """Canonical JSON of the whole definition; see `canonical`."""
    description: str = ""
    input_schema: Mapping[str, Any] | None = None
    triggers: tuple[TriggerDefinition, ...] = ()
    variables: Mapping[str, Any] = {}
    """What `vars` begins with, by name: fixed values."""
    nodes: Mapping[str, NodeDefinition]
    """All nodes by id, those in bodies after the one that has the body."""
    edges: tuple[EdgeDefinition, ...] = ()
    signals: Mapping[str, SignalDefinition] = {}
    updates: Mapping[str, UpdateDefinition] = {}
    queries: Mapping[str, QueryDefinition] = {}
    output: Any = UNSET
    concurrency: int = 64
    timeout: timedelta | None = None
    """Limit of the whole execution, from its start."""
    on_error: str = "stop"
    undo: str = "automatic"
    """What becomes of owed compensations at a bad end: `automatic` | `manual` | `confirm_each` | `none`."""
    limits: Limits = Limits()
    throttle: tuple[ThrottleDefinition, ...] = ()
    """What limits how many executions are at work."""
    priority: Any = None
    """Template of who goes first where there is a limit; None is 0."""
    start: StartDefinition | None = None
    subject: Any = None
    """Template of whose data its executions hold; None for nobody's in particular."""
    snapshot_every: int | None = None
    """Events between two snapshots; 0 for none; None, here and below, is as the settings say."""
    snapshot_interval: timedelta | None = None
    """Time between two snapshots."""
    snapshot_keep: int | None = None
    """How many are kept."""
    checkpoint_every: int = 0
    """Events between two checkpoints; 0 for none."""
    retention: RetentionDefinition | None = None
    """How long executions stay after their end; None: as the settings say."""
