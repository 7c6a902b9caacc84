"""The rules of lookups: what is found out of a step that may have taken effect, as given / when / then."""

from __future__ import annotations

import pytest

from daemon.core.errors import Misconfigured
from daemon.core.state import Finished
from tests.core.spec import EXECUTION, Story
from tests.support.workflows import plan_of

PAY = """
workflow: pay
undo: UNDO
nodes:
  charge:
    task: p.charge
    with: {sum: 7}
    compensate:
      task: p.refund
      with: {id: "{{ step.output.id }}", sum: "{{ step.input.sum }}"}
      lookup: {task: p.find, with: {key: "{{ step.key }}"}, retry: {max_attempts: 2, initial: 1m}}
"""


def in_doubt(undo: str = "automatic") -> Story:
    """Tell of a charge that gave no answer in time."""
    story = Story.of(PAY.replace("UNDO", undo))
    story.start()
    story.fail("charge", "timeout")
    return story


def test_what_is_not_known_is_looked_up_by_the_steps_own_key() -> None:
    assert in_doubt().told[-1] == (f'StepStarted address=charge~lookup~undo input={{"key":"{EXECUTION}/charge"}}')


def test_a_fork_looks_it_up_by_the_key_that_its_source_had_used() -> None:
    """The step goes on by that key, so it is under that key that a service knows it."""
    story = Story.of(PAY.replace("UNDO", "automatic"))
    story.start()
    fork = story.fork(2)
    assert fork.fail("charge", "timeout")[-1] == (
        f'StepStarted address=charge~lookup~undo input={{"key":"{EXECUTION}/charge"}}'
    )


def test_what_took_effect_is_undone_with_what_the_lookup_gave() -> None:
    assert in_doubt().complete("charge~lookup~undo", {"id": "c1"}) == [
        'StepSucceeded address=charge~lookup~undo output={"id":"c1"}',
        'EffectLookedUp address=charge found=true input={"id":"c1","sum":7}',
        'StepStarted address=charge~undo input={"id":"c1","sum":7}',
    ]


@pytest.mark.parametrize("nothing", [None, False, [], {}])
def test_what_did_not_take_effect_is_not_undone(nothing: object) -> None:
    story = in_doubt()
    told = story.complete("charge~lookup~undo", nothing)
    assert told[1] == "EffectLookedUp address=charge found=false"
    assert told[-1] == "ExecutionFailed error=timeout address=charge"


def test_a_lookup_is_tried_again_and_then_a_person_is_asked() -> None:
    story = in_doubt()
    story.fail("charge~lookup~undo")
    story.fire("charge~lookup~undo#retry", after=1)
    assert story.fail("charge~lookup~undo", attempt=2)[-1].startswith(
        "ManualActionRequested address=charge kind=unknown message=whether the step took effect is not known, and"
    )
    story.answer("charge", "done")
    assert isinstance(story.state, Finished)


def test_a_compensation_that_cannot_be_made_of_what_was_found_is_for_a_person() -> None:
    story = in_doubt()
    assert story.complete("charge~lookup~undo", {"other": 1})[-1].startswith(
        "ManualActionRequested address=charge kind=broken"
    )


def test_what_was_found_is_confirmed_too_where_each_is() -> None:
    story = in_doubt("confirm_each")
    assert story.complete("charge~lookup~undo", {"id": "c1"})[-1].startswith(
        "ManualActionRequested address=charge kind=confirm"
    )


def test_what_is_known_is_not_looked_up() -> None:
    story = Story.of(PAY.replace("UNDO", "automatic") + "  end: {task: t}\nedges: [charge -> end]\n")
    story.start()
    story.complete("charge", {"id": "c1"})
    assert story.fail("end")[-1] == 'StepStarted address=charge~undo input={"id":"c1","sum":7}'


def test_a_lookup_in_a_turn_that_was_given_up_still_knows_the_step() -> None:
    story = Story.of("""
workflow: w
nodes:
  each:
    for: 1
    do:
      nodes:
        a: {task: t, compensate: {task: u, with: "{{ step.output }}", lookup: {task: f, with: "{{ step.key }}"}}}
""")
    story.start()
    assert story.fail("each[0].a", "timeout")[-1].startswith("StepStarted address=each[0].a~lookup~undo")
    assert story.complete("each[0].a~lookup~undo", 7)[-1] == "StepStarted address=each[0].a~undo input=7"


@pytest.mark.parametrize(
    ("lookup", "message"),
    [
        ("{transform: 1}", "finds nothing out"),
        ("{task: f, nonsense: 1}", "nonsense"),
        ("{task: f, with: '{{ stp.key }}'}", "`stp`"),
        ("{with: 1}", "has no type"),
    ],
)
def test_what_is_wrong_in_a_lookup_is_named(lookup: str, message: str) -> None:
    with pytest.raises(Misconfigured, match=message):
        plan_of(f"workflow: w\nnodes: {{a: {{task: t, compensate: {{task: u, lookup: {lookup}}}}}}}")


def test_what_is_read_after_a_lookup_stays_until_then() -> None:
    """The compensation is rendered anew when its step, and all others, have settled: a large output is not released."""
    story = Story.of("""
workflow: w
on_error: continue
nodes:
  first: {task: t.a}
  second: {task: t.b, compensate: {task: t.undo, with: "{{ first | length }}", lookup: {task: t.look}}}
  last: {transform: 1}
edges: [first -> second -> last]
""")
    story.start()
    story.complete("first", "x" * 2000)
    assert not any(told.startswith("OutputsReleased") for told in story.fail("second", "timeout"))
    story.undo()
    assert story.complete("second~lookup~undo", {"id": 1})[1:] == [
        "EffectLookedUp address=second found=true input=2000",
        "StepStarted address=second~undo input=2000",
    ]
