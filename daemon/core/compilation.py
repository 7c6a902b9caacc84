"""From a definition to a plan, in four stages; every problem of every stage is reported at once.

1. paths: what comes before what; cycles    2. loops: which names each node is given by the scopes around it
3. nodes: each node's keys, templates and handler, and whether what it reads can be there    4. edges: ports and wiring

Comes from: `parsing`. Goes to: `plan`.
"""

from __future__ import annotations

import re
from collections import defaultdict
from contextlib import suppress
from functools import partial
from typing import TYPE_CHECKING, Any

from msgspec import UNSET, Struct

from daemon.core.definition import SignalRoute
from daemon.core.errors import Misconfigured
from daemon.core.graph import find_paths
from daemon.core.node import ConfigError, NodeType
from daemon.core.plan import Edge, Plan, PlannedNode
from daemon.core.problems import Findings, Locate, Problem, did_you_mean, nowhere
from daemon.core.references import ROOTS, Visible, check_environment, check_references
from daemon.core.templates import Template, TemplateError, compile_template

if TYPE_CHECKING:
    from collections.abc import Collection, Iterable, Mapping

    from daemon.core.definition import Definition, NodeDefinition

ERROR_PORT = "error"


class Compiled(Struct, frozen=True):
    """A plan, and the doubts that do not refuse it."""

    plan: Plan
    warnings: tuple[Problem, ...]


class _Configured(Struct, frozen=True):
    """A node whose own keys were read."""

    node_type: NodeType
    config: Any
    ports: tuple[str, ...]
    join: str


def compile_plan(
    definition: Definition,
    *,
    node_types: Mapping[str, NodeType],
    handlers: Collection[str] | None,
    env: Mapping[str, str],
    locate: Locate = nowhere,
    opaque: Collection[str] = (),
    found: Iterable[Problem] = (),
) -> Compiled:
    """Compile, or raise `Misconfigured` with every problem; `found` are those that there were before.

    `handlers` None is for definitions that were accepted before, which executions are pinned to: what they need of this
    daemon (handlers, environment) is not checked, and a step that misses it fails when it runs. `opaque` nodes are
    reported already.
    """
    findings = Findings(locate, found)
    paths = find_paths(definition.nodes, definition.edges, findings)
    roots = find_scopes(definition)
    ids = frozenset(definition.nodes)
    allowed = env if handlers is not None else None
    configured: dict[str, _Configured] = {}
    for node in definition.nodes.values():
        if node.id not in opaque and (read := _read_node(node, node_types, findings)) is not None:
            configured[node.id] = read
            _check_node(node, read, definition, handlers, findings)
            visible = Visible(
                roots=roots[node.id],
                nodes=ids,
                settled=partial(paths.precedes, reader=node.id),
                reader=node.id,
            )
            templates, path = read.node_type.templates(read.config), ("nodes", node.id)
            check_references(templates, node.own, path, visible, findings)
            if allowed is not None:
                check_environment(templates, node.own, path, allowed, findings, reader=node.id)
    edges = _wire(definition, configured, findings)
    output = _output(definition, allowed, findings)
    if allowed is not None:
        _check_triggers(definition, allowed, findings)
    if errors := findings.errors:
        raise Misconfigured(errors)
    nodes = {node.id: _planned(node, configured[node.id], definition, edges) for node in definition.nodes.values()}
    plan = Plan(definition=definition, nodes=nodes, starts=paths.starts, output=output, env=env)
    return Compiled(plan, findings.warnings)


def find_scopes(definition: Definition) -> Mapping[str, tuple[str, ...]]:
    """Return what each node may read beside other nodes.

    A scope (a loop, a fan-out) adds its names for the nodes inside. No node type opens one yet, so all nodes stand in
    the outermost scope, and `loop` and `parallel` are known nowhere.
    """
    return dict.fromkeys(definition.nodes, ROOTS)


def _read_node(node: NodeDefinition, node_types: Mapping[str, NodeType], findings: Findings) -> _Configured | None:
    """Have the node type read its keys; None when it cannot."""
    path = ("nodes", node.id)
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
    return _Configured(node_type, config, (*node_type.ports(config), ERROR_PORT), join or node.join or "all")


