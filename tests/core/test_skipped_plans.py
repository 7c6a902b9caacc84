"""The rules of undo plans that a person skips while parts of them are under way, as given / when / then."""

from __future__ import annotations

from daemon.core.redeciding import redecide
from daemon.core.state import Running
from tests.core.spec import Story

SKIPPED = """
workflow: w
undo: manual
nodes:
  trip:
    saga: %s
    do:
      nodes:
        a:
          task: t.a
          compensate:
            task: t.undo
            retry: {max_attempts: 2, initial: 1m}
            lookup: {task: t.look, retry: {max_attempts: 2, initial: 1m}}
        b: {task: t.b}
  other: {task: t.other, compensate: {task: t.undo}}
"""


def started(mode: str = "automatic") -> Story:
    story = Story.of(SKIPPED % mode)
    story.start()
    story.complete("other")
    return story


def test_a_compensation_that_has_begun_goes_on_when_the_plan_around_it_is_skipped() -> None:
    """It cannot be called back, and its end is still to be told; what has not begun is left as it is."""
    story = started()
    story.complete("trip[0].a")
    story.fail("trip[0].b")
    story.fail("trip[0].a~undo")
    story.cancel()
    assert story.answer("", "skip") == ["ManualActionDone address= choice=skip"]
    story.fire("trip[0].a~undo#retry", after=1)
    assert story.complete("trip[0].a~undo", attempt=2) == [
        "StepSucceeded address=trip[0].a~undo attempt=2 output=null",
        "UndoCompleted compensated=1 by_hand=0 skipped=1",
        "ExecutionCancelled reason=enough",
    ]


def test_nobody_looks_for_what_is_not_to_be_undone() -> None:
    """A lookup that is under way, or waits to be tried again, is given up when the plan is skipped."""
    story = started()
    story.fail("trip[0].a", "timeout")
    story.fail("trip[0].a~lookup~undo")
    story.cancel()
    assert story.answer("", "skip") == [
        "TimerCancelled timer_id=trip[0].a~lookup~undo#retry",
        "ManualActionDone address= choice=skip",
        "UndoCompleted compensated=0 by_hand=0 skipped=2",
        "ExecutionCancelled reason=enough",
    ]
    assert [type(each.command).__name__ for each in redecide(story.plan, story.events)][-1] == "AnswerUndo"


def test_a_question_about_what_is_skipped_is_not_asked_any_more() -> None:
    """While a step is waited for, its answer would be about nothing."""
    story = started("confirm_each")
    story.complete("trip[0].a")
    story.fail("trip[0].b")
    assert isinstance(story.state, Running)
    assert set(story.state.asking) == {"trip[0].a"}
    story.cancel()
    assert story.answer("", "skip")[-1].startswith("ExecutionCancelled")


def test_what_ends_after_the_plan_was_skipped_stays_too() -> None:
    """Whoever leaves all as it is means what is under way as well, also a step of which nothing is known."""
    story = Story.of("""
workflow: w
undo: manual
nodes:
  a: {task: t.a, compensate: {task: t.undo}}
  b: {task: t.b, compensate: {task: t.undo}}
  c: {task: t.c, compensate: {task: t.undo}}
""")
    story.start()
    story.complete("a")
    story.cancel()
    assert story.answer("", "skip") == ["ManualActionDone address= choice=skip"]
    assert story.complete("b") == ["StepSucceeded address=b output=null"]
    assert story.fail("c", "timeout") == [
        "StepFailed address=c error=timeout unknown=true",
        "UndoCompleted compensated=0 by_hand=0 skipped=1",
        "ExecutionCancelled reason=enough",
    ]


def test_a_group_that_is_left_as_it_is_undoes_nothing_that_ends_later() -> None:
    """Only of the group: what is beside it is undone as ever."""
    story = started("manual")
    story.fail("trip[0].b")
    assert story.answer("trip[0]", "skip") == ["ManualActionDone address=trip[0] choice=skip"]
    assert "CompensationOwed" not in " ".join(story.complete("trip[0].a"))
    assert story.answer("", "go")[-1].startswith("StepStarted address=other~undo")


def test_a_group_may_be_left_as_it_is_when_all_around_it_is_undone_already() -> None:
    """Its question was asked before, and its answer still counts for what it is about."""
    story = started("manual")
    story.complete("trip[0].a")
    story.fail("trip[0].b")
    story.cancel()
    told = story.answer("trip[0]", "skip")
    assert told[0] == "ManualActionDone address=trip[0] choice=skip"
    assert "trip[0].a~undo" not in " ".join(story.answer("", "go"))
