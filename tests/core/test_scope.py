"""What expressions see: decoded once, only what is there, in an order that is always the same."""

from __future__ import annotations

from uuid import UUID

import pytest

from daemon.core.errors import ExecutionNotFound, SagadError, UnknownTrigger, UnknownWorkflow
from daemon.core.scope import ROOTS, Extended, Outputs, Scope, Variables, output_of
from daemon.core.state import Succeeded
from daemon.core.values import NULL
from tests.core.spec import Story, minute

WORKFLOW = """
workflow: w
nodes: {c: {transform: 3}, a: {task: t.a}, b: {branch: "{{ false }}"}, d: {task: t.d}, e: {task: t.e}}
edges: [b.true -> d, a.error -> e]
"""


def scope_of(story: Story) -> Scope:
    return Scope(story.plan, story.state)


def test_settled_steps_read_as_their_outputs_and_others_are_missing() -> None:
    story = Story.of(WORKFLOW)
    story.start({"n": 1})
    scope = scope_of(story)
    assert list(scope) == [*ROOTS, "b", "c"]
    assert len(scope) == len(ROOTS) + 2
    assert (scope["c"], scope["b"], scope["vars"]) == (3, False, {})
    for missing in ("a", "d", "nosuch"):
        with pytest.raises(KeyError):
            _ = scope[missing]


def test_a_failed_step_reads_as_its_error() -> None:
    story = Story.of(WORKFLOW)
    story.start({"n": 1})
    story.fail("a", "declined")
    steps = scope_of(story)["steps"]
    assert isinstance(steps, Outputs)
    assert steps["a"] == {"error": {"message": "broken", "code": "declined", "type": "", "attempt": 1, "details": None}}
    assert len(steps) == 3


def test_there_is_nothing_to_see_before_the_start() -> None:
    with pytest.raises(TypeError, match="executions that have begun"):
        _ = scope_of(Story.of(WORKFLOW))["input"]


def test_to_read_what_was_released_is_a_bug_that_is_told() -> None:
    with pytest.raises(TypeError, match="released is read"):
        output_of(Succeeded(NULL, "out", 1, 1, minute(0), released=True))


def test_values_are_decoded_once() -> None:
    story = Story.of(WORKFLOW)
    story.start({"n": 1})
    scope = scope_of(story)
    assert scope["input"] is scope["input"]


TURNS = """
workflow: w
vars: {a: 1, b: 2}
nodes:
  before: {set: {c: 3}}
  outer:
    forEach: [x]
    do:
      nodes:
        first: {transform: 1}
        inner: {parallel: 1, do: {nodes: {work: {task: t.work}, done: {transform: 2}}}}
        later: {task: t.later}
      edges: [first -> inner -> later]
edges: [before -> outer]
"""


def test_a_turn_is_seen_with_all_that_is_around_it() -> None:
    story = Story.of(TURNS)
    story.start()
    scope = scope_of(story).at("outer[0].inner[0]")
    assert list(scope) == [*ROOTS, "loop", "parallel", "outer", "inner", "before", "done", "first"]
    assert len(scope) == len(ROOTS) + 7
    turn = {"index": 0, "iteration": 1, "item": "x", "total": 1, "previous": None}
    assert (scope["loop"], scope["outer"]) == (turn, turn)
    assert scope["parallel"] == scope["inner"] == {"index": 0, "currentItem": 0, "total": 1}
    assert (scope["first"], scope["done"], scope["steps"]) == (1, 2, {"before": {"c": 3}, "first": 1, "done": 2})
    for missing in ("work", "later", "nosuch"):
        with pytest.raises(KeyError):
            _ = scope[missing]


def test_variables_read_as_they_are_now() -> None:
    story = Story.of(TURNS)
    story.start()
    variables = scope_of(story)["vars"]
    assert isinstance(variables, Variables)
    assert (dict(variables), len(variables)) == ({"a": 1, "b": 2, "c": 3}, 3)


def test_names_can_be_added() -> None:
    more = Extended({"a": 1, "b": 2}, {"b": 3, "c": 4})
    assert (dict(more), len(more)) == ({"a": 1, "b": 3, "c": 4}, 3)


def test_errors_say_what_there_is() -> None:
    """The root of the tree is never raised itself."""
    assert "loaded are: a, b" in str(UnknownWorkflow("x", ["b", "a"]))
    assert "loaded are: none" in str(UnknownTrigger("x", []))
    assert str(UUID(int=1)) in str(ExecutionNotFound(UUID(int=1)))
    with pytest.raises(TypeError, match="abstract"):
        SagadError("no")


def test_there_are_no_turns_after_the_end() -> None:
    story = Story.of("workflow: w\nnodes: {a: {task: t}}")
    story.start()
    story.complete("a")
    with pytest.raises(TypeError, match="running executions only"):
        _ = Scope(story.plan, story.state).running
