"""From a definition to a plan, in four stages; every problem of every stage is reported at once.

1. paths: what comes before what; cycles    2. loops: what each place sees of the bodies around it
3. nodes: each node's keys, templates and handler, and whether what it reads can be there    4. edges: ports and wiring

Comes from: `parsing`. Goes to: `plan`.
"""

from __future__ import annotations

import re
from collections import defaultdict
from contextlib import suppress
from typing import TYPE_CHECKING, NamedTuple

from msgspec import UNSET, Struct
from msgspec.structs import replace

from daemon.core.address import NOTIFY, PAGE, UNDO
from daemon.core.caching import read_cache
from daemon.core.configured import (
    ERROR_PORT,
    Configured,
    ConfiguredCompensation,
    check_needs,
    check_node,
    read_compensations,
    read_node,
)
from daemon.core.definition import SignalRoute
from daemon.core.errors import Misconfigured
from daemon.core.graph import find_paths
from daemon.core.node import Pages
from daemon.core.places import Place, find_places
from daemon.core.plan import Body, Edge, Plan, PlannedCache, PlannedCompensation, PlannedNode
from daemon.core.problems import Findings, Locate, Problem, did_you_mean, nowhere
from daemon.core.references import check_environment
from daemon.core.scoping import Scoping
from daemon.core.templates import Template, TemplateError, compile_template
from daemon.core.throttle import Planning

if TYPE_CHECKING:
    from collections.abc import Collection, Iterable, Mapping

    from daemon.core.definition import Definition, EdgeDefinition, NodeDefinition
    from daemon.core.node import NodeType, Notifier
    from daemon.core.problems import Path
    from daemon.core.readers import Readers
    from daemon.core.throttle import Check, PlannedLimit, PlannedStart, SharedLimit


class Compiled(Struct, frozen=True):
    """A plan, and the doubts that do not refuse it."""

    plan: Plan
    warnings: tuple[Problem, ...]


def compile_plan(
    definition: Definition,
    *,
    node_types: Mapping[str, NodeType],
    handlers: Collection[str] | None,
    env: Mapping[str, str],
    shared: Mapping[str, SharedLimit] | None = None,
    accepted: bool = False,
    connections: Collection[str] | None = None,
    locate: Locate = nowhere,
    opaque: Collection[str] = (),
    found: Iterable[Problem] = (),
) -> Compiled:
    """Compile, or raise `Misconfigured` with every problem; `found` are those that there were before.

    `handlers` None is for definitions that were accepted before, which executions are pinned to: what they need of this
    daemon (handlers, connections, environment) is not checked, and a step that misses it fails when it runs. `opaque`
    nodes are reported already. `shared` are the limits of the settings; None, or a definition that was `accepted`
    before, leaves open whether those are there that it names.
    """
    findings = Findings(locate, found)
    paths = find_paths(definition.nodes, definition.edges, findings)
    places = find_places(definition.nodes, paths)
    configured: dict[str, Configured] = {}
    for node in definition.nodes.values():
        if node.id not in opaque and (read := read_node(node, node_types, findings)) is not None:
            configured[node.id] = read
    compensations = read_compensations(definition, node_types, findings)
    scoping = Scoping(definition, configured, allowed := env if handlers is not None else None, findings)
    for node_id, read in configured.items():
        check_node(definition.nodes[node_id], definition, findings)
        check_needs(definition.nodes[node_id], read, handlers, connections, findings)
        scoping.node(definition.nodes[node_id], read, places[node_id])
    for node_id, compensation in compensations.items():
        for action in compensation.actions:
            check_needs(action.node, action.read, handlers, connections, findings)
        scoping.compensation(compensation, places[node_id])
    edges = _wire(definition, configured, findings)
    caches = _caches(definition, scoping, places, findings)
    planning = Planning(shared or {}, findings, strict=shared is not None and not accepted)
    limits = _limits_of_all(definition, configured, planning, scoping, places)
    outermost = Place(nodes=definition.nodes, paths=paths)
    outputs = scoping.outputs(places, outermost)
    updates, queries = scoping.updates(outermost), scoping.queries(outermost)
    _check_signals(definition, findings)
    if allowed is not None:
        _check_triggers(definition, allowed, findings)
    if errors := findings.errors:
        raise Misconfigured(errors)
    bodies = _bodies(definition, paths.starts, edges, outputs)
    readers = scoping.readers
    for node_id, read in configured.items():
        for edge in edges.into[node_id] if read.node_type.collects else ():
            readers.read(edge.source, places[node_id])
    readers.keep(node_id for body in bodies.values() if body.output is None for node_id in body.last)
    whole = _Whole(edges, bodies, readers, definition.on_error, caches)
    nodes = _nodes(definition, configured, compensations, whole)
    plan = Plan(definition=definition, nodes=nodes, body=bodies[""], updates=updates, queries=queries, env=env)
    plan = _limited(plan, limits)
    return Compiled(plan, findings.warnings)


