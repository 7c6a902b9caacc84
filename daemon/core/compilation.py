"""From a definition to a plan, in four stages; every problem of every stage is reported at once.

1. paths: what comes before what; cycles    2. loops: what each place sees of the bodies around it
3. nodes: each node's keys, templates and handler, and whether what it reads can be there    4. edges: ports and wiring

Comes from: `parsing`. Goes to: `plan`.
"""

from __future__ import annotations

import re
from collections import defaultdict
from contextlib import suppress
from typing import TYPE_CHECKING, Any, NamedTuple

from msgspec import UNSET, Struct

from daemon.core.definition import SignalRoute
from daemon.core.errors import Misconfigured
from daemon.core.graph import find_paths
from daemon.core.node import ConfigError, NodeType, Turns
from daemon.core.places import Place, find_places, in_body
from daemon.core.plan import Body, Edge, Plan, PlannedNode
from daemon.core.problems import Findings, Locate, Problem, did_you_mean, nowhere
from daemon.core.readers import Readers
from daemon.core.references import ROOTS, Visible, check_environment, check_references
from daemon.core.templates import Template, TemplateError, compile_template

if TYPE_CHECKING:
    from collections.abc import Collection, Iterable, Mapping

    from daemon.core.definition import Definition, EdgeDefinition, NodeDefinition
    from daemon.core.problems import Path

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
    turns: Turns | None


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
    places = find_places(definition.nodes, paths)
    configured: dict[str, _Configured] = {}
    for node in definition.nodes.values():
        if node.id not in opaque and (read := _read_node(node, node_types, findings)) is not None:
            configured[node.id] = read
    allowed = env if handlers is not None else None
    reading = _Reading(definition, configured, allowed, findings)
    for node_id, read in configured.items():
        _check_node(definition.nodes[node_id], read, definition, handlers, findings)
        reading.node(definition.nodes[node_id], read, places[node_id])
    edges = _wire(definition, configured, findings)
    outputs = reading.outputs(places, Place(nodes=definition.nodes, paths=paths))
    if allowed is not None:
        _check_triggers(definition, allowed, findings)
    if errors := findings.errors:
        raise Misconfigured(errors)
    bodies = _bodies(definition, paths.starts, edges, outputs)
    readers = reading.readers
    for node_id, read in configured.items():
        for edge in edges.into[node_id] if read.node_type.collects else ():
            readers.read(edge.source, places[node_id])
    readers.keep(node_id for body in bodies.values() if body.output is None for node_id in body.last)
    whole = _Whole(edges, bodies, readers, definition.on_error)
    nodes = {node.id: _planned(node, configured[node.id], whole) for node in definition.nodes.values()}
    return Compiled(Plan(definition=definition, nodes=nodes, body=bodies[""], env=env), findings.warnings)


class _Reading:
    """The check of what all expressions of a definition read."""

    def __init__(
        self,
        definition: Definition,
        configured: Mapping[str, _Configured],
        env: Mapping[str, str] | None,
        findings: Findings,
    ) -> None:
        """`env` None leaves the environment unchecked."""
        self._definition = definition
        self._configured = configured
        self._env = env
        self._findings = findings
        self._ids = frozenset(definition.nodes)
        known = (read.node_type.variables(read.config) for read in configured.values())
        self._variables = frozenset(definition.variables).union(*known)
        self.readers = Readers(definition.nodes)

    def node(self, node: NodeDefinition, read: _Configured, place: Place) -> None:
        """Check a node's own expressions, each at its place."""
        self._check(read.node_type.templates(read.config), node.own, node.path, place)
        if (how := read.turns) is not None:
            self._check(_given(how.going, how.skip), node.own, node.path, in_body(place, ""))
            self._check(_given(how.again, how.stop), node.own, node.path, in_body(place, None))
            self._check(_given(how.aggregate), node.own, node.path, place, how.name)

    def outputs(self, places: Mapping[str, Place], outermost: Place) -> Mapping[str, Template | None]:
        """Check and return the output of the workflow, and of each body by the id of the node that has it."""
        outputs = {"": self._output(self._definition.output, ("output",), outermost)}
        for node in self._definition.nodes.values():
            if node.body is not None:
                path, end = (*node.body.path, "output"), in_body(places[node.id], None)
                outputs[node.id] = self._output(node.body.output, path, end)
        return outputs

    def _output(self, written: object, path: Path, place: Place) -> Template | None:
        if written is UNSET:
            return None
        try:
            template = compile_template(written)
        except TemplateError as error:
            self._findings.template(error, path)
            return None
        self._check([template], written, path, place)
        return template

    def _check(self, templates: Iterable[Template], written: object, path: Path, place: Place, *more: str) -> None:
        templates = tuple(templates)
        visible = Visible(
            roots=(*ROOTS, *self._turn_names(place), *more),
            nodes=self._ids,
            settled=place.settled,
            hidden=place.hidden,
            reader=place.reader or next(iter(place.around), None),
            moment=place.moment,
            variables=self._variables,
        )
        check_references(templates, written, path, visible, self._findings)
        self.readers.note(templates, place)
        if self._env is not None:
            check_environment(templates, written, path, self._env, self._findings, reader=place.reader)

    def _turn_names(self, place: Place) -> set[str]:
        """Return what a turn around the place is called: `loop`, `parallel`; both where that is not known."""
        names: set[str] = set()
        for node_id in place.around:
            read = self._configured.get(node_id)
            names |= {"loop", "parallel"} if read is None or read.turns is None else {read.turns.name}
        return names


def _given(*templates: Template | None) -> list[Template]:
    return [template for template in templates if template is not None]


def _read_node(node: NodeDefinition, node_types: Mapping[str, NodeType], findings: Findings) -> _Configured | None:
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
    return _Configured(node_type, config, (*node_type.ports(config), ERROR_PORT), join or node.join or "all", how)


def _check_node(
    node: NodeDefinition,
    read: _Configured,
    definition: Definition,
    handlers: Collection[str] | None,
    findings: Findings,
) -> None:
    path = node.path
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


def _check_port(edge: Edge, path: Path, source: _Configured | None, findings: Findings) -> None:
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


def _planned(node: NodeDefinition, read: _Configured, whole: _Whole) -> PlannedNode:
    return PlannedNode(
        id=node.id,
        scope=node.scope,
        turns=read.turns,
        body=whole.bodies.get(node.id),
        readers=whole.readers.of(node.id),
        reads=whole.readers.by(node.id),
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
