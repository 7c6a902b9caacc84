"""A workflow's function under way: the nodes that it has made, and what each of them waits for.

`Wiring` is what the functions of this package write to while the author's function runs. A node is in a *graph* (the
workflow's, or the body of another node), and maybe in a *block*: the ways of branches that it stands under.

Comes from: `workflows`, which runs the function. Goes to: `connecting`, which connects the nodes at the end.
"""

from __future__ import annotations

from contextlib import contextmanager
from contextvars import ContextVar
from typing import TYPE_CHECKING, Any

from msgspec import UNSET, Struct

from daemon.flow import marks
from daemon.flow.marks import Source
from daemon.flow.mistakes import Place, mistake, place_of_call
from daemon.flow.reference import Ref, text_of
from daemon.flow.values import marked, template, texts_in

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping

    from daemon.flow.steps import Step

OUT, ERROR = "out", "error"


class Node(Struct, kw_only=True, eq=False):
    """A node that was made."""

    id: str
    place: Place
    graph: Graph
    block: Block | None
    keys: dict[str, Any]
    """As the definition has them, without `do`."""
    after: list[Source]
    """What it was told to come after."""
    first_of: bool
    """Whether it begins with the first of those."""
    reads: dict[Source, None]
    """What its expressions read, in the order in which they do."""
    body: Graph | None = None


class Origin:
    """What one can come after beside the value of a node: a way, a loop."""

    source: Source


class Block(Struct, frozen=True, eq=False):
    """The way that nodes stand under."""

    node: Node
    port: str
    around: Block | None


class Graph(Struct, kw_only=True, eq=False):
    """The workflow's graph, or that of a node's body."""

    owner: Node | None
    around: Graph | None
    turn: str = ""
    """What a turn of it is called in it: `loop`, `parallel`; empty for the workflow's and a group's."""
    nodes: list[Node]
    output: Any = UNSET
    """What `marked` gave of it."""


class Wiring:
    """One run of a workflow's function."""

    def __init__(self, file: str) -> None:
        """`file` is where the function stands: mistakes are told by its lines."""
        self.file = file
        self.graph = Graph(owner=None, around=None, nodes=[])
        self.nodes: dict[str, Node] = {}
        self.steps: list[Step[..., Any]] = []
        """Those that were called: the handlers that the workflow needs."""
        self._block: Block | None = None
        self._taken: list[Node] | None = None

    def here(self) -> Place:
        """Return where the author's function is at."""
        return place_of_call(self.file)

    def add(
        self, node_id: str, keys: Mapping[str, Any], *, after: Iterable[Source] = (), first_of: bool = False
    ) -> Node:
        """Make a node; `keys` are values of Python. Refuses an id that is taken."""
        given = {key: marked(value) for key, value in keys.items()}
        node = Node(
            id=node_id,
            place=self.here(),
            graph=self.graph,
            block=self._block,
            keys=self._rendered(given),
            after=list(dict.fromkeys(after)),
            first_of=first_of,
            reads=dict.fromkeys(self._sources(given)),
        )
        if self._taken is not None:
            self._taken.append(node)
            return node
        if (twin := self.nodes.get(node_id)) is not None:
            where = f"{twin.place.file}:{twin.place.line}"
            hint = f"the other is at {where}; give this one another: `.options(id=…)` does, for a step"
            raise mistake(f"there is another node `{node_id}`", hint, place=node.place)
        self.nodes[node_id] = node
        self.graph.nodes.append(node)
        return node

    def extend(self, node: Node, key: str, value: object, *, within: Graph | None = None) -> None:
        """Give a node one more key, whose expressions are read in this graph (the node's own if None)."""
        given = marked(value)
        node.keys[key] = template(given, self._namer(within or node.graph))
        for source in self._sources(given):
            self.reads_outside(node, source)

    def reads_outside(self, node: Node, source: Source) -> None:
        """Note what a node reads, or its body does; what is in its body is no concern of its edges."""
        read = self.nodes.get(source.node)
        graph = None if read is None else read.graph
        while graph is not None and graph is not node.graph:
            graph = graph.around
            if graph is node.graph:
                return
        node.reads[source] = None

    def give(self, graph: Graph, value: object) -> None:
        """Set what a graph gives."""
        given = marked(value)
        graph.output = template(given, self._namer(graph))
        if graph.owner is not None:
            for source in self._sources(given):
                self.reads_outside(graph.owner, source)

    @contextmanager
    def body(self, node: Node, turn: str) -> Iterator[Graph]:
        """Have what is made meanwhile be the body of this node."""
        node.body = Graph(owner=node, around=self.graph, turn=turn, nodes=[])
        outer, self.graph, self._block = (self.graph, self._block), node.body, None
        try:
            yield node.body
        finally:
            self.graph, self._block = outer

    @contextmanager
    def under(self, node: Node, port: str) -> Iterator[None]:
        """Have what is made meanwhile stand under this way."""
        if node.graph is not self.graph:
            hint = "a way is followed where its node stands, and not in a body or outside of one"
            raise mistake(f"`{node.id}` is in another graph", hint)
        around, self._block = self._block, Block(node, port, self._block)
        try:
            yield
        finally:
            self._block = around

    @contextmanager
    def taking(self) -> Iterator[list[Node]]:
        """Have what is made meanwhile be no node of the workflow, but what undoes one: it is given instead."""
        outer, self._taken = self._taken, []
        try:
            yield self._taken
        finally:
            self._taken = outer

    def _rendered(self, given: Mapping[str, Any]) -> dict[str, Any]:
        namer = self._namer(self.graph)
        return {key: template(value, namer) for key, value in given.items()}

    def _sources(self, given: Any) -> list[Source]:
        sources = [source for text in texts_in(given) for source in marks.sources_in(text)]
        for source in sources:
            if source.node not in self.nodes:
                hint = "what another workflow's function has made cannot be read here"
                raise mistake(f"there is no node `{source.node}` in this workflow", hint)
        return sources

    def _namer(self, reading: Graph) -> TurnNames:
        return TurnNames(reading)


class TurnNames:
    """What turns are called in a graph: the innermost by its kind, those around it by the node that has the body."""

    def __init__(self, graph: Graph) -> None:
        self._graph = graph

    def __call__(self, node_id: str) -> str:
        """Return the name."""
        owner = self._graph.owner
        return self._graph.turn if owner is not None and owner.id == node_id and self._graph.turn else node_id


_CURRENT: ContextVar[Wiring | None] = ContextVar("sagad_wiring", default=None)


@contextmanager
def wiring_of(file: str) -> Iterator[Wiring]:
    """Begin a workflow's function; what it calls writes to what this gives."""
    wiring = Wiring(file)
    token = _CURRENT.set(wiring)
    try:
        yield wiring
    finally:
        _CURRENT.reset(token)


def current() -> Wiring:
    """Return the wiring that is under way; refuse where none is."""
    wiring = _CURRENT.get()
    if wiring is None:
        hint = "`step.function(…)` runs a step's function by itself, in a test say"
        raise mistake("steps and nodes are made in a function that is decorated with @workflow", hint)
    return wiring


def sources_of(value: object) -> list[Source]:
    """Return the nodes that a value comes from: what to come after, when one is told to come after it."""
    found = list(dict.fromkeys(marks.sources_in(text_of(value)))) if isinstance(value, Ref) else []
    if not found:
        hint = "name what a step or a node has given, a way of a branch, or a loop"
        raise mistake("one can come after nodes only, and this is none", hint)
    return found
