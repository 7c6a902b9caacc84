"""Random definitions that are valid, with everything that a definition may say: graphs, bodies in bodies, policies.

The kinds of nodes are in `nodes`. What a node reads is there, or has a default, so that no definition is refused; that
a value is missing or wrong when it is read is as welcome as any other failure.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from daemon.core.values import to_json
from daemon.nodes import builtin_node_types
from daemon.runtime.definitions import Compiler
from tests.core.generator import limits, messages, nodes
from tests.core.generator.values import Around, value

if TYPE_CHECKING:
    from daemon.core.plan import Plan
    from tests.core.generator.dice import Dice

LEVELS = 4
"""Of bodies in each other."""
MOST_NODES = (12, 5, 4, 3, 2)
"""In a graph, by its level."""
BODIES = (25, 25, 15, 10, 0)
"""In how many of a hundred cases a node has a body, by its graph's level."""
_COMPILER = Compiler(node_types=builtin_node_types(), handlers=None, env={"HOME_TOWN": "Graz"})


def plan_of(document: dict[str, Any]) -> Plan:
    """Return the plan; raises Misconfigured when the definition is not valid, which is a fault of the generator."""
    return _COMPILER.compile_stored(bytes(to_json(document)))


def definition(dice: Dice, name: str = "generated") -> dict[str, Any]:
    """Draw a definition."""
    deep = dice.chance(15)
    document: dict[str, Any] = {"workflow": name, "vars": {"count": 0, "note": None}}
    document |= _policies(dice)
    document |= limits.of_a_workflow(dice) | messages.declared(dice)
    if dice.chance(10):
        document["input"] = {"type": "object", "properties": {"n": {"type": "integer"}}}
    graph, settled = _graph(dice, Around(), deep=deep)
    document |= graph
    if dice.chance(30):
        document["output"] = {"it": value(dice, Around(), settled)}
    return document


def _policies(dice: Dice) -> dict[str, Any]:
    policies: dict[str, Any] = {}
    if dice.chance(40):
        policies["concurrency"] = dice.pick((64, 2, 1))
    if dice.chance(60):
        policies["on_error"] = dice.pick(("continue", "stop"))
    if dice.chance(60):
        policies["undo"] = dice.pick(("automatic", "manual", "confirm_each", "none"))
    if dice.chance(20):
        policies["timeout"] = dice.pick(("2h", "10m"))
    if dice.chance(15):
        policies["limits"] = {"output_bytes": dice.pick((1_200, 200)), "context_bytes": dice.pick((5_000, 500))}
    if dice.chance(10):
        policies["snapshot_every"] = dice.pick((0, 7))
    return policies


def _graph(dice: Dice, around: Around, *, deep: bool) -> tuple[dict[str, Any], list[str]]:
    """Draw nodes and edges, and tell which nodes there are."""
    there: dict[str, dict[str, Any]] = {}
    edges: list[str] = []
    before: dict[str, list[str]] = {}
    level = around.level
    for number in range(dice.between(1, MOST_NODES[level])):
        node_id = f"{around.prefix}{number}"
        sources = dice.some(list(there), 3)
        incoming = {f"{source}.{dice.pick(nodes.ports(there[source]))}" for source in sources for _ in range(2)}
        before[node_id] = sorted({*sources, *(one for source in sources for one in before[source])})
        readable = [*before[node_id], *around.readable]
        if level < LEVELS and ((deep and number == 0) or dice.chance(BODIES[level])):
            node = nodes.with_body(dice, around, readable)
            within = around.inside(nodes.kind_of(node), node_id, readable)
            inside, last = _graph(dice, within, deep=deep)
            if dice.chance(30):
                inside["output"] = value(dice, within, last)
            node["do"] = inside
        else:
            node = nodes.plain(dice, around, readable, joins=bool(incoming))
        if len(incoming) > 1 and "join" not in node and dice.chance(30):
            node["after"] = dice.pick(("all", "any"))
        there[node_id] = node
        edges += [f"{end} -> {node_id}" for end in sorted(incoming)]
    graph: dict[str, Any] = {"nodes": there}
    if edges:
        graph["edges"] = edges
    return graph, list(there)
