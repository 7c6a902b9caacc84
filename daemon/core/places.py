"""The second stage of compilation: what each place in a definition can see of the nodes.

A body (of a loop, of a fan-out) is a graph of its own. A place in it sees the nodes of the same turn that come before,
and what comes before the node that has the body, outwards. Nobody sees into a body from outside: what its turns gave is
the output of the node that has it.

Comes from: `compilation`. Goes to: `references`.
"""

from __future__ import annotations

from collections.abc import Mapping

from msgspec import Struct

from daemon.core.definition import NodeDefinition
from daemon.core.graph import Paths


class Place(Struct, frozen=True, kw_only=True):
    """A place where expressions stand."""

    nodes: Mapping[str, NodeDefinition]
    paths: Paths
    around: tuple[str, ...] = ()
    """Ids of the nodes in whose bodies it is, innermost first."""
    reader: str | None = None
    """The node that reads; None at the end of the graph, where all of it has settled; empty at its beginning."""

    def settled(self, node_id: str) -> bool:
        """Tell whether the node may have settled when this is evaluated. A node around the place names its turn."""
        if node_id in self.around:
            return True
        scope = self.nodes[node_id].scope
        if scope == self._scope:
            return self.reader is None or (self.reader != "" and self.paths.precedes(node_id, self.reader))
        return any(self.paths.precedes(node_id, each) for each in self.around if self.nodes[each].scope == scope)

    def beside(self, node_id: str) -> str | None:
        """Return the reader as seen from the node: itself, or the node around it that stands beside it.

        None where the node is read at the end of its graph.
        """
        scope = self.nodes[node_id].scope
        if scope == self._scope:
            return self.reader or None
        return next((each for each in self.around if self.nodes[each].scope == scope), None)

    def hidden(self, node_id: str) -> str | None:
        """Return the outermost node in whose body the node stands, and the place does not; None when it can be seen."""
        seen = {"", *self.around}
        scope, found = self.nodes[node_id].scope, None
        while scope not in seen:
            found, scope = scope, self.nodes[scope].scope
        return found

    @property
    def moment(self) -> str:
        """Say when the place is evaluated: "`charge` begins"."""
        if self.reader:
            return f"`{self.reader}` begins"
        return f"a turn of `{self._scope}` begins" if self.reader is not None else f"`{self._scope}` begins"

    @property
    def _scope(self) -> str:
        return self.around[0] if self.around else ""


def find_places(nodes: Mapping[str, NodeDefinition], paths: Paths) -> Mapping[str, Place]:
    """Return the place of each node's own expressions."""
    around: dict[str, tuple[str, ...]] = {"": ()}
    places: dict[str, Place] = {}
    for node in nodes.values():  # a node comes before what is in its body
        around[node.id] = (node.id, *around[node.scope])
        places[node.id] = Place(nodes=nodes, paths=paths, around=around[node.scope], reader=node.id)
    return places


def in_body(place: Place, reader: str | None) -> Place:
    """Return the place at the end (None) or the beginning (empty) of the body of the node that reads at `place`."""
    around = (place.reader or "", *place.around)
    return Place(nodes=place.nodes, paths=place.paths, around=around, reader=reader)
