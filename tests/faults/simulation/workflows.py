"""Random workflows, by number: small graphs of all kinds of nodes, and the triggers that start and signal them."""

from __future__ import annotations

from functools import lru_cache
from typing import TYPE_CHECKING

from daemon.nodes import all_node_types
from daemon.runtime.definitions import Compiler
from tests.faults.simulation.dice import dice
from tests.faults.simulation.profile import TICKING

if TYPE_CHECKING:
    from collections.abc import Mapping
    from random import Random

    from daemon.core.node import NodeType
    from daemon.core.plan import Plan

HANDLERS = frozenset({"sim.work", "sim.quick", "sim.asks", "sim.tell"})
FUNCTIONS = frozenset({"sim.flow"})
KINDS = (
    "{task: sim.work, timeout: 20s}",
    "{task: sim.work, timeout: 20s}",
    "{task: sim.work, timeout: 5s, retry: {max_attempts: 3, initial: 2s, jitter: 0.5}}",
    "{task: sim.work, timeout: 3s, retry: {max_attempts: 2, initial: 1ms}, on_error: continue}",
    "{task: sim.work, timeout: 20s, on_error: continue, default: 7}",
    '{task: sim.work, with: {value: "{{ input.missing }}"}}',
    "{task: sim.quick}",
    "{task: sim.quick, retry: {max_attempts: 4, initial: 500ms}}",
    '{branch: "{{ input.n > 1 }}"}',
    "{wait: 4s}",
    "{wait: 1ms}",
    "{signal: go}",
    "{signal: {name: go, timeout: 6s}}",
    "{transform: [1, 2]}",
    "{join: all}",
    "{join: any}",
    "{fail: {message: no, code: refused}}",
    "{task: sim.work, timeout: 20s, compensate: {task: sim.quick, retry: {max_attempts: 3, initial: 1s}}}",
    "{task: sim.work, timeout: 5s, compensate: {task: sim.work, timeout: 20s, kind: idempotent}}",
    '{set: {count: "{{ vars.count + 1 }}"}}',
    "{task: sim.work, timeout: 20s, throttle: {concurrency: 1}}",
    "{task: sim.work, timeout: 5s, throttle: {concurrency: 2, fair: '{{ input.n }}'}, priority: '{{ input.n }}'}",
    "{task: sim.quick, throttle: [{concurrency: 1, key: '{{ input.n }}'}, {rate: {limit: 4, per: 1s, burst: 2}}]}",
    "{task: sim.quick, retry: {max_attempts: 3, initial: 1s}, throttle: {concurrency: 1, key: shared}}",
    "{subflow: NAME, with: {id: child, n: 1}, timeout: 20s}",
    "{subflow: NAME, with: {id: child, n: 2}, timeout: 6s, on_close: terminate, retry: {max_attempts: 2, initial: 1s}}",
    "{subflow: NAME, with: {id: child, n: 1}, timeout: 20s, on_close: abandon, on_error: continue}",
    "{publish: {memory: {topic: out}, value: '{{ execution.id }}'}, retry: {max_attempts: 9, initial: 1s}}",
    "{function: sim.flow}",
    "{function: sim.flow, on_error: continue}",
    "{task: sim.asks, timeout: 5s}",
    "{task: sim.asks, timeout: 20s, compensate: {task: sim.quick, retry: {max_attempts: 3, initial: 1s}}}",
    (
        "{approval: {prompt: ok?, approvers: [ann, bob], rule: all, timeout: 7s, on_timeout: approve, reminder: 3s,"
        " notify: [{handler: sim.tell}]}}"
    ),
    (
        "{approval: {prompt: ok?, approvers: [ann], timeout: 4s,"
        " on_timeout: {escalate: {to: [bob, cid], timeout: 4s, then: reject}}}}"
    ),
)
REPEATS = (
    "saga: automatic",
    "saga: automatic, on_error: continue",
    "for: 2",
    "forEach: [a, b, c], break: \"{{ loop.item == 'b' }}\"",
    'while: "{{ vars.count < 3 }}", limit: 5, on_error: continue',
    "parallel: 3",
    "parallel: [a, b], on_failure: collect",
    "parallel: 3, concurrency: 2, enough: 2, on_failure: collect, on_error: continue",
)
STARTS: tuple[tuple[str, ...], ...] = (
    (),
    (),
    (),
    ("throttle: {concurrency: 3, fair: '{{ trigger.key }}'}", "priority: '{{ input.n }}'"),
    ("start: {delay: 3s}",),
    ("start: {singleton: {key: '{{ input.n }}'}}",),
    ("throttle: {rate: {limit: 5, per: 1s}}",),
)
"""How executions begin."""
REPEATED = 0.2
"""The share of tasks that are a loop or a fan-out instead."""
SCHEDULE = "schedule: {every: 6s, catch_up: all}"


