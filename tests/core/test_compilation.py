"""Each stage of the compilation, and what all have in common."""

from __future__ import annotations

from typing import Any

import msgspec
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from daemon.core.errors import Misconfigured
from daemon.core.plan import Edge
from daemon.core.references import SCOPED
from tests.support.definitions import WHOLE, changed_documents, compiler, lines_of, load, plan_of, told, with_node

ORDER = """
workflow: w
nodes:
  a: {task: a.b}
  b: {branch: "{{ a.big }}"}
  c: {task: a.b, after: any, on_error: continue, default: 1}
  d: {join: any}
edges: [a -> b, b.true -> c, b.false -> c, c -> d, a.error -> d]
output: "{{ d }}"
"""


def doubted(text: str) -> list[str]:
    return [str(warning) for warning in load(text).warnings]


# Stage 1: paths.


def test_nodes_without_incoming_edges_start() -> None:
    assert plan_of(
        "workflow: w\nnodes: {a: {transform: 1}, b: {transform: 2}, c: {transform: 3}}\nedges: [a -> c]"
    ).body.starts == ("a", "b")


def test_a_cycle_is_refused_where_it_closes() -> None:
    text = "workflow: w\nnodes: {a: {transform: 1}, b: {transform: 2}}\nedges: [a -> b, ^b -> a]"
    assert told(text) == ["the edges form a cycle: a -> b -> a"]


# Stage 2: loops.


def test_no_turn_is_known_outside_of_a_body() -> None:
    assert told(with_node('{transform: "{{ ^loop.index }}"}')) == ["`loop` is known inside a loop only"]
    assert told(with_node('{transform: "{{ ^parallel.index }}"}')) == ["`parallel` is known inside a fan-out only"]


# Stage 3: nodes.


@pytest.mark.parametrize(
    ("node", "message"),
    [
        ('{transform: "{{ ^inptu.x }}"}', "there is nothing called `inptu`"),
        ('{transform: {x: [1, "{{ a.x }} {{ ^c.x }}"]}}', "there is nothing called `c`"),
        ('{transform: "{{ ^b.x }}"}', "a node cannot read its own output"),
        ('{transform: "{{ ^steps.b.x }}"}', "a node cannot read its own output"),
        ("{transform: \"{{ ^steps['c'].x }}\"}", "there is no node `c`"),
        ('{transform: "{{ ^env.REGON }}"}', "the environment variable REGON is not one that workflows may read"),
        ('{transform: "{{ ^message }}"}', SCOPED["message"]),
        ('{transform: "{{ ^secret.X }}"}', "a secret cannot be used here"),
        ('{transform: "{{ input.x | ^uper }}"}', "there is no filter 'uper'"),
        ("{^branch: input.x}", "there is no expression in the text"),
        ('{branch: {cases: [{x: "{{ input.y }}"}, {z: "{{ ^c }}"}]}}', "there is nothing called `c`"),
        ("{^task: no.such}", "no handler is registered as 'no.such'"),
        ("{sql: {^connection: order, query: select 1}}", "the settings have no connection 'order'"),
        ('{transform: 1, on_error: continue, ^default: "{{ a }}"}', "`default` is a fixed value"),
        ('{transform: 1, on_error: continue, ^default: "{{ a"}', "`default` is a fixed value"),
        ("{join: all, ^after: any}", "`after` is said twice"),
    ],
)
def test_a_node_that_cannot_work_is_refused_at_its_place(node: str, message: str) -> None:
    assert told(with_node(node)) == [message]


def test_a_node_reads_only_what_comes_before_it() -> None:
    text = """workflow: w
nodes:
  a: {transform: "{{ ^c }}"}
  b: {transform: "{{ a }} {{ ^steps.c }}"}
  c: {transform: "{{ a }} {{ ^b }} {{ ^c }}"}
edges: [a -> b, a -> c]
"""
    assert told(text) == [
        "`c` can never have settled when `a` begins",
        "`c` can never have settled when `b` begins",
        "`b` can never have settled when `c` begins",
        "a node cannot read its own output",
    ]


def test_every_place_of_a_wrong_name_is_reported() -> None:
    node = '{http: {url: "{{ a.url }}/{{ ^foo }}", query: {x: "{{ ^bar }}", y: "{{ ^foo }} {{ ^foo }}"}}}'
    assert told(with_node(node)) == [f"there is nothing called `{name}`" for name in ("foo", "bar", "foo", "foo")]


