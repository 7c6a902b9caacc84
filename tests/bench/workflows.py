"""The definitions that the benchmarks run."""

from __future__ import annotations

NAME = "bench"
GROUP = "bench"


def chain(steps: int) -> str:
    """So many trivial async steps, one after the other; each takes the result of the one before."""
    sources = ["input.n", *(f"s{number}" for number in range(steps - 1))]
    nodes = [
        f'  s{number}: {{task: bench.add, with: {{n: "{{{{ {source} }}}}"}}}}' for number, source in enumerate(sources)
    ]
    edges = ", ".join(f"s{number} -> s{number + 1}" for number in range(steps - 1))
    return "\n".join([f"workflow: {NAME}", "nodes:", *nodes, f"edges: [{edges}]", ""])


def function(steps: int) -> str:
    """Do the same as `chain` in a durable function: one node, whose calls are the steps."""
    node = f'{{function: bench.chain, with: {{n: "{{{{ input.n }}}}", steps: {steps}}}}}'
    return "\n".join([f"workflow: {NAME}", "nodes:", f"  f: {node}", ""])


def first_step(broker: str) -> str:
    """Run one step for each message; `broker` is the trigger's part that names one."""
    node = '{task: bench.arrive, with: {sent: "{{ input.sent }}"}}'
    return _triggered(broker, node)


def waiting(broker: str) -> str:
    """Wait for a signal as the first thing, so that an execution is its start and nothing more."""
    return _triggered(broker, "{signal: {name: go}}")


def _triggered(broker: str, node: str) -> str:
    return f"""\
workflow: {NAME}
triggers:
  - name: orders
    {broker}
    filter: "{{{{ message.value.total > 0 }}}}"
    dedupe: "{{{{ message.value.order_id }}}}"
    input: "{{{{ message.value }}}}"
nodes:
  first: {node}
"""
