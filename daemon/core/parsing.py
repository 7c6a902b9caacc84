"""From a document (what YAML or JSON gives) to a `Definition`: everything that can be told from one part by itself.

The shell lends the structural check (`Check`, a JSON Schema validator), so that the core stays free of it. Every
mistake is gathered. A node whose type cannot be read is known by its id from then on and not looked into any further.

Comes from: daemon/runtime/definitions. Goes to: `compilation`.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from hashlib import sha256
from typing import TYPE_CHECKING, Any, TypeAlias

from msgspec import UNSET, Struct

from daemon.core.address import LOOKUP, NODE_ID, UNDO
from daemon.core.caching import check_cache
from daemon.core.canonical import canonical, edge_text
from daemon.core.definition import (
    BodyDefinition,
    CompensationDefinition,
    Definition,
    EdgeDefinition,
    Limits,
    NodeDefinition,
)
from daemon.core.edge_syntax import EdgeSyntaxError, parse_edge
from daemon.core.parsing_messages import read_messages
from daemon.core.parsing_retry import parse_retry, read_duration
from daemon.core.parsing_triggers import parse_triggers
from daemon.core.problems import Findings, Problem, did_you_mean, nowhere
from daemon.core.references import RESERVED
from daemon.core.retention import parse_retention
from daemon.core.retry import RetryPolicy
from daemon.core.schema import (
    BODY_KEY,
    RUN_KEYS,
    body_schema,
    compensation_schema,
    document_schema,
    lookup_schema,
    node_schema,
)
from daemon.core.throttle import parse_start, parse_throttle
from daemon.core.values import from_json, to_json

if TYPE_CHECKING:
    from datetime import timedelta

    from daemon.core.node import NodeType
    from daemon.core.problems import Locate, Path

Check: TypeAlias = Callable[[Mapping[str, Any]], Callable[[object], Sequence[Problem]]]
"""Of a JSON Schema: what checks a value; the paths are relative to the value. `#/$defs/…` are `schema_parts.DEFS`."""


MOST_LEVELS = 16
"""Of bodies in each other."""
_LEVEL = ("nodes", "id", BODY_KEY)
"""A level's share of a path."""


class Parsed(Struct, frozen=True, kw_only=True):
    """What could be read, and what could not."""

    definition: Definition | None
    """None when there is nothing to go on with."""
    problems: tuple[Problem, ...] = ()
    """Mistakes and doubts."""
    opaque: frozenset[str] = frozenset()
    """Nodes with a mistake of their own."""


def parse(document: object, node_types: Mapping[str, NodeType], *, check: Check, locate: Locate = nowhere) -> Parsed:
    """Read a document made of JSON values. Raises nothing for what can be in it.

    What comes out depends on the document's canonical form alone, so that a definition that was stored reads as it did
    when it was new: mappings have no order.
    """
    findings = Findings(locate)
    if not isinstance(document, Mapping):
        findings.error("a workflow is a mapping with `workflow`, `nodes` and `edges`", ())
        return Parsed(definition=None, problems=findings.problems)
    text = to_json(document)
    reading = _Reading(from_json(text), node_types, check, findings)
    definition = reading.definition(canonical(text))
    return Parsed(definition=definition, problems=findings.problems, opaque=frozenset(reading.opaque))


