"""The first stage of compilation: which nodes come before which, and that no way leads back.

Comes from: `compilation`.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Mapping
from typing import TYPE_CHECKING

from msgspec import Struct

if TYPE_CHECKING:
    from collections.abc import Collection, Iterable

    from daemon.core.definition import EdgeDefinition, NodeDefinition
    from daemon.core.problems import Findings


class Paths(Struct, frozen=True):
    """What comes before what."""

    starts: tuple[str, ...]
    """Nodes without incoming edges, in order."""
    numbers: Mapping[str, int]
    """A bit for each node that is on no cycle and behind none."""
    before: Mapping[str, int]
    """For each of these the bits of the nodes from which edges lead to it."""

    def precedes(self, node_id: str, reader: str) -> bool:
        """Tell whether edges lead from the node to the reader, in one graph; True where a cycle leaves it open."""
        if node_id not in self.numbers or reader not in self.before:
            return node_id != reader
        return bool(self.before[reader] >> self.numbers[node_id] & 1)


def find_paths(nodes: Mapping[str, NodeDefinition], edges: Collection[EdgeDefinition], findings: Findings) -> Paths:
    """Order the nodes; report every knot of cycles with one whole cycle.

    Edges to unknown nodes, and those that leave a body, are left out. Bodies are ordered each by itself.
    """
    edges = [
        edge
        for edge in edges
        if all(end in nodes and nodes[end].scope == edge.scope for end in (edge.source, edge.target))
    ]
    following: dict[str, list[str]] = {node_id: [] for node_id in nodes}
    open_edges = dict.fromkeys(nodes, 0)
    for edge in edges:
        following[edge.source].append(edge.target)
        open_edges[edge.target] += 1
    starts = tuple(node_id for node_id in nodes if open_edges[node_id] == 0)
    numbers: dict[str, int] = {}
    before = dict.fromkeys(nodes, 0)
    ready = deque(starts)
    while ready:
        node_id = ready.popleft()
        numbers[node_id] = len(numbers)
        reached = before[node_id] | 1 << numbers[node_id]
        for target in following[node_id]:
            before[target] |= reached
            open_edges[target] -= 1
            if open_edges[target] == 0:
                ready.append(target)
    _report_cycles({node_id: following[node_id] for node_id in nodes if node_id not in numbers}, edges, findings)
    _report_loners(nodes, edges, findings)
    return Paths(starts, numbers, {node_id: before[node_id] for node_id in numbers})


def _report_cycles(following: Mapping[str, list[str]], edges: Collection[EdgeDefinition], findings: Findings) -> None:
    """Take one cycle after another out of what is on a cycle or behind one."""
    left = dict.fromkeys(sorted(following))
    while left := _without_dead_ends(left, following):
        walked: list[str] = []
        node_id = next(iter(left))
        while node_id not in walked:
            walked.append(node_id)
            node_id = next(target for target in following[node_id] if target in left)
        cycle = [*walked[walked.index(node_id) :], node_id]
        closing = next(edge for edge in edges if (edge.source, edge.target) == (cycle[-2], cycle[-1]))
        message = f"the edges form a cycle: {' -> '.join(cycle)}"
        hint = "a step runs once; take one of these edges out"
        findings.error(message, closing.path, hint=hint, offset=0)
        for each in cycle[1:]:
            del left[each]


def _without_dead_ends(left: Iterable[str], following: Mapping[str, list[str]]) -> dict[str, None]:
    """Leave out the nodes from which no way leads on for ever."""
    kept = dict.fromkeys(left)
    while dead := [each for each in kept if not any(target in kept for target in following[each])]:
        for each in dead:
            del kept[each]
    return kept


def _report_loners(nodes: Mapping[str, NodeDefinition], edges: Collection[EdgeDefinition], findings: Findings) -> None:
    connected = {end for edge in edges for end in (edge.source, edge.target)}
    wired = {edge.scope for edge in edges}
    for node in nodes.values():
        if node.scope in wired and node.id not in connected:
            message = f"no edge leads to `{node.id}` or away from it: it runs at once, beside the others"
            findings.warn(message, node.path, node=node.id, hint="connect it, or take it out")
