"""The third stage of compilation: each node's keys are read by its type, and what can be told of them is checked.

Comes from: `compilation`. Goes to: `scoping`.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from msgspec import UNSET, Struct

from daemon.core.definition import NodeDefinition
from daemon.core.node import ConfigError, NodeType, Pages, Subflow, Turns
from daemon.core.problems import did_you_mean
from daemon.core.templates import TemplateError, compile_template

if TYPE_CHECKING:
    from collections.abc import Collection, Mapping

    from daemon.core.definition import Definition
    from daemon.core.problems import Findings

ERROR_PORT = "error"


class Configured(Struct, frozen=True):
    """A node whose own keys were read."""

    node_type: NodeType
    config: Any
    ports: tuple[str, ...]
    join: str
    turns: Turns | None
    subflow: Subflow | None
    pages: tuple[NodeType, Pages] | None = None
    """What fetches the pages of its items, and how."""


def read_node(node: NodeDefinition, node_types: Mapping[str, NodeType], findings: Findings) -> Configured | None:
    """Have the node type read its keys; None when it cannot."""
    path = node.path
    node_type = node_types[node.type]
    try:
        config = node_type.parse(node.own)
    except ConfigError as error:
        for problem in error.problems:
            findings.adopt(problem, path, node=node.id)
        return None
    join = node_type.join(config)
    if join is not None and node.join is not None:
        hint = f"`{node_type.name}` says it already; take `after` out"
        findings.error("`after` is said twice", (*path, "after"), node=node.id, hint=hint)
    how = node_type.turns(config) if node_type.turns is not None else None
    subflow = node_type.subflow(config) if node_type.subflow is not None else None
    pager = node_type.pager
    pages = pager.pages(config) if pager is not None else None
    fetched = (pager.type, pages) if pager is not None and pages is not None else None
    ports = (*node_type.ports(config), ERROR_PORT)
    return Configured(node_type, config, ports, join or node.join or "all", how, subflow, fetched)


def check_node(node: NodeDefinition, definition: Definition, findings: Findings) -> None:
    """Check what one node says by itself, and against the workflow's policy and limits."""
    path = node.path
    if node.default is not UNSET:
        if (node.on_error or definition.on_error) != "continue":
            message = "`default` is never used: the error policy is not `continue`"
            findings.warn(message, (*path, "default"), node=node.id, hint="add on_error: continue")
        if not _is_constant(node.default):
            hint = "let the error take an `error` edge to a transform"
            findings.error("`default` is a fixed value", (*path, "default"), node=node.id, hint=hint)
    limit = definition.timeout
    if node.timeout is not None and limit is not None and node.timeout > limit:
        message = "the step's timeout is longer than the workflow's"
        findings.warn(message, (*path, "timeout"), node=node.id, hint="the execution ends first")


def _is_constant(value: object) -> bool:
    try:
        return compile_template(value, allow_secrets=True).constant
    except TemplateError:
        return False


def check_needs(
    node: NodeDefinition,
    read: Configured,
    handlers: Collection[str] | None,
    connections: Collection[str] | None,
    findings: Findings,
) -> None:
    """Report handlers that are not registered, and a database connection that the settings do not have.

    None leaves them unchecked; so is a handler that remote workers have.
    """
    handler, notifier = _handler(read.node_type, read.config), read.node_type.notifier
    fetching = _handler(read.pages[0], read.pages[1].config) if read.pages is not None else None
    for needed in (handler, fetching, *(notifier.handlers(read.config) if notifier is not None else ())):
        if needed is not None and handlers is not None and needed not in handlers:
            message = f"no handler is registered as {needed!r}"
            findings.error(message, (*node.path, node.type), node=node.id, hint=did_you_mean(needed, handlers))
    name = read.node_type.connection(read.config)
    if name is not None and connections is not None and name not in connections:
        message = f"the settings have no connection {name!r}"
        hint = f"add [connections.{name}] with its url; {did_you_mean(name, connections)}"
        findings.error(message, (*node.path, node.type, "connection"), node=node.id, hint=hint)


def _handler(node_type: NodeType, config: object) -> str | None:
    """Return the handler that the daemon itself must have."""
    return node_type.handler(config) if node_type.remote(config) is None else None


class ConfiguredAction(Struct, frozen=True):
    """A node that does something for another one, whose own keys were read."""

    node: NodeDefinition
    read: Configured


class ConfiguredCompensation(Struct, frozen=True):
    """What undoes a node, and what finds out whether there is something to undo."""

    undo: ConfiguredAction
    lookup: ConfiguredAction | None = None

    @property
    def actions(self) -> tuple[ConfiguredAction, ...]:
        """Both."""
        return (self.undo,) if self.lookup is None else (self.undo, self.lookup)


def read_compensations(
    definition: Definition, node_types: Mapping[str, NodeType], findings: Findings
) -> Mapping[str, ConfiguredCompensation]:
    """Have the node types read the keys of all compensations, by the id of the node that they undo."""
    found: dict[str, ConfiguredCompensation] = {}
    for node in definition.nodes.values():
        if node.compensation is None:
            continue
        undo = _read_action(node.compensation.node, node_types, findings)
        lookup = _read_action(node.compensation.lookup, node_types, findings)
        if undo is not None:
            found[node.id] = ConfiguredCompensation(undo, lookup)
    return found


def _read_action(
    node: NodeDefinition | None, node_types: Mapping[str, NodeType], findings: Findings
) -> ConfiguredAction | None:
    read = read_node(node, node_types, findings) if node is not None else None
    return ConfiguredAction(node, read) if node is not None and read is not None else None