def _caches(
    definition: Definition, scoping: Scoping, places: Mapping[str, Place], findings: Findings
) -> Mapping[str, PlannedCache]:
    """Read and check how results are kept, by node."""
    caches = {node.id: cache for node in definition.nodes.values() if (cache := read_cache(node, definition, findings))}
    for node_id, cache in caches.items():
        scoping.cache(definition.nodes[node_id], cache, places[node_id])
    return caches


class _Limits(NamedTuple):
    """Limits that executions share: those of each node, with its priority, and how executions begin."""

    own: Mapping[str, tuple[tuple[PlannedLimit, ...], Template | None]]
    start: PlannedStart
    priority: Template | None
    shared: tuple[SharedLimit, ...]


def _limits_of_all(
    definition: Definition,
    configured: Mapping[str, Configured],
    planning: Planning,
    scoping: Scoping,
    places: Mapping[str, Place],
) -> _Limits:
    own = {
        node_id: _limits(definition, definition.nodes[node_id], read, planning, scoping.checker(places[node_id]))
        for node_id, read in configured.items()
    }
    for node_id, read in configured.items():
        if read.pages is not None:
            node_type, pages = read.pages
            covering = planning.covering(node_type.name, node_type.handler(pages.config), ())
            own[node_id + PAGE] = (covering, None)
    return _Limits(own, *planning.start(definition), planning.shared)


def _limited(plan: Plan, limits: _Limits) -> Plan:
    """Return the plan with its limits."""
    own = {
        node_id: replace(plan.nodes[node_id], limits=found, priority=first or limits.priority)
        for node_id, (found, first) in limits.own.items()
        if found
    }
    nodes = {**plan.nodes, **own}
    return replace(plan, nodes=nodes, start=limits.start, priority=limits.priority, shared=limits.shared)


def _limits(
    definition: Definition, node: NodeDefinition, read: Configured, planning: Planning, check: Check
) -> tuple[tuple[PlannedLimit, ...], Template | None]:
    """Return the limits that the node's steps share with others, and its own priority."""
    if read.node_type.execute is None:
        return (), None
    named = planning.limits(f"{definition.workflow}/{node.id}", node.throttle, check, node=node.id)
    covering = planning.covering(read.node_type.name, read.node_type.handler(read.config), named)
    return (*named, *covering), planning.template(node.priority, (*node.path, "priority"), check, node=node.id)


class _Edges:
    """The wired edges, by either end."""

    def __init__(self) -> None:
        self.into: defaultdict[str, list[Edge]] = defaultdict(list)
        self.out_of: defaultdict[str, list[Edge]] = defaultdict(list)


