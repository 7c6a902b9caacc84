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


class Fail(Struct, frozen=True, gc=False):
    """Fail without a retry."""

    error: StepError


Begin = Run | Done | WaitUntil | AwaitSignal | Fail


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
    """`async (context, input) -> output` for types that answer `Run`; see `daemon/runtime/steps`."""
    handler: Callable[[Any], str | None] = lambda _config: None
    """Name of the registered handler that the node needs, for the compiler's checks."""
    join: Callable[[Any], str | None] = lambda _config: None
    """`all` | `any` when the type itself says how it waits for incoming edges; None leaves it to the key `after`."""


class ConfigError(Exception):
    """A node's configuration cannot work; `problems` have paths relative to the node."""

    def __init__(self, problems: tuple[Problem, ...]) -> None:
        super().__init__("; ".join(problem.message for problem in problems))
        self.problems = problems
