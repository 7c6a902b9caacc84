"""What expressions see: decoded once, only what is there, in an order that is always the same."""

from __future__ import annotations

from uuid import UUID

import pytest

from daemon.core.errors import ExecutionNotFound, SagadError, UnknownTrigger, UnknownWorkflow
from daemon.core.scope import ROOTS, Outputs, Scope
from tests.core.spec import Story

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
    with pytest.raises(TypeError, match="running executions only"):
        _ = scope_of(Story.of(WORKFLOW))["input"]


def test_values_are_decoded_once() -> None:
    story = Story.of(WORKFLOW)
    story.start({"n": 1})
    scope = scope_of(story)
    assert scope["input"] is scope["input"]


def test_errors_say_what_there_is() -> None:
    """The root of the tree is never raised itself."""
    assert "loaded are: a, b" in str(UnknownWorkflow("x", ["b", "a"]))
    assert "loaded are: none" in str(UnknownTrigger("x", []))
    assert str(UUID(int=1)) in str(ExecutionNotFound(UUID(int=1)))
    with pytest.raises(TypeError, match="abstract"):
        SagadError("no")
