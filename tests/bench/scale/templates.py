"""The definitions that the benchmarks of scale run, beside the chains of `workflows`."""

from __future__ import annotations

from tests.bench.workflows import NAME

SLEEPERS = f"""\
workflow: {NAME}
nodes:
  kind: {{branch: "{{{{ input.n == 1 }}}}"}}
  nap: {{wait: 30d}}
  go: {{signal: {{name: go}}}}
edges: [kind.true -> nap, kind.false -> go]
"""
"""Waits for a timer when `n` is 1, else for the signal `go`."""

UNTIL = f"""\
workflow: {NAME}
nodes:
  nap: {{wait: {{until: "{{{{ input.due }}}}"}}}}
"""
"""Sleeps until a time and is at its end then."""


def wide(width: int) -> str:
    """Run one step, then so many at once, then join them."""
    task = "{task: bench.add, with: {n: 1}}"
    branches = [f"w{number}" for number in range(width)]
    nodes = [f"  first: {task}", *(f"  {name}: {task}" for name in branches), "  last: {join: all}"]
    edges = ", ".join([f"first -> {name}, {name} -> last" for name in branches])
    return "\n".join([f"workflow: {NAME}", "nodes:", *nodes, f"edges: [{edges}]", ""])
