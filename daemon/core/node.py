"""What a node type is: the pure half that `decide` asks, and the half that the shell runs.

A node type says how its part of a definition is parsed, which ports it has, and what it asks for when a step begins.
Types that touch the world answer `Run`; the shell then executes them (`daemon/nodes`, `daemon/runtime/steps`).
Adding a node type is one file in `daemon/nodes`; nothing here or in `decide` changes.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from datetime import datetime, timedelta
from typing import TYPE_CHECKING, Any

from msgspec import Struct

from daemon.core.events import StepError
from daemon.core.people import Escalation
from daemon.core.retry import RetryPolicy
from daemon.core.templates import SecretSlot, Template

if TYPE_CHECKING:
    from daemon.core.problems import Problem

# What a step may ask for when it begins.


class Run(Struct, frozen=True, gc=False):
    """Have the shell run the node with this input (a JSON value, secrets masked)."""

    input: object
    secrets: tuple[SecretSlot, ...] = ()


class Done(Struct, frozen=True, gc=False):
    """The result is known already."""

    output: object
    port: str = "out"


class WaitUntil(Struct, frozen=True, gc=False):
    """Succeed, with the due time as output, when this time has come."""

    due: datetime


class AwaitSignal(Struct, frozen=True, gc=False):
    """Succeed with the data of the next signal of this name; fail with code `timeout` after `timeout`."""

    name: str
    timeout: timedelta | None = None


class AskApproval(Struct, frozen=True, gc=False, kw_only=True):
    """Ask people; leave by `approved` when `need` of them have approved, by `rejected` when that cannot be any more."""

    prompt: str
    approvers: tuple[str, ...]
    """Each once: persons, or `group:name`."""
    need: int
    comment: str = "optional"
    form: object = None
    """JSON Schema of what an approver hands over; None for nothing."""
    timeout: timedelta | None = None
    on_timeout: str = "fail"
    escalation: Escalation | None = None
    reminder: timedelta | None = None


class Fail(Struct, frozen=True, gc=False):
    """Fail without a retry."""

    error: StepError


class Assign(Struct, frozen=True, gc=False):
    """Set variables of the execution; they are the output too."""

    variables: Mapping[str, object]


class Repeat(Struct, frozen=True, gc=False):
    """Repeat the node's body, as its `Turns` say: for each item, or `total` times, else until a condition ends it.

    `item` in turn n is `items[n]`, or `first + n * step` without items. `paged`: the items come as the node's `Pager`
    says.
    """

    items: object = None
    """A list, or None."""
    total: int | None = None
    first: int = 0
    step: int = 1
    paged: bool = False


class RunFunction(Struct, frozen=True, gc=False):
    """Run a durable function: its calls are steps of types that `NodeType.calls` names."""

    function: str
    input: object


Begin = Run | Done | WaitUntil | AwaitSignal | AskApproval | Assign | Repeat | RunFunction | Fail


class Notice(Struct, frozen=True, gc=False, kw_only=True):
    """What one approver is told of."""

    address: str
    """Of the approval."""
    question: int
    kind: str
    """`request` | `reminder` | `escalation` | `delegation`."""
    approver: str
    prompt: str
    due: datetime | None


class Notifier(Struct, frozen=True, kw_only=True):
    """How a node tells people. Each notice is a step of its own, which fails nothing else."""

    type: NodeType
    """What sends a notice, given what `write` gave."""
    retry: RetryPolicy
    timeout: timedelta
    """Limit of one attempt."""
    count: Callable[[Any], int]
    """How many notices one approver gets."""
    templates: Callable[[Any], tuple[Template, ...]]
    """Those that notices are written by; they may read `approval` too."""
    handlers: Callable[[Any], tuple[str, ...]]
    """Names of the registered handlers that they need, for the compiler's checks."""
    write: Callable[[Any, Mapping[str, object], Notice], tuple[Run | Fail, ...]]
    """Pure; from config and scope to `count` notices."""


class Pages(Struct, frozen=True, kw_only=True):
    """How the pages of one node are fetched."""

    config: Any
    """Of the pager's type."""
    retry: RetryPolicy
    timeout: timedelta | None
    """Limit of one attempt."""


class Pager(Struct, frozen=True, kw_only=True):
    """How a node comes to the items that it repeats its body for. Each page is a step of its own."""

    type: NodeType
    """What fetches a page; its templates may read `page` too."""
    pages: Callable[[Any], Pages | None]
    """From the node's config; None for one that has its items already."""