@lru_cache(maxsize=1)
def node_types() -> Mapping[str, NodeType]:
    """Return the node types, looked up once: plugins are slow to find."""
    return all_node_types()


@lru_cache(maxsize=4096)
def plan_of(number: int) -> Plan:
    """Return the workflow of this number, compiled."""
    compiler = Compiler(node_types=node_types(), handlers=HANDLERS, functions=FUNCTIONS, env={})
    (plan,) = compiler.load_text(text_of(number)).plans
    return plan


def name_of(number: int) -> str:
    """Return the workflow's name; messages for it are in topics of the same name."""
    return f"flow{number}"


def text_of(number: int) -> str:
    """Return the workflow of this number as YAML: the same in all runs."""
    own, name = dice("workflow", number), name_of(number)
    nodes, edges = _graph(own, "n", own.randint(1, 7), levels=2)
    bounds = f"batch: {own.choice((1, 2, 500))}, max_unresolved: {own.choice((1, 3, 1000))}"
    lines = [
        f"workflow: {name}",
        f"concurrency: {own.choice((1, 2, 64))}",
        f"on_error: {own.choice(('stop', 'continue'))}",
        *([f"timeout: {own.choice(('8s', '45s'))}"] if own.random() < 0.3 else []),
        *own.choice(STARTS),
        "triggers:",
        f"  - {{name: orders, memory: {{topic: {name}, {bounds}}},",
        '     dedupe: "{{ message.value.id }}", filter: "{{ message.value.n < 9 }}",',
        "     retry: {max_attempts: 3, initial: 2s}}",
        f"  - {{name: answers, memory: {{topic: {name}.go, {bounds}}},",
        '     signal: {name: go, scope: SCOPE, key: "{{ message.value.id }}"}, input: "{{ message.value.n }}"}',
        *([f"  - {{name: ticks, {SCHEDULE}, input: {{n: 0}}}}"] if number % TICKING == 0 else []),
        "vars: {count: 0}",
        "limits: {depth: 1}",
        f"nodes: {nodes}",
        f"edges: {edges}",
    ]
    return "\n".join(lines).replace("SCOPE", f"{name}/orders").replace("NAME", name)


def _graph(own: Random, prefix: str, count: int, *, levels: int) -> tuple[str, str]:
    """Return nodes and edges of a graph, or of a body; of bodies in each other there are `levels` at most."""
    kinds = [own.choice(KINDS) for _ in range(count)]
    edges = set()
    for target in range(1, count):
        for source in own.sample(range(target), own.randint(0, min(target, 3))):
            ports = ["true", "false", "error"] if "branch" in kinds[source] else ["out", "out", "error"]
            ports = ["approved", "rejected", "error"] if "approval" in kinds[source] else ports
            edges.add(f"{prefix}{source}.{own.choice(ports)} -> {prefix}{target}")
    targets = {edge.rpartition(" ")[2] for edge in edges}
    for index, kind in enumerate(kinds):
        if "join" in kind and f"{prefix}{index}" not in targets:
            kinds[index] = KINDS[0]
        if levels and "task" in kind and own.random() < REPEATED:
            inner_nodes, inner_edges = _graph(own, f"{prefix}{index}_", own.randint(1, 3), levels=levels - 1)
            kinds[index] = f"{{{own.choice(REPEATS)}, do: {{nodes: {inner_nodes}, edges: {inner_edges}}}}}"
    nodes = ", ".join(f"{prefix}{index}: {kind}" for index, kind in enumerate(kinds))
    return f"{{{nodes}}}", f"[{', '.join(sorted(edges))}]"
