"""How long a definition takes to be checked and compiled, as `sagad validate` does: reading its text included.

Processor time; handlers are known, so all is checked.
"""

from __future__ import annotations

import json
import time
from itertools import pairwise
from typing import TYPE_CHECKING, Any

import yaml

from daemon.core.expressions import compile_expression
from daemon.nodes import builtin_node_types
from daemon.runtime.definitions import Compiler
from tests.bench.figures import Bench, Benchmark, Figure

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

HANDLER = "shop.work"
IN_A_BODY = 50


async def run(bench: Bench) -> Sequence[Figure]:
    """Measure each shape, as YAML and as JSON."""
    count = bench.sizes.definition_nodes
    compiler = Compiler(node_types=builtin_node_types(), handlers=(HANDLER,), env={})
    figures = []
    for name, document in _shapes(count).items():
        for suffix, text in (("json", json.dumps(document, indent=2)), ("yaml", _as_yaml(document))):
            compile_expression.cache_clear()
            begun = time.process_time()
            compiler.load_text(text, f"flow.{suffix}")
            figures.append(Figure(f"{name}, {suffix.upper()}", time.process_time() - begun, "s"))
    return figures


def _shapes(count: int) -> Mapping[str, Any]:
    """Return definitions of so many nodes; each node has an expression of its own."""
    ids = [f"s{number}" for number in range(count)]
    linked = {each: _task(before) for before, each in zip(["input", *ids], ids, strict=False)}
    side_by_side = {each: _task("input", number) for number, each in enumerate(ids[:-1])} | {ids[-1]: {"join": "all"}}
    return {
        "a chain": _graph(linked, [f"{one} -> {other}" for one, other in pairwise(ids)]),
        "side by side, joined": _graph(side_by_side, [f"{each} -> {ids[-1]}" for each in ids[:-1]]),
        f"in loops of {IN_A_BODY}": _loops(count),
    }


def _loops(count: int) -> Mapping[str, Any]:
    nodes: dict[str, Any] = {}
    for number in range(max(count // (IN_A_BODY + 1), 1)):
        ids = [f"s{number}_{inside}" for inside in range(IN_A_BODY)]
        body = {each: _task(before, number) for before, each in zip(["loop", *ids], ids, strict=False)}
        nodes[f"each{number}"] = {"forEach": "{{ input.items }}", "do": {"nodes": body, "edges": [" -> ".join(ids)]}}
    return _graph(nodes, [f"{one} -> {other}" for one, other in pairwise(nodes)])


def _task(read: str, number: int = 0) -> Mapping[str, Any]:
    given = f"{{{{ {read}.total | default({number}) }}}}"
    return {"task": HANDLER, "with": {"total": given}, "retry": {"max_attempts": 3, "initial": "1s"}, "timeout": "30s"}


def _graph(nodes: Mapping[str, Any], edges: Sequence[str]) -> Mapping[str, Any]:
    return {"workflow": "large", "nodes": nodes, "edges": edges}


def _as_yaml(document: Mapping[str, Any]) -> str:
    text: str = yaml.dump(document, Dumper=yaml.CSafeDumper, sort_keys=False)
    return text


BENCHMARK = Benchmark("validate", "Validation: a definition of {definition_nodes:,} nodes", run, stores=("sqlite",))