def test_a_name_that_is_not_found_in_the_text_is_reported_at_the_node() -> None:
    node = r"""{transform: '{{ steps["\x63"] }}'}"""
    assert told(with_node(node).replace("  b:", "  ^b:")) == ["there is no node `c`"]


def test_what_is_there_and_what_is_computed_is_not_reported() -> None:
    assert (
        lines_of(
            with_node('{transform: "{{ steps[input.which] }} {{ env[input.name] }} {{ steps.a }} {{ env.REGION }}"}')
        )
        == []
    )


def test_a_default_without_its_policy_is_doubted() -> None:
    assert doubted(with_node("{transform: 1, default: 2}")) == [
        "flow.yaml:4:21: `default` is never used: the error policy is not `continue` (node b; add on_error: continue)"
    ]
    assert doubted(with_node("{transform: 1, default: 2}", "on_error: continue")) == []


def test_a_timeout_beyond_the_workflows_is_doubted() -> None:
    assert doubted(with_node("{task: a.b, timeout: 2h}", "timeout: 1h")) == [
        "flow.yaml:4:18: the step's timeout is longer than the workflow's (node b; the execution ends first)"
    ]


def test_an_unknown_node_type_in_a_stored_definition_is_a_problem() -> None:
    """The type may have come from a package that is not there any more."""
    whole = compiler()
    [plan] = whole.load_text(with_node("{wait: 1s}")).plans
    without_wait = type(whole)(
        node_types={name: each for name, each in whole.node_types.items() if name != "wait"}, handlers=None, env={}
    )
    with pytest.raises(Misconfigured, match="the node has no type"):
        without_wait.compile_stored(plan.definition.document)


# Stage 4: edges.


@pytest.mark.parametrize(
    ("edge", "message"),
    [
        ('"a -> ^c"', "there is no node `c`"),
        ('"^aa -> b"', "there is no node `aa`"),
        ('^"a.fine -> b"', "`a` has no port 'fine'"),
        ('^"b -> d"', "`b` leaves by one of several ports, and the edge does not say by which"),
        ('^"a"', "'a' is not an edge such as `a -> b`"),
        ('"a ^-> b.out"', "an edge cannot enter by the port 'out'"),
        ('"a -> b.true -> ^1"', "'1' is not a node, or a node and its port"),
    ],
)
def test_an_edge_that_cannot_be_is_refused_at_its_place(edge: str, message: str) -> None:
    text = with_node('{branch: "{{ input.x }}"}\n  d: {transform: 1}').replace("[a -> b]", f"[{edge}]")
    assert told(text) == [message]


def test_an_edge_is_there_once() -> None:
    nodes = "{a: {transform: 1}, b: {transform: 2}, c: {transform: 3}}"
    text = f"workflow: w\nnodes: {nodes}\nedges:\n- a -> b -> c\n- ^a -> [b, c]\n"
    assert told(text) == ["the edge `a -> [b, c]` is there twice"]


def test_edges_of_a_broken_node_are_not_doubted() -> None:
    text = "workflow: w\nnodes: {^a: {brunch: 1}, b: {transform: 1}}\nedges: [a.left -> b, a.right -> b]"
    assert told(text) == ["the node has no type"]


def test_a_way_that_ends_is_doubted() -> None:
    assert doubted(with_node('{branch: {switch: "{{ a }}", cases: [x, y]}}', "")) == [
        "flow.yaml:4:3: no edge leaves by `b.x`, `b.y`, `b.default`: this way ends here (node b)"
    ]


def test_the_plan_is_wired() -> None:
    plan = plan_of(ORDER)
    assert plan.nodes["c"].incoming == (Edge("b", "false", "c"), Edge("b", "true", "c"))
    assert plan.nodes["a"].outgoing == (Edge("a", "out", "b"), Edge("a", "error", "d"))
    assert plan.nodes["b"].ports == ("true", "false", "error")
    assert plan.nodes["a"].catches
    assert (plan.nodes["a"].join, plan.nodes["c"].join, plan.nodes["d"].join) == ("all", "any", "any")
    assert (plan.nodes["c"].on_error, plan.nodes["c"].default, plan.nodes["a"].on_error) == ("continue", 1, "stop")
    assert plan.body.output is not None


# Output and triggers.


