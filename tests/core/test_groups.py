"""The rules of groups that are undone by themselves, as given / when / then."""

from __future__ import annotations

from daemon.core.effects import RetainSteps, effects
from daemon.core.state import Running, cause
from tests.core.spec import Story

GROUP = """
workflow: w
nodes:
  before: {task: t.a, compensate: {task: t.undo}}
  trip:
    saga: %s
    do:
      nodes:
        flight: {task: t.fly, compensate: {task: t.undo, with: "{{ step.output }}"}}
        hotel: {task: t.sleep, compensate: {task: t.undo}}
        beside: {task: t.look}
      edges: [flight -> hotel]
      output: "{{ flight }}"
  other: {task: t.other, with: "{{ trip.error.code }}"}
  after: {task: t.after, with: "{{ trip }}"}
edges: [before -> trip -> after, trip.error -> other]
"""


def group(mode: str = "automatic") -> Story:
    story = Story.of(GROUP % mode)
    story.start()
    story.complete("before")
    return story


def test_a_group_is_one_step_to_those_around_it() -> None:
    story = group()
    story.complete("trip[0].flight", "f1")
    story.complete("trip[0].beside")
    assert story.complete("trip[0].hotel")[2:] == [
        "TurnSucceeded address=trip[0] output=f1",
        "StepSucceeded address=trip output=f1",
        "StepStarted address=after input=f1",
        "StepSkipped address=other",
    ]


def test_a_group_that_fails_is_undone_before_its_error_goes_on() -> None:
    story = group()
    story.complete("trip[0].flight", "f1")
    before = len(story.events)
    assert story.fail("trip[0].hotel", "full") == [
        "StepFailed address=trip[0].hotel error=full",
        "UndoPlanned status=failed mode=automatic error=full scope=trip[0]",
        "StepStarted address=trip[0].flight~undo input=f1",
    ]
    assert RetainSteps() in effects(story.state, story.events[before:])
    assert story.complete("trip[0].beside") == []
    assert story.complete("trip[0].flight~undo") == [
        "StepSucceeded address=trip[0].flight~undo output=null",
        "UndoCompleted compensated=1 by_hand=0 skipped=0 scope=trip[0]",
        "TurnFailed address=trip[0] error=full",
        "StepFailed address=trip error=full port=error",
        "StepSkipped address=after",
        "StepStarted address=other input=full",
    ]


def test_what_was_done_before_the_group_stays_until_the_execution_fails() -> None:
    story = group()
    story.complete("trip[0].flight", "f1")
    story.fail("trip[0].hotel", "full")
    story.complete("trip[0].flight~undo")
    assert story.fail("other")[1:] == [
        "UndoPlanned status=failed mode=automatic error=error failed_step=other",
        "StepStarted address=before~undo input={}",
    ]


def test_a_step_at_work_in_the_group_is_waited_for_if_it_can_be_undone() -> None:
    story = group()
    assert story.fail("trip[0].beside", "bad")[1] == (
        'UndoPlanned status=failed mode=automatic error=bad draining=["trip[0].flight"] scope=trip[0]'
    )
    assert story.complete("trip[0].flight", "f1")[2:] == ["StepStarted address=trip[0].flight~undo input=f1"]


def test_a_group_without_anything_to_undo_fails_at_once() -> None:
    declared = ', compensate: {task: t.undo, with: "{{ step.output }}"}'
    story = Story.of((GROUP % "automatic").replace(declared, ""))
    story.start()
    story.complete("before")
    assert story.fail("trip[0].flight", "full")[1:3] == [
        "TurnFailed address=trip[0] error=full",
        "StepFailed address=trip error=full port=error",
    ]


def test_a_person_lets_a_group_be_undone() -> None:
    story = group("manual")
    story.complete("trip[0].flight", "f1")
    assert story.fail("trip[0].hotel", "full")[2].startswith("ManualActionRequested address=trip[0] kind=plan")
    assert cause(story.state) == "person"
    assert story.answer("trip[0]", "go")[1:] == ["StepStarted address=trip[0].flight~undo input=f1"]


