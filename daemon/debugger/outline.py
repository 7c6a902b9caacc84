"""A workflow's graph as an outline, and what became of its nodes by a moment. Pure.

Comes from: `screen`. Goes to: daemon/core/plan.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from msgspec import Struct

from daemon.core.address import node_of, turn_around
from daemon.runtime.views import STEP_STATUSES

if TYPE_CHECKING:
    from collections.abc import Iterator

    from daemon.core.plan import Plan
    from daemon.debugger.moments import Moment

RANKS = ("failed", "running", "queued", "limited", "retrying", "sleeping", "awaiting", "deciding", "suspended")
"""Of several steps of one node, the first of these is told; else the last that was reached."""


class Row(Struct, frozen=True):
    """One node; `depth` is how many bodies it stands in."""

    node: str
    depth: int
    kind: str


def outline(plan: Plan) -> list[Row]:
    """Return the nodes in an order in which they can begin, bodies below the node that repeats them."""
    return list(_rows(plan, "", 0))


def _rows(plan: Plan, scope: str, depth: int) -> Iterator[Row]:
    for node_id in _in_order(plan, scope):
        yield Row(node_id, depth, plan.nodes[node_id].type.name)
        yield from _rows(plan, node_id, depth + 1)


def _in_order(plan: Plan, scope: str) -> list[str]:
    """Return the nodes of one body, each after all that lead to it; side by side by their ids."""
    members = [node for node in plan.nodes.values() if node.scope == scope and "~" not in node.id]
    left = {node.id: {edge.source for edge in node.incoming} for node in sorted(members, key=lambda node: node.id)}
    found: list[str] = []
    while left:
        ready = [node_id for node_id, sources in left.items() if not sources & left.keys()]
        found += ready
        for node_id in ready:
            del left[node_id]
    return found


def statuses(moment: Moment) -> dict[str, str]:
    """Return what became of each node that was reached, in the turn that the moment is in where it has several."""
    here = turn_around(moment.address)
    found: dict[str, list[tuple[bool, str]]] = {}
    for address, step in sorted(moment.context.steps.items()):
        if address.endswith("]") or "~" in address:
            continue
        around = turn_around(address)
        found.setdefault(node_of(address), []).append((here.startswith(around), STEP_STATUSES[type(step)]))
    return {node: _told(steps) for node, steps in found.items()}


def _told(steps: list[tuple[bool, str]]) -> str:
    near = [status for is_near, status in steps if is_near] or [status for _, status in steps]
    return next((status for status in RANKS if status in near), near[-1])
