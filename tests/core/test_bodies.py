"""What the compiler says about bodies: ids, edges, and what can be seen from where."""

from __future__ import annotations

from typing import Any

import msgspec
import pytest

from daemon.core.errors import InvalidInput
from daemon.core.plan import Body, Edge
from daemon.core.schema import definition_schema
from daemon.nodes import builtin_node_types
from daemon.runtime.json_schema import InputSchema
from tests.support.definitions import lines_of, plan_of, told

WORKFLOW = """workflow: w
vars: {{known: 1}}
nodes:
  before: {{transform: 1}}
  each:
    forEach: [1]
    {keys}
    do:
      nodes:
        first: {{transform: 1}}
        second: {second}
        inner: {{for: 2, do: {{nodes: {{deep: {deep}}}}}}}
      edges: [{edges}]
      {output}
  after: {after}
edges: [before -> each -> after]
"""


def workflow(
    *,
    keys: str = "collect: true",
    second: str = "{transform: 2}",
    deep: str = "{transform: 3}",
    edges: str = "first -> second -> inner",
    output: str = "output: 1",
    after: str = "{transform: 4}",
) -> str:
    return WORKFLOW.format(keys=keys, second=second, deep=deep, edges=edges, output=output, after=after)


@pytest.mark.parametrize(
    "parts",
    [
        {"second": '{transform: "{{ first }} {{ before }} {{ loop.item }} {{ each.index }} {{ vars.known }}"}'},
        {"deep": '{transform: "{{ first }} {{ second }} {{ before }} {{ each.item }} {{ inner.index }}"}'},
        {"output": 'output: "{{ inner }} {{ first }} {{ loop.index }} {{ each.item }} {{ before }}"'},
        {"keys": 'break: "{{ second == 1 and inner and loop.previous and before }}"'},
        {"keys": 'continue: "{{ loop.previous and each.index and before }}"'},
        {"keys": 'aggregate: "{{ loop.results }} {{ before }}"'},
        {"after": '{transform: "{{ each }}"}'},
    ],
)
def test_a_place_sees_its_turn_and_what_comes_before_the_bodies_around_it(parts: dict[str, str]) -> None:
    assert lines_of(workflow(**parts)) == []


@pytest.mark.parametrize(
    ("parts", "message"),
    [
        ({"second": '{transform: "{{ ^inner }}"}'}, "`inner` can never have settled when `second` begins"),
        ({"second": '{transform: "{{ ^after }}"}'}, "`after` can never have settled when `second` begins"),
        (
            {"second": '{transform: "{{ ^deep }}"}'},
            "`deep` is in the body of `inner`, and cannot be seen from outside of it",
        ),
        ({"second": '{transform: "{{ ^parallel }}"}'}, "`parallel` is known inside a fan-out only"),
        ({"second": '{transform: "{{ ^vars.x }}"}'}, "there is no variable `x`"),
        (
            {"after": '{transform: "{{ ^deep }}"}'},
            "`deep` is in the body of `each`, and cannot be seen from outside of it",
        ),
        ({"after": '{transform: "{{ ^loop }}"}'}, "`loop` is known inside a loop only"),
        ({"keys": 'continue: "{{ ^first }}"'}, "`first` can never have settled when a turn of `each` begins"),
        ({"keys": 'break: "{{ ^after }}"'}, "`after` can never have settled when `each` begins"),
        (
            {"keys": 'aggregate: "{{ ^first }}"'},
            "`first` is in the body of `each`, and cannot be seen from outside of it",
        ),
        (
            {"output": 'output: "{{ ^deep }}"'},
            "`deep` is in the body of `inner`, and cannot be seen from outside of it",
        ),
        ({"output": 'output: "^{{ "'}, "`{{` has no `}}`"),
        ({"keys": "^break: first"}, "there is no expression in the text"),
        ({"edges": "first -> second -> ^after"}, "`after` is outside of the body of `each`: an edge cannot lead there"),
        ({"edges": "first -> ^deep"}, "`deep` is in the body of `inner`: an edge cannot lead there"),
        ({"edges": "first -> ^nobody"}, "there is no node `nobody`"),
        ({"edges": "^first -> second -> first"}, "the edges form a cycle: first -> second -> first"),
        ({"edges": "first ^-> second.out"}, "an edge cannot enter by the port 'out'"),
        ({"edges": "^1"}, "expected an edge such as `a -> b`, not the number 1"),
        ({"output": "^outptu: 1"}, "there is no key `outptu` here"),
    ],
)
def test_what_cannot_be_is_refused_at_its_place(parts: dict[str, str], message: str) -> None:
    found = told(workflow(**parts))
    assert message in found, found


def test_an_id_names_one_node_in_the_whole_workflow() -> None:
    text = workflow().replace("  after: {transform: 4}", "  ^first: {transform: 4}").replace("each -> after", "each")
    assert "there is another node `first`, in the body of `each`" in told(text)


def test_a_body_without_nodes_is_refused() -> None:
    assert lines_of("workflow: w\nnodes: {each: {for: 1, do: {edges: []}}}") == [
        "flow.yaml:2:24: `nodes` is missing (node each; the nodes by id: letters, digits and `_`)"
    ]
    [line] = lines_of("workflow: w\nnodes: {each: {for: 1}}")
    assert line.startswith("flow.yaml:2:9: `do` is missing (node each; ")


def test_bodies_are_in_each_other_sixteen_levels_deep_at_most() -> None:
    def deep(level: int) -> dict[str, Any]:
        body = {"nodes": {f"n{level}": deep(level - 1)}} if level else {"nodes": {"last": {"transform": 1}}}
        return {"for": 1, "do": body}

    document = {"workflow": "w", "nodes": {"top": deep(20)}}
    [line] = lines_of(msgspec.json.encode(document).decode())
    assert "bodies are in each other more than 16 levels deep" in line


def test_the_plan_of_a_body_is_wired_by_itself() -> None:
    plan = plan_of(workflow())
    assert plan.body == Body(starts=("before",), last=("after",), output=None)
    each = plan.nodes["each"].body
    assert each is not None
    assert (each.starts, each.last, each.output is not None) == (("first",), ("inner",), True)
    assert plan.nodes["second"].incoming == (Edge("first", "out", "second"),)
    scopes = {node.id: node.scope for node in plan.nodes.values()}
    assert scopes == {
        "before": "", "each": "", "after": "", "first": "each", "second": "each", "inner": "each", "deep": "inner",
    }  # fmt: skip


def test_the_schema_describes_bodies_in_bodies() -> None:
    schema = InputSchema(definition_schema(builtin_node_types()))
    body: dict[str, Any] = {"nodes": {"x": {"transform": 1}}, "edges": []}
    for _ in range(3):
        body = {"nodes": {"x": {"forEach": [1], "do": body}}, "edges": ["a -> b"], "output": 1}
    schema.check({"workflow": "w", **body})
    body["nodes"]["x"]["do"]["nodes"]["x"]["do"]["nodse"] = {}
    with pytest.raises(InvalidInput, match="nodes"):
        schema.check({"workflow": "w", **body})