def _wire(definition: Definition, configured: Mapping[str, Configured], findings: Findings) -> _Edges:
    """Check both ends and the port of each edge."""
    seen: set[Edge] = set()
    edges = _Edges()
    for each in definition.edges:
        path = each.path
        unknown = [end for end in dict.fromkeys((each.source, each.target)) if not _in_graph(end, each, definition)]
        for end in unknown:
            _report_end(end, each, definition, findings)
        edge = Edge(each.source, each.port, each.target)
        if edge in seen:
            findings.error(f"the edge `{each.text}` is there twice", path, hint="take one of them out")
        elif not unknown:
            edges.into[edge.target].append(edge)
            edges.out_of[edge.source].append(edge)
            _check_port(edge, path, configured.get(each.source), findings)
        seen.add(edge)
    for node_id, read in configured.items():
        used = {edge.port for edge in edges.out_of[node_id]}
        open_ports = [port for port in read.ports if port not in used and port not in ("out", ERROR_PORT)]
        if open_ports:
            message = f"no edge leaves by {', '.join(f'`{node_id}.{port}`' for port in open_ports)}: this way ends here"
            findings.warn(message, definition.nodes[node_id].path, node=node_id)
    return edges


def _in_graph(end: str, edge: EdgeDefinition, definition: Definition) -> bool:
    return end in definition.nodes and definition.nodes[end].scope == edge.scope


def _report_end(end: str, edge: EdgeDefinition, definition: Definition, findings: Findings) -> None:
    offset = _offset_of(end, edge.text)
    if end not in definition.nodes:
        graph = [node.id for node in definition.nodes.values() if node.scope == edge.scope]
        findings.error(f"there is no node `{end}`", edge.path, hint=did_you_mean(end, graph), offset=offset)
        return
    scope = definition.nodes[end].scope
    place = f"in the body of `{scope}`" if scope else f"outside of the body of `{edge.scope}`"
    hint = "an edge connects nodes of one body; let it end at the node that has the body"
    findings.error(f"`{end}` is {place}: an edge cannot lead there", edge.path, hint=hint, offset=offset)


def _check_port(edge: Edge, path: Path, source: Configured | None, findings: Findings) -> None:
    if source is None or edge.port in source.ports:
        return
    if edge.port == "out":
        message = f"`{edge.source}` leaves by one of several ports, and the edge does not say by which"
        hint = f"write one of: {', '.join(f'{edge.source}.{port}' for port in source.ports)}"
    else:
        message = f"`{edge.source}` has no port {edge.port!r}"
        hint = did_you_mean(edge.port, source.ports)
    findings.error(message, path, node=edge.source, hint=hint)


def _offset_of(node_id: str, text: str) -> int | None:
    found = re.search(rf"(?<![\w.-]){re.escape(node_id)}\b", text)
    return found.start() if found else None


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


def _check_signals(definition: Definition, findings: Findings) -> None:
    """Where signals are declared, report those that are waited for, or sent by an update or a trigger, and are not."""
    if not definition.signals:
        return
    used: list[tuple[str | None, Path]] = []
    for node in (node for node in definition.nodes.values() if node.type == "signal"):
        written = node.own.get("signal")
        name, key = (written.get("name"), ("name",)) if isinstance(written, dict) else (written, ())
        used.append((name, (*node.path, "signal", *key)))
    used += [(update.signal, (*update.path, "signal")) for update in definition.updates.values()]
    for trigger in definition.triggers:
        used.append((trigger.signal.name if trigger.signal else None, ("triggers", trigger.index, "signal", "name")))
    for name, path in used:
        if isinstance(name, str) and "{{" not in name and name not in definition.signals:
            findings.error(f"there is no signal {name!r}", path, hint=did_you_mean(name, definition.signals))


def _bodies(
    definition: Definition, starts: Iterable[str], edges: _Edges, outputs: Mapping[str, Template | None]
) -> Mapping[str, Body]:
    """Return the graph of each body, by the id of the node that has it."""
    first: dict[str, list[str]] = {scope: [] for scope in outputs}
    last: dict[str, list[str]] = {scope: [] for scope in outputs}
    for node_id in starts:
        first[definition.nodes[node_id].scope].append(node_id)
    for node in definition.nodes.values():
        if not edges.out_of[node.id]:
            last[node.scope].append(node.id)
    return {
        scope: Body(starts=tuple(first[scope]), last=tuple(last[scope]), output=output)
        for scope, output in outputs.items()
    }


