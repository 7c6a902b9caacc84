"""Which edges lead to a node: those that it was told to have, and those that what it reads makes necessary.

1. What a node reads outside of its body, or of the body it stands in, is read by the node of the right graph.
2. A node under a way of a branch that reads something beside the branch makes the branch wait for that: so the node
   still begins by the way alone.
3. A node that begins a block gets an edge from the way.
4. An edge that only says what others say already (`a -> c` beside `a -> b -> c`) is left out.

Comes from: `wiring`. Goes to: `workflows`, which writes them down.
"""

from __future__ import annotations

from collections import defaultdict
from functools import reduce
from graphlib import CycleError, TopologicalSorter
from operator import or_
from typing import TYPE_CHECKING

from daemon.flow.marks import Source
from daemon.flow.mistakes import mistake

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping

    from daemon.flow.wiring import Block, Graph, Node, Wiring


def connected(wiring: Wiring) -> dict[str, list[Source]]:
    """Return for each node, by id, where the edges into it come from."""
    edges = _Edges(wiring.nodes)
    for node in wiring.nodes.values():
        for source in node.after:
            edges.tell(node, source)
    for node in wiring.nodes.values():
        for source in node.reads:
            edges.read(node, source)
    for node in wiring.nodes.values():
        edges.begin_block(node)
    return edges.reduced()


class _Edges:
    def __init__(self, nodes: Mapping[str, Node]) -> None:
        self._nodes = nodes
        self._told: defaultdict[str, dict[Source, None]] = defaultdict(dict)
        """Into each node: what stays whatever the others say."""
        self._read: defaultdict[str, dict[Source, None]] = defaultdict(dict)

    def tell(self, node: Node, source: Source) -> None:
        """Note an edge that the author asked for."""
        from_node = self._nodes[source.node]
        if _in_graph(node, from_node.graph) is None and from_node.graph.owner is not None:
            owner = from_node.graph.owner.id
            hint = f"come after `{owner}`"
            raise mistake(f"`{source.node}` is in the body of `{owner}`", hint, place=node.place)
        if node.first_of or (from_node.graph is node.graph and _is_under(from_node, node.block)):
            self._told[node.id][source] = None
        else:
            self.read(node, source, told=True)

    def read(self, node: Node, source: Source, *, told: bool = False) -> None:
        """Note what must have settled before a node begins."""
        from_node = self._nodes[source.node]
        around = _in_graph(node, from_node.graph)
        if around is None or around is from_node:
            return  # it cannot be seen from there, or is the turn itself: the compiler tells
        if around.first_of and around is node and not told:
            return  # one more edge would let it begin too early
        while (block := around.block) is not None and not _is_under(from_node, block):
            if block.node is from_node or source.node in self._below(block.node.id):
                self._check_way(node, source, block)
                break
            around = block.node
        if around is not from_node:
            (self._told if told and around is node else self._read)[around.id][source] = None

    def _check_way(self, node: Node, source: Source, block: Block) -> None:
        """Refuse to read, under a way, what comes after its branch by another: it would let the node begin."""
        if not self._only_by(source, block):
            way = f"`{block.node.id}.{block.port}`"
            hint = f"make it before `{block.node.id}`, or read it where {way} and the other ways meet again"
            message = f"`{source.node}` is not there by {way} alone, under which `{node.id}` stands"
            raise mistake(message, hint, place=node.place)

    def _only_by(self, source: Source, block: Block) -> bool:
        """Tell whether what comes from this source has come by this way."""
        node = self._nodes[source.node]
        if node is block.node:
            return source.port == block.port
        if _is_under(node, block):
            return True
        if node.block is not None and self._only_by(Source(node.block.node.id, node.block.port), block):
            return True
        sources = list(self._into(node.id))
        return bool(sources) and all(self._only_by(each, block) for each in sources)

    def begin_block(self, node: Node) -> None:
        """Connect a node to the way it stands under, unless it follows another that does."""
        block = node.block
        if block is None:
            return
        sources = self._into(node.id)
        if node.first_of or any(_is_under(self._nodes[source.node], block) for source in sources):
            return
        self._told[node.id] = {Source(block.node.id, block.port): None, **self._told[node.id]}

    def reduced(self) -> dict[str, list[Source]]:
        """Leave out what is read and follows from the rest."""
        found: dict[str, list[Source]] = {}
        bits: dict[Source, int] = {}
        before: dict[str, int] = {}
        """What comes before each node, a bit for each source."""
        for node_id in self._in_order():
            told = self._told[node_id]
            sources = [*told, *(source for source in self._read[node_id] if source not in told)]
            implied = reduce(or_, (before[source.node] for source in sources), 0)
            own = [bits.setdefault(source, 1 << len(bits)) for source in sources]
            found[node_id] = [
                source for source, bit in zip(sources, own, strict=True) if source in told or not bit & implied
            ]
            before[node_id] = reduce(or_, own, implied)
        return {node_id: found[node_id] for node_id in self._nodes}

    def _into(self, node_id: str) -> Iterator[Source]:
        yield from self._told[node_id]
        yield from self._read[node_id]

    def _in_order(self) -> Iterable[str]:
        sorter = TopologicalSorter(
            {node_id: [source.node for source in self._into(node_id)] for node_id in self._nodes}
        )
        try:
            return list(sorter.static_order())
        except CycleError as error:  # `read` leaves none; were there one, it would be ours
            raise AssertionError(f"the edges of a workflow's function make a circle: {error.args[1]}") from error

    def _below(self, node_id: str) -> set[str]:
        """Return the nodes that come after this one."""
        after: defaultdict[str, list[str]] = defaultdict(list)
        for each in self._nodes:
            for source in self._into(each):
                after[source.node].append(each)
        for node in self._nodes.values():
            block = node.block
            while block is not None:
                after[block.node.id].append(node.id)
                block = block.around
        found: set[str] = set()
        todo = [node_id]
        while todo:
            new = [each for each in after[todo.pop()] if each not in found]
            found.update(new)
            todo += new
        return found


def _in_graph(node: Node, graph: Graph) -> Node | None:
    """Return the node itself, or that around it, which stands in this graph."""
    around: Node | None = node
    while around is not None and around.graph is not graph:
        around = around.graph.owner
    return around


def _is_under(node: Node, block: Block | None) -> bool:
    """Tell whether a node stands under this way, or in a block within it; all do under none."""
    under = node.block
    while block is not None and (under is None or under.node is not block.node or under.port != block.port):
        if under is None:
            return False
        under = under.around
    return True