class Turns(Struct, frozen=True, kw_only=True):
    """How a node repeats its body.

    `going` and `skip` are asked before each turn, and know the turn but nothing in it; `again` and `stop` after it, and
    may read what was in it. All must give true or false.
    """

    name: str
    """`loop` | `parallel`: what expressions in the body call the turn; `saga` for one that they have no name for."""
    going: Template | None = None
    """False ends the loop before this turn."""
    skip: Template | None = None
    """True leaves this turn out."""
    again: Template | None = None
    """False ends the loop after this turn."""
    stop: Template | None = None
    """True ends the loop after this turn."""
    limit: int = 10_000
    """More turns than this are an error."""
    at_once: int = 1
    """How many turns may be under way at once."""
    collect: bool = True
    """Whether the output is the list of what the turns gave; else it is what the last one gave."""
    tolerant: bool = False
    """Whether a turn that fails is noted and the others go on; else it fails the node."""
    enough: int | None = None
    """So many turns that succeeded end it; the others are given up."""
    undo: str | None = None
    """`automatic` | `manual` | `confirm_each`: a turn that fails first undoes what was done in it; None leaves that."""
    aggregate: Template | None = None
    """The output instead; it may read the turns' outputs as `loop.results` or `parallel.results`."""


class Subflow(Struct, frozen=True, kw_only=True):
    """How a node stands to the execution that its step starts."""

    result: Template | None = None
    """The step's output; it may read the child's as `child.output`. None gives that itself."""
    on_close: str = "cancel"
    """What becomes of the child when its step is given up: `cancel` | `terminate` | `abandon`."""


class Remote(Struct, frozen=True, gc=False):
    """Have a remote worker run the node's handler."""

    queue: str
    heartbeat: timedelta | None = None
    """How long the worker may be silent before it counts as lost; None leaves it to the daemon's settings."""


class Beginning(Struct, frozen=True, gc=False):
    """What a node type sees when one of its steps begins."""

    scope: Mapping[str, object]
    """Names for expressions: `input`, `steps`, each step by its id, `vars`, `env`, `trigger`, `execution`."""
    fired: tuple[str, ...]
    """Ids of the nodes whose edges into this one have fired, in the order of the definition."""
    at: datetime


class NodeType(Struct, frozen=True, kw_only=True):
    """One kind of node.

    A node in a definition is a mapping with the type's `name` as a key: `{http: {...}, retry: ...}`. `keys` are
    further keys that belong to the type (`with`); the common ones (`retry`, `timeout`, `on_error`, …) do not.
    """

    name: str
    summary: str
    """One sentence for the JSON Schema, the docs and the builder."""
    schema: Mapping[str, Any]
    """JSON Schema of the value under `name`."""
    keys: Mapping[str, Mapping[str, Any]] = {}
    """JSON Schema of each further key."""
    required: tuple[str, ...] = ()
    """Which of `keys` must be there."""
    parse: Callable[[Mapping[str, Any]], object]
    """From the node's own keys (checked against the schemas) to the `config` that the functions below get.

    Compiles the templates. Raises `ConfigError` with all problems at once.
    """
    templates: Callable[[Any], tuple[Template, ...]]
    """All templates of a config: what the node reads, for the compiler's checks."""
    ports: Callable[[Any], tuple[str, ...]] = lambda _config: ("out",)
    """Names of the ports that edges may leave by; `error` is added to every type."""
    begin: Callable[[Any, Beginning], Begin]
    """Pure; what it raises as `EvaluationError` fails the step with code `expression`."""
    execute: Callable[..., Any] | None = None
    """`async (context, input) -> output` for types that answer `Run`; see `daemon/runtime/steps`.

    Instead of the output it may give one of daemon/nodes/answers: the port to leave by, or when to be called again.
    """
    handler: Callable[[Any], str | None] = lambda _config: None
    """Name of the registered handler that the node needs, for the compiler's checks."""
    remote: Callable[[Any], Remote | None] = lambda _config: None
    """Who runs the handler in place of the daemon; the daemon then need not have it."""
    connection: Callable[[Any], str | None] = lambda _config: None
    """Name of the database connection that the node needs, for the compiler's checks."""
    turns: Callable[[Any], Turns] | None = None
    """For types that answer `Repeat`: how. Such a node has a body, the graph under its key `do`."""
    notifier: Notifier | None = None
    """For types that answer `AskApproval` and tell the approvers."""
    pager: Pager | None = None
    """For types that answer `Repeat` with `paged`: where the items come from."""
    subflow: Callable[[Any], Subflow] | None = None
    """For types whose `execute` answers `Child`: how the node stands to it."""
    calls: Mapping[str, NodeType] = {}
    """For types that answer `RunFunction`: the type of each kind of call, and of what undoes one (`undo`)."""
    variables: Callable[[Any], tuple[str, ...]] = lambda _config: ()
    """Names of the variables that it sets, for the compiler's checks."""
    collects: bool = False
    """Whether it reads what the nodes gave whose edges into it have fired, beside what its templates say."""
    join: Callable[[Any], str | None] = lambda _config: None
    """`all` | `any` when the type itself says how it waits for incoming edges; None leaves it to the key `after`."""


class ConfigError(Exception):
    """A node's configuration cannot work; `problems` have paths relative to the node."""

    def __init__(self, problems: tuple[Problem, ...]) -> None:
        super().__init__("; ".join(problem.message for problem in problems))
        self.problems = problems