class _Whole(NamedTuple):
    """What the nodes of a definition have around them."""

    edges: _Edges
    bodies: Mapping[str, Body]
    readers: Readers
    on_error: str
    caches: Mapping[str, PlannedCache]


def _nodes(
    definition: Definition,
    configured: Mapping[str, Configured],
    compensations: Mapping[str, ConfiguredCompensation],
    whole: _Whole,
) -> Mapping[str, PlannedNode]:
    """Return all nodes by id, those that undo, look up or tell people for another among them."""
    nodes: dict[str, PlannedNode] = {}
    for node in definition.nodes.values():
        undo = _compensation(node, configured[node.id], compensations.get(node.id), whole)
        nodes[node.id] = _planned(node, configured[node.id], whole, undo)
        for planned in (undo.node, undo.lookup) if undo is not None else ():
            if planned is not None:
                nodes[planned.id] = planned
        if (notifier := configured[node.id].node_type.notifier) is not None:
            nodes[node.id + NOTIFY] = _notices(node, configured[node.id], notifier)
        if (fetched := configured[node.id].pages) is not None:
            nodes[node.id + PAGE] = _pages(node, *fetched)
    return nodes


def _compensation(
    node: NodeDefinition, read: Configured, undo: ConfiguredCompensation | None, whole: _Whole
) -> PlannedCompensation | None:
    """Return what undoes the node: what it declares, or, for a subflow that declares nothing, the undo of the child."""
    if node.compensation is None:
        if read.subflow is None or not node.side_effects:
            return None
        undone = replace(node, id=node.id + UNDO, on_error="stop", default=UNSET)
        undoes = _planned(undone, replace(read, subflow=None), whole, None)
        return PlannedCompensation(node=undoes, kind="idempotent", of_child=True)
    reason = ". ".join(part for part in (node.compensation.reason, node.compensation.manual) if part)
    planned, lookup = None, None
    if undo is not None:
        planned = _planned(undo.undo.node, undo.undo.read, whole, None)
        lookup = _planned(undo.lookup.node, undo.lookup.read, whole, None) if undo.lookup is not None else None
    return PlannedCompensation(node=planned, lookup=lookup, kind=node.compensation.kind, reason=reason)


def _notices(node: NodeDefinition, read: Configured, notifier: Notifier) -> PlannedNode:
    """Return the node of the steps that tell people: nothing fails with them."""
    how = Pages(config=read.config, retry=notifier.retry, timeout=notifier.timeout)
    return replace(_pages(node, notifier.type, how), id=node.id + NOTIFY, on_error="continue")


def _pages(node: NodeDefinition, node_type: NodeType, pages: Pages) -> PlannedNode:
    """Return the node of the steps that fetch a loop's pages: no edge follows them, and the loop fails with them."""
    return PlannedNode(
        id=node.id + PAGE,
        scope=node.scope,
        type=node_type,
        config=pages.config,
        ports=("out",),
        incoming=(),
        outgoing=(),
        retry=pages.retry,
        timeout=pages.timeout,
        on_error="stop",
        default=UNSET,
    )


def _planned(
    node: NodeDefinition, read: Configured, whole: _Whole, compensation: PlannedCompensation | None
) -> PlannedNode:
    return PlannedNode(
        id=node.id,
        scope=node.scope,
        turns=read.turns,
        subflow=read.subflow,
        body=whole.bodies.get(node.id),
        readers=whole.readers.of(node.id),
        reads=whole.readers.by(node.id),
        compensation=compensation,
        cache=whole.caches.get(node.id),
        type=read.node_type,
        config=read.config,
        ports=read.ports,
        incoming=tuple(whole.edges.into[node.id]),
        outgoing=tuple(whole.edges.out_of[node.id]),
        retry=node.retry,
        timeout=node.timeout,
        on_error=node.on_error or whole.on_error,
        default=node.default,
        join=read.join,
    )