def test_a_person_may_leave_all_of_a_group_as_it_is() -> None:
    story = group("manual")
    story.complete("trip[0].flight", "f1")
    story.fail("trip[0].hotel", "full")
    assert story.answer("trip[0]", "skip")[1] == "UndoCompleted compensated=0 by_hand=0 skipped=1 scope=trip[0]"
    assert isinstance(story.state, Running)
    assert [owed.address for owed in story.state.owed.values()] == ["before"]


def test_an_execution_that_ends_meanwhile_takes_over_what_is_left() -> None:
    story = group()
    story.complete("trip[0].flight", "f1")
    story.fail("trip[0].hotel", "full")
    assert story.cancel()[1:] == ["UndoPlanned status=cancelled mode=automatic reason=enough"]
    assert story.complete("trip[0].flight~undo")[1:] == ["StepStarted address=before~undo input={}"]
    assert story.complete("before~undo")[1:] == [
        "UndoCompleted compensated=2 by_hand=0 skipped=0",
        "ExecutionCancelled reason=enough",
    ]


def test_a_paused_execution_does_not_end_while_a_group_waits() -> None:
    story = group()
    story.complete("trip[0].flight", "f1")
    story.pause()
    assert story.fail("trip[0].hotel", "full")[-1].startswith("UndoPlanned")
    assert cause(story.state) == "pause"
    assert story.resume()[1:] == ["StepStarted address=trip[0].flight~undo input=f1"]


IN_A_FAN_OUT = """
workflow: w
nodes:
  fan:
    parallel: 2
    on_failure: %s
    do:
      nodes:
        group:
          saga: confirm_each
          do:
            nodes:
              book: {task: t.book, compensate: {task: t.undo}}
              check: {task: t.check}
            edges: [book -> check]
  after: {task: t.after}
edges: [fan.error -> after, fan -> after]
"""


def test_groups_in_turns_are_undone_each_by_itself() -> None:
    story = Story.of(IN_A_FAN_OUT.replace("fan.error -> after, ", "") % "collect")
    story.start()
    for index in (0, 1):
        story.complete(f"fan[{index}].group[0].book")
        assert story.fail(f"fan[{index}].group[0].check")[-1].startswith("ManualActionRequested")
    assert "TurnFailed address=fan[0].group[0] error=error" in story.answer("fan[0].group[0].book", "done")
    assert "TurnFailed address=fan[1] error=error" in story.answer("fan[1].group[0].book", "skip")
    assert story.started[-1] == "after"


def test_a_group_that_is_given_up_with_what_is_around_it_leaves_what_it_owes_to_the_execution() -> None:
    story = Story.of(IN_A_FAN_OUT % "fail_fast")
    story.start()
    story.complete("fan[0].group[0].book")
    story.complete("fan[1].group[0].book")
    story.fail("fan[0].group[0].check")
    story.fail("fan[1].group[0].check")
    assert "TurnAbandoned address=fan[1]" in story.answer("fan[0].group[0].book", "done")
    assert isinstance(story.state, Running)
    assert not story.state.groups
    assert story.answer("fan[1].group[0].book", "go") == ["ManualActionDone address=fan[1].group[0].book choice=go"]
    assert story.fail("after")[2:] == ["StepStarted address=fan[1].group[0].book~undo input={}"]


def test_a_compensation_at_work_goes_on_when_its_group_is_given_up() -> None:
    story = Story.of(IN_A_FAN_OUT.replace("confirm_each", "automatic") % "fail_fast")
    story.start()
    for index in (0, 1):
        story.complete(f"fan[{index}].group[0].book")
        story.fail(f"fan[{index}].group[0].check")
    assert "TurnAbandoned address=fan[1]" in story.complete("fan[0].group[0].book~undo")
    assert story.complete("fan[1].group[0].book~undo") == [
        "StepSucceeded address=fan[1].group[0].book~undo output=null"
    ]
    assert isinstance(story.state, Running)
    assert not story.state.owed