def _check_node(
    node: NodeDefinition,
    read: _Configured,
    definition: Definition,
    handlers: Collection[str] | None,
    findings: Findings,
) -> None:
    path = ("nodes", node.id)
    handler = read.node_type.handler(read.config)
    if handler is not None and handlers is not None and handler not in handlers:
        message = f"no handler is registered as {handler!r}"
        findings.error(message, (*path, node.type), node=node.id, hint=did_you_mean(handler, handlers))
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


class _Edges:
    """The wired edges, by either end."""

    def __init__(self) -> None:
        self.into: defaultdict[str, list[Edge]] = defaultdict(list)
        self.out_of: defaultdict[str, list[Edge]] = defaultdict(list)


def _wire(definition: Definition, configured: Mapping[str, _Configured], findings: Findings) -> _Edges:
    """Check both ends and the port of each edge."""
    seen: set[Edge] = set()
    edges = _Edges()
    for each in definition.edges:
        path = ("edges", each.index)
        unknown = [end for end in dict.fromkeys((each.source, each.target)) if end not in definition.nodes]
        for end in unknown:
            hint = did_you_mean(end, definition.nodes)
            findings.error(f"there is no node `{end}`", path, hint=hint, offset=_offset_of(end, each.text))
        edge = Edge(each.source, each.port, each.target)
        if edge in seen:
            findings.error(f"the edge `{each.text}` is there twice", path, hint="take one of them out")
        elif not unknown:
            edges.into[edge.target].append(edge)
            edges.out_of[edge.source].append(edge)
            _check_port(edge, each.index, configured.get(each.source), findings)
        seen.add(edge)
    for node_id, read in configured.items():
        used = {edge.port for edge in edges.out_of[node_id]}
        open_ports = [port for port in read.ports if port not in used and port not in ("out", ERROR_PORT)]
        if open_ports:
            message = f"no edge leaves by {', '.join(f'`{node_id}.{port}`' for port in open_ports)}: this way ends here"
            findings.warn(message, ("nodes", node_id), node=node_id)
    return edges


def _check_port(edge: Edge, index: int, source: _Configured | None, findings: Findings) -> None:
    if source is None or edge.port in source.ports:
        return
    if edge.port == "out":
        message = f"`{edge.source}` leaves by one of several ports, and the edge does not say by which"
        hint = f"write one of: {', '.join(f'{edge.source}.{port}' for port in source.ports)}"
    else:
        message = f"`{edge.source}` has no port {edge.port!r}"
        hint = did_you_mean(edge.port, source.ports)
    findings.error(message, ("edges", index), node=edge.source, hint=hint)


def _offset_of(node_id: str, text: str) -> int | None:
    found = re.search(rf"(?<![\w.-]){re.escape(node_id)}\b", text)
    return found.start() if found else None


def _output(definition: Definition, env: Mapping[str, str] | None, findings: Findings) -> Template | None:
    if definition.output is UNSET:
        return None
    try:
        template = compile_template(definition.output)
    except TemplateError as error:
        findings.template(error, ("output",))
        return None
    visible = Visible(nodes=frozenset(definition.nodes))
    check_references([template], definition.output, ("output",), visible, findings)
    if env is not None:
        check_environment([template], definition.output, ("output",), env, findings)
    return template


def _check_triggers(definition: Definition, env: Mapping[str, str], findings: Findings) -> None:
    """Check the environment that triggers read; `parsing` has checked the rest of them."""
    for trigger in definition.triggers:
        signal = trigger.signal or SignalRoute(name="")
        parts: tuple[tuple[tuple[str, ...], object], ...] = (
            ((trigger.kind,), trigger.settings),
            (("filter",), trigger.filter),
            (("dedupe",), trigger.dedupe),
            (("input",), None if trigger.input is UNSET else trigger.input),
            (("signal", "execution"), signal.execution),
            (("signal", "key"), signal.key),
        )
        for keys, value in parts:
            with suppress(TemplateError):
                template = compile_template(value, allow_secrets=True)
                check_environment([template], value, ("triggers", trigger.index, *keys), env, findings)


def _planned(node: NodeDefinition, read: _Configured, definition: Definition, edges: _Edges) -> PlannedNode:
    return PlannedNode(
        id=node.id,
        type=read.node_type,
        config=read.config,
        ports=read.ports,
        incoming=tuple(edges.into[node.id]),
        outgoing=tuple(edges.out_of[node.id]),
        retry=node.retry,
        timeout=node.timeout,
        on_error=node.on_error or definition.on_error,
        default=node.default,
        join=read.join,
    )