class _Reading:
    """One document being read; each method reads one part of it."""

    def __init__(
        self, document: dict[str, Any], node_types: Mapping[str, NodeType], check: Check, findings: Findings
    ) -> None:
        self.opaque: set[str] = set()
        self._node_types = node_types
        self._check = check
        self._node_checks: dict[str, Callable[[object], Sequence[Problem]]] = {}
        self._findings = findings
        found = check(document_schema())(document)
        for problem in found:
            findings.adopt(problem)
        self._graph_of: dict[str, str] = {}
        """Id of each node that was read -> the node in whose body it stands."""
        self._document = _without(document, found)

    def definition(self, text: bytes) -> Definition | None:
        given = self._document
        workflow = given.get("workflow", "")
        nodes, edges = self._graph(given, (), "")
        triggers = parse_triggers(given.get("triggers", []), workflow, self._check, self._findings)
        if not nodes:
            return None
        return Definition(
            workflow=workflow,
            hash=sha256(text).hexdigest(),
            document=text,
            description=given.get("description", ""),
            subject=given.get("subject"),
            input_schema=given.get("input"),
            triggers=triggers,
            variables=given.get("vars", {}),
            nodes=nodes,
            edges=tuple(sorted(edges, key=edge_text)),
            **read_messages(given),
            output=given.get("output", UNSET),
            concurrency=given.get("concurrency", 64),
            timeout=self._duration(given, ()),
            on_error=given.get("on_error", "stop"),
            undo=given.get("undo", "automatic"),
            limits=Limits(**given.get("limits", {})),
            throttle=parse_throttle(given.get("throttle", []), ("throttle",), self._findings),
            priority=given.get("priority"),
            start=parse_start(given.get("start"), self._findings),
            snapshot_every=given.get("snapshot_every"),
            snapshot_interval=self._duration(given, (), "snapshot_interval"),
            snapshot_keep=given.get("snapshot_keep"),
            checkpoint_every=given.get("checkpoint_every", 0),
            retention=parse_retention(given.get("retention"), self._findings),
        )

    def _graph(
        self, given: Mapping[str, Any], path: Path, scope: str
    ) -> tuple[dict[str, NodeDefinition], list[EdgeDefinition]]:
        """Read nodes and edges at this path, and those in the bodies of the nodes."""
        nodes: dict[str, NodeDefinition] = {}
        edges = self._edges(given.get("edges", {}), (*path, "edges"), scope)
        for node_id, value in given.get("nodes", {}).items():
            node_path = (*path, "nodes", node_id)
            if not self._check_id(node_id, node_path, scope):
                continue
            node, more_nodes, more_edges = self._node(node_id, value, node_path, scope)
            nodes[node_id] = node
            nodes |= more_nodes
            edges += more_edges
        return nodes, edges

    def _check_id(self, node_id: str, path: Path, scope: str) -> bool:
        """Report an id that cannot be used; False for one that another node has."""
        message = f"{node_id!r} cannot be the id of a node"
        if not NODE_ID.fullmatch(node_id):
            hint = "use letters, digits and `_`, at most 64, and no digit first"
            self._findings.error(message, path, hint=hint)
        elif node_id in RESERVED:
            self._findings.error(message, path, hint="expressions know it as something else; choose another")
        elif node_id in self._graph_of:
            place = f"in the body of `{self._graph_of[node_id]}`" if self._graph_of[node_id] else "outside of it"
            hint = "an id names one node in the whole workflow, bodies included"
            self._findings.error(f"there is another node `{node_id}`, {place}", path, hint=hint)
            return False
        self._graph_of[node_id] = scope
        return True

    def _node(
        self, node_id: str, value: object, path: Path, scope: str
    ) -> tuple[NodeDefinition, dict[str, NodeDefinition], list[EdgeDefinition]]:
        """Read a node; return it, and what is in its body."""
        node_type = self._type_of(node_id, value, path)
        sound = None
        if node_type is not None and isinstance(value, dict):
            sound = self._sound(node_id, node_type, value, path)
        if node_type is None or sound is None:
            self.opaque.add(node_id)
            type_name = node_type.name if node_type else ""
            return NodeDefinition(id=node_id, type=type_name, path=path, scope=scope, own={}), {}, []
        body, nodes, edges = self._body(node_id, node_type, sound, (*path, BODY_KEY))
        own_keys = {node_type.name, *node_type.keys}
        node = NodeDefinition(
            id=node_id,
            type=node_type.name,
            path=path,
            scope=scope,
            body=body,
            compensation=self._compensation(node_id, sound, path),
            side_effects="side_effects" not in sound,
            own={key: each for key, each in sound.items() if key in own_keys},
            description=sound.get("description", ""),
            retry=parse_retry(sound.get("retry"), RetryPolicy(), (*path, "retry"), self._findings, node=node_id),
            timeout=self._duration(sound, path, node=node_id),
            on_error=sound.get("on_error"),
            default=sound.get("default", UNSET),
            join=sound.get("after"),
            cache=check_cache(node_id, node_type, sound, path, self._findings),
            throttle=parse_throttle(sound.get("throttle", []), (*path, "throttle"), self._findings, node=node_id),
            priority=sound.get("priority"),
            checkpoint=sound.get("checkpoint", False),
        )
        return node, nodes, edges

    def _compensation(self, node_id: str, given: Mapping[str, Any], path: Path) -> CompensationDefinition | None:
        """Read what undoes the node's step: a node of its own, or a note for people."""
        if "compensate" not in given:
            return None
        value, path = given["compensate"], (*path, "compensate")
        if "side_effects" in given:
            hint = "take one of the two out"
            self._findings.error("a node without side effects has nothing to undo", path, node=node_id, hint=hint)
        node_type = None if "irreversible" in value else self._type_of(node_id, value, path)
        if node_type is not None and node_type.execute is None:
            hint = f"one of: {', '.join(sorted(name for name, each in self._node_types.items() if each.execute))}"
            self._findings.error(f"a `{node_type.name}` undoes nothing", path, node=node_id, hint=hint)
            node_type = None
        elif node_type is not None or "irreversible" in value:
            found = self._check(compensation_schema(node_type))(value)
            for problem in found:
                self._findings.adopt(problem, path, node=node_id)
            if not found:
                return self._sound_compensation(node_id, node_type, value, path)
        self.opaque.add(node_id)
        return None

    def _sound_compensation(
        self, node_id: str, node_type: NodeType | None, value: Mapping[str, Any], path: Path
    ) -> CompensationDefinition:
        if node_type is None:
            given = value["irreversible"]
            manual = given.get("manual", "")
            return CompensationDefinition(node=None, kind="irreversible", reason=given["reason"], manual=manual)
        node = self._action(node_id, UNDO, node_type, value, path)
        lookup = self._lookup(node_id, value, (*path, "lookup"))
        return CompensationDefinition(node=node, lookup=lookup, kind=value.get("kind", "reversible"))

    def _action(
        self, node_id: str, suffix: str, node_type: NodeType, value: Mapping[str, Any], path: Path
    ) -> NodeDefinition:
        """Return the node that does something for another one."""
        own = {node_type.name, *node_type.keys}
        return NodeDefinition(
            id=node_id + suffix,
            type=node_type.name,
            path=path,
            own={key: each for key, each in value.items() if key in own},
            retry=parse_retry(value.get("retry"), RetryPolicy(), (*path, "retry"), self._findings, node=node_id),
            timeout=self._duration(value, path, node=node_id),
        )

    def _lookup(self, node_id: str, given: Mapping[str, Any], path: Path) -> NodeDefinition | None:
        """Read what finds out whether a step took effect."""
        if "lookup" not in given:
            return None
        value = given["lookup"]
        node_type = self._type_of(node_id, value, path)
        if node_type is not None and node_type.execute is None:
            self._findings.error(f"a `{node_type.name}` finds nothing out", path, node=node_id, hint="use a task")
        elif node_type is not None:
            found = self._check(lookup_schema(node_type))(value)
            for problem in found:
                self._findings.adopt(problem, path, node=node_id)
            if not found:
                return self._action(node_id, LOOKUP, node_type, value, path)
        self.opaque.add(node_id)
        return None

    def _body(
        self, node_id: str, node_type: NodeType, given: Mapping[str, Any], path: Path
    ) -> tuple[BodyDefinition | None, dict[str, NodeDefinition], list[EdgeDefinition]]:
        if node_type.turns is None:
            return None, {}, []
        if len(path) > MOST_LEVELS * len(_LEVEL):
            hint = "let the inner ones be a workflow of their own"
            self._findings.error(f"bodies are in each other more than {MOST_LEVELS} levels deep", path, hint=hint)
            return BodyDefinition(path=path), {}, []
        found = self._check(body_schema())(given[BODY_KEY])
        for problem in found:
            self._findings.adopt(problem, path, node=node_id)
        body = _without(given[BODY_KEY], found)
        nodes, edges = self._graph(body, path, node_id)
        return BodyDefinition(path=path, output=body.get("output", UNSET)), nodes, edges

    def _type_of(self, node_id: str, value: object, path: Path) -> NodeType | None:
        if not isinstance(value, dict):
            hint = "write it like {task: module.handler, with: {…}}"
            self._findings.error("a node is a mapping", path, node=node_id, hint=hint)
            return None
        named = [key for key in value if key in self._node_types]
        if len(named) == 1:
            return self._node_types[named[0]]
        if named:
            words = " and ".join(f"`{name}`" for name in named)
            self._findings.error(f"the node has several types: {words}", path, node=node_id, hint="keep one of them")
            return None
        nearest = next((hint for key in value if "mean" in (hint := did_you_mean(key, self._node_types))), None)
        hint = nearest or f"add one of: {', '.join(sorted(self._node_types))}"
        self._findings.error("the node has no type", path, node=node_id, hint=hint)
        return None

    def _sound(
        self, node_id: str, node_type: NodeType, value: Mapping[str, Any], path: Path
    ) -> Mapping[str, Any] | None:
        """Report what the schema finds; return the keys without a mistake, so that they are looked into all the same.

        None when the mistake is in what the type itself reads, or in the node as a whole.
        """
        idle = [key for key in RUN_KEYS if key in value and node_type.execute is None]
        for key in idle:
            message = f"`{key}` has no meaning for a `{node_type.name}`: it does not run anything"
            self._findings.error(message, (*path, key), node=node_id, hint=_instead(node_type.name, key))
        used = {key: each for key, each in value.items() if key not in idle}
        if node_type.name not in self._node_checks:
            self._node_checks[node_type.name] = self._check(node_schema(node_type))
        found = self._node_checks[node_type.name](used)
        for problem in found:
            self._findings.adopt(problem, path, node=node_id)
        bad = {problem.path[0] if problem.path else node_type.name for problem in found}
        if bad & {node_type.name, *node_type.keys, BODY_KEY}:
            return None
        return {key: each for key, each in used.items() if key not in bad}

    def _edges(self, given: Mapping[int, str], path: Path, scope: str) -> list[EdgeDefinition]:
        edges: list[EdgeDefinition] = []
        for index, text in given.items():
            try:
                edges += parse_edge(text, (*path, index), scope)
            except EdgeSyntaxError as error:
                self._findings.error(error.message, (*path, index), hint=error.hint, offset=error.offset)
        return edges

    def _duration(
        self, given: Mapping[str, Any], within: Path, key: str = "timeout", *, node: str | None = None
    ) -> timedelta | None:
        if key not in given:
            return None
        path = (*within, key)
        duration = read_duration(given[key], path, self._findings, node=node)
        if duration is not None and not duration:
            hint = "leave it out for no limit" if key == "timeout" else "leave it out for none"
            self._findings.error(f"the {key} is zero", path, node=node, hint=hint)
        return duration


def _without(graph: Mapping[str, Any], problems: Sequence[Problem]) -> dict[str, Any]:
    """Return the keys in which there is no mistake; edges by their place in the list, those without one."""
    bad = {problem.path[:2] if problem.path[:1] == ("edges",) else problem.path[:1] for problem in problems}
    sound = {key: value for key, value in graph.items() if (key,) not in bad and (key,) != ("edges",)}
    if isinstance(edges := graph.get("edges"), list):
        sound["edges"] = {index: edge for index, edge in enumerate(edges) if ("edges", index) not in bad}
    return sound


def _instead(type_name: str, key: str) -> str | None:
    return "write signal: {name: …, timeout: …}" if (type_name, key) == ("signal", "timeout") else None