def test_a_group_leaves_the_timers_of_others_alone() -> None:
    story = Story.of((GROUP % "automatic").replace("  before:", "  nap: {wait: 1h}\n  before:"))
    story.start()
    story.complete("before")
    story.complete("trip[0].flight", "f1")
    assert story.fail("trip[0].hotel", "full")[1].startswith("UndoPlanned")
    assert isinstance(story.state, Running)
    assert list(story.state.timers) == ["nap#wait"]


IN_A_GROUP = """
workflow: w
nodes:
  outer:
    saga: automatic
    do:
      nodes:
        beside: {task: t.beside}
        inner:
          saga: manual
          do:
            nodes: {book: {task: t.book, compensate: {task: t.undo}}, check: {task: t.check}}
            edges: [book -> check]
  after: {task: t.after}
edges: [outer.error -> after]
"""


def test_a_group_around_one_that_is_being_undone_undoes_the_rest_of_it() -> None:
    story = Story.of(IN_A_GROUP)
    story.start()
    story.complete("outer[0].inner[0].book")
    assert story.fail("outer[0].inner[0].check", "inner")[2].startswith("ManualActionRequested")
    assert story.fail("outer[0].beside", "outer")[2:] == ["StepStarted address=outer[0].inner[0].book~undo input={}"]
    assert story.complete("outer[0].inner[0].book~undo")[1:] == [
        "UndoCompleted compensated=1 by_hand=0 skipped=0 scope=outer[0]",
        "TurnFailed address=outer[0] error=outer",
        "StepFailed address=outer error=outer port=error",
        "StepStarted address=after input={}",
    ]
    assert isinstance(story.state, Running)
    assert not story.state.asking


def test_of_two_groups_that_are_undone_at_once_the_first_to_fail_gives_the_other_up() -> None:
    story = Story.of(IN_A_FAN_OUT.replace("confirm_each", "automatic") % "fail_fast")
    story.start()
    for index in (0, 1):
        story.complete(f"fan[{index}].group[0].book")
        story.fail(f"fan[{index}].group[0].check")
    story.pause()
    for index in (0, 1):
        story.complete(f"fan[{index}].group[0].book~undo")
    decided = story.resume()
    assert len([line for line in decided if line.startswith("UndoCompleted")]) == 2
    assert len([line for line in decided if line.startswith("TurnAbandoned")]) == 1
    assert decided[-1] == "StepStarted address=after input={}"


def test_of_two_turns_that_fail_at_once_after_their_undo_the_first_gives_up_the_other() -> None:
    story = Story.of("""
workflow: w
nodes:
  fan:
    parallel: 2
    do:
      nodes:
        group:
          saga: automatic
          do:
            nodes: {a: {task: t.a, compensate: {task: t.undo}}, b: {task: t.b}}
            edges: [a -> b]
""")
    story.start()
    for turn in (0, 1):
        story.complete(f"fan[{turn}].group[0].a")
        story.fail(f"fan[{turn}].group[0].b")
    story.pause()
    for turn in (0, 1):
        story.complete(f"fan[{turn}].group[0].a~undo")
    told = [each.split()[0] for each in story.resume()]
    assert told.count("UndoCompleted") == 2
    assert told.count("TurnFailed") == 2
    assert told[-1] == "ExecutionFailed"


def test_what_a_group_has_left_to_people_is_no_doubt_of_the_execution() -> None:
    """A compensation that only a person can do is a step without a node of its own."""
    story = Story.of("""
workflow: w
nodes:
  before: {task: t.a, compensate: {task: t.undo}}
  trip:
    saga: automatic
    on_error: continue
    do:
      nodes:
        letter: {task: t.send, compensate: {irreversible: {reason: sent}}}
        hotel: {task: t.sleep}
      edges: [letter -> hotel]
  after: {task: t.after}
edges: [before -> after]
""")
    story.start()
    story.complete("before")
    story.complete("trip[0].letter")
    story.fail("trip[0].hotel")
    story.answer("trip[0].letter", "done")
    story.cancel()
    story.complete("before~undo")
    assert story.told[-1] == "ExecutionCancelled reason=enough"
