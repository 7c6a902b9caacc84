"""What the compiler says about compensations."""

from __future__ import annotations

import pytest

from tests.support.definitions import compiler, lines_of, problems_of, told, with_node


@pytest.mark.parametrize(
    "node",
    [
        "{task: a.b, compensate: {task: a.b, with: '{{ step.output.id }} {{ step.input }} {{ a }} {{ input.x }}'}}",
        "{task: a.b, compensate: {http: {url: 'https://x.example/{{ step.output.id }}', method: DELETE}}}",
        "{task: a.b, compensate: {publish: {memory: {topic: x}, value: '{{ step }}'}, timeout: 1s, kind: eventual}}",
        "{task: a.b, compensate: {irreversible: {reason: gone, manual: call them}}}",
        "{task: a.b, side_effects: none}",
        "{for: 1, do: {nodes: {x: {task: a.b, compensate: {task: a.b, with: '{{ loop.item }}'}}}}}",
    ],
)
def test_a_node_says_what_undoes_it(node: str) -> None:
    assert lines_of(with_node(node)) == []


@pytest.mark.parametrize(
    ("node", "message"),
    [
        ("{task: a.b, compensate: {^task: no.such}}", "no handler is registered as 'no.such'"),
        ("{task: a.b, compensate: {task: a.b, with: '{{ ^b }}'}}", "a node cannot read its own output"),
        ("{task: a.b, compensate: {task: a.b, with: '{{ ^c }}'}}", "there is nothing called `c`"),
        ("{task: a.b, compensate: {task: a.b, with: '{{ env.^X }}'}}", None),
        ("{task: a.b, ^compensate: {transform: 1}}", "a `transform` undoes nothing"),
        ("{task: a.b, ^compensate: {tsk: a.b}}", "the node has no type"),
        ("{task: a.b, ^compensate: {}}", "the node has no type"),
        ("{task: a.b, ^compensate: 1}", "expected a mapping, not the number 1"),
        ("{task: a.b, compensate: {task: a.b, ^kind: often}}", None),
        ("{task: a.b, compensate: {task: a.b, ^on_error: stop}}", None),
        ("{task: a.b, compensate: {task: a.b, with: '{{ ^'}}", None),
        ("{task: a.b, compensate: {^irreversible: {}}}", None),
        (
            "{task: a.b, ^compensate: {task: a.b}, side_effects: none}",
            "a node without side effects has nothing to undo",
        ),
        ("{transform: 1, ^compensate: {task: a.b}}", None),
    ],
)
def test_what_cannot_undo_is_refused_at_its_place(node: str, message: str | None) -> None:
    if message is None:
        assert lines_of(with_node(node.replace("^", "")))
    else:
        assert told(with_node(node)) == [message]


def test_a_compensation_is_told_what_its_nodes_output_is_called_there() -> None:
    [problem] = problems_of(with_node("{task: a.b, compensate: {task: a.b, with: '{{ b }}'}}"))
    assert problem.hint == "here it is `step.output`"


def test_a_compensation_of_a_stored_definition_may_miss_its_handler() -> None:
    text = with_node("{task: a.b, compensate: {task: a.b}}")
    [plan] = compiler().load_text(text).plans
    stored = compiler(handlers=None).compile_stored(plan.definition.document)
    assert stored.nodes["b~undo"].type.name == "task"
    assert stored.nodes["b"].compensation is not None


def test_a_node_called_step_is_not_what_a_compensation_reads_by_that_name() -> None:
    """It is a doubt and no mistake: definitions that have such a node, and mean the other, go on."""
    compensate = "compensate: {task: a.b, with: '{{ step.output }}'}"
    text = f"workflow: w\nnodes: {{step: {{task: a.b}}, c: {{task: a.b, {compensate}}}}}\nedges: [step -> c]\n"
    [warning] = compiler().load_text(text).warnings
    assert warning.message == "`step` is the step that is undone here, and not the node `step`"
    assert warning.hint == "read the node as `steps.step`, or give it another id"
    assert (warning.node, warning.line) == ("c", 2)
    assert compiler().load_text(text.replace("step.output", "steps.step")).warnings == ()