@pytest.mark.parametrize(
    ("output", "message"),
    [
        ('"{{ ^c }}"', "there is nothing called `c`"),
        ('{x: "{{ a }} {{ ^env.REGON }}"}', "the environment variable REGON is not one that workflows may read"),
        ('"^{{ a "', "`{{` has no `}}`"),
    ],
)
def test_the_output_reads_what_is_there(output: str, message: str) -> None:
    assert told(with_node("{transform: 1}", f"output: {output}")) == [message]


def test_triggers_read_allowed_environment_variables_only() -> None:
    triggers = """
triggers:
  - {name: x, kafka: {topic: "{{ env.REGION }}-{{ ^env.TOPIC }}"}, input: "{{ ^env.INPUT }}", filter: "{{ message.x }}"}
  - {name: y, memory: {topic: "{{ env^. }}"}, signal: {name: s, execution: "{{ ^env.ID }}"}}
"""
    assert told(with_node("{transform: 1}", triggers)) == [
        "the environment variable TOPIC is not one that workflows may read",
        "the environment variable INPUT is not one that workflows may read",
        "expected name or number",
        "the environment variable ID is not one that workflows may read",
    ]


# All together.


def test_problems_of_all_stages_come_at_once_and_in_order() -> None:
    text = """workflow: w
nodes:
  a: {^task: no.such, with: "{{ b }}"}
  b: {^wait: 3}
  c: {transform: "{{ input.x | ^uper }}"}
edges:
  - ^a -> b -> a
  - c -> ^d
output: "{{ ^e }}"
"""
    assert told(text) == [
        "no handler is registered as 'no.such'",
        "expected a duration such as 10s or a mapping, not the number 3",
        "there is no filter 'uper'",
        "the edges form a cycle: a -> b -> a",
        "there is no node `d`",
        "there is nothing called `e`",
    ]


def test_what_remote_workers_have_and_databases_that_there_are_are_no_mistakes() -> None:
    assert told("workflow: w\nnodes: {a: {task: no.such, worker: far}}") == []
    assert told("workflow: w\nnodes: {a: {sql: {connection: orders, query: select 1}}}") == []


def test_a_definition_that_was_accepted_compiles_without_its_handlers_and_environment() -> None:
    [plan] = load(with_node('{task: a.b, with: "{{ env.REGION }}"}')).plans
    stored = compiler(handlers=None, env={"OTHER": "1"}).compile_stored(plan.definition.document)
    assert (stored.hash, stored.body.starts, stored.nodes.keys()) == (plan.hash, plan.body.starts, plan.nodes.keys())


def test_a_stored_document_that_is_no_workflow_is_refused() -> None:
    for document in (b"1", b"{}", b'{"workflow": "w", "nodes": {"a": 1}}'):
        with pytest.raises(Misconfigured):
            compiler().compile_stored(document)


IDS = [f"n{index}" for index in range(12)]


@given(st.lists(st.tuples(st.integers(0, 11), st.integers(0, 11)).filter(lambda ends: ends[0] < ends[1]), unique=True))
def test_every_graph_without_cycles_compiles(arrows: list[tuple[int, int]]) -> None:
    before: dict[int, list[int]] = {
        index: [first for first, second in arrows if second == index] for index in range(12)
    }
    nodes = {
        IDS[index]: {"transform": {IDS[first]: f"{{{{ {IDS[first]} | default(0) }}}}" for first in before[index]}}
        for index in range(12)
    }
    document = {
        "workflow": "w",
        "nodes": nodes,
        "edges": [f"{IDS[first]} -> {IDS[second]}" for first, second in arrows],
    }
    plan = compiler().compile_stored(msgspec.json.encode(document))
    assert set(plan.body.starts) == {IDS[index] for index in range(12) if not before[index]}
    assert sum(len(node.outgoing) for node in plan.nodes.values()) == len(arrows)


def test_the_whole_example_compiles() -> None:
    assert compiler().load_text(msgspec.json.encode(WHOLE).decode(), "x.json").plans


@settings(suppress_health_check=[HealthCheck.too_slow], deadline=None)
@given(changed_documents())
def test_a_changed_definition_compiles_or_is_refused_in_words(document: Any) -> None:
    """Nothing that can be written raises anything but `Misconfigured`, with a place in the document."""
    try:
        plans = compiler().load_text(msgspec.json.encode(document).decode(), "x.json").plans
    except Misconfigured as error:
        plans, problems = (), error.problems
    else:
        problems = ()
    assert all(problem.message and problem.line for problem in problems)
    assert all(compiler().compile_stored(plan.definition.document).hash == plan.hash for plan in plans)
