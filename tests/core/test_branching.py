"""Forks and rewinds: going on from a past."""

from __future__ import annotations

import pytest

from daemon.core import commands as c
from daemon.core.effects import ArmTimer, GoBack, RetainSteps, RunStep, effects, owed
from daemon.core.errors import Rejected
from daemon.core.events import Edits, ExecutionRewound, InputEdit, Parent, StepEdit
from daemon.core.evolve import fold
from daemon.core.state import Finished, Running, cause
from daemon.core.values import from_json, to_json
from tests.core.spec import FORK, Story, minute
from tests.support.workflows import plan_of

TEXT = """
workflow: w
vars: {rate: 1}
nodes:
  reserve: {task: t.reserve, with: "{{ input }}", compensate: {task: t.release, with: "{{ step.output }}"}}
  charge: {task: t.charge, with: "{{ reserve * vars.rate }}", compensate: {task: t.refund, with: "{{ step.output }}"}}
  ship: {task: t.ship, with: "{{ charge }}"}
edges: [reserve -> charge -> ship]
output: "{{ ship }}"
"""
# The versions of TEXT's events: 1 ExecutionStarted, 2 StepStarted reserve, 3 StepSucceeded reserve, 4 CompensationOwed,
# 5 StepStarted charge, 6 StepSucceeded charge, 7 CompensationOwed, 8 StepStarted ship.


def shipping() -> Story:
    """Return an execution with a charge that was made, whose parcel is under way."""
    story = Story.of(TEXT)
    story.start(2)
    story.complete("reserve", 2)
    story.complete("charge", "c1")
    return story


def state_of(story: Story) -> Running:
    assert isinstance(story.state, Running)
    return story.state


def reserved(output: object = 2) -> c.CompleteStep:
    return c.CompleteStep(address="reserve", attempt=1, output=to_json(output), at=minute(0))


def test_a_fork_begins_again_what_was_under_way() -> None:
    """By the key that it had: whoever knows that does nothing twice. What was done before is not done again."""
    fork = shipping().fork(5)
    lines = fork.told
    assert lines[0].startswith("ExecutionForked")
    assert lines[1:] == ["StepQueued address=charge", "StepStarted address=charge input=2"]
    assert state_of(fork).execution_id == FORK
    assert dict(state_of(fork).keys) == {"charge": str(state_of(shipping()).execution_id)}
    assert dict(state_of(fork).owed) == {}
    fork.complete("charge", "c2")
    fork.complete("ship", "s2")
    assert isinstance(fork.state, Finished)
    assert from_json(fork.state.output) == "s2"


def test_what_the_source_had_done_is_not_the_forks_to_undo() -> None:
    """But what the fork does is."""
    fork = shipping().fork(5)
    fork.complete("charge", "c2")
    assert fork.fail("ship")[-1].startswith("StepStarted address=charge~undo input=c2")
    assert [line.split(" ")[0] for line in fork.complete("charge~undo")] == [
        "StepSucceeded",
        "UndoCompleted",
        "ExecutionFailed",
    ]


def test_a_fork_before_a_step_decides_its_beginning_again() -> None:
    """On the state of then, with the edits: the variable counts, and so does the result that was edited."""
    edits = Edits(variables={"rate": to_json(10)})
    fork = shipping().fork(2, edits=edits, again=reserved(3))
    assert fork.told[1:] == [
        "StepQueued address=reserve",
        "StepStarted address=reserve input=2",
        "StepSucceeded address=reserve output=3",
        "CompensationOwed address=reserve began=3 input=3",
        "StepStarted address=charge input=30",
    ]


def test_a_result_can_be_edited() -> None:
    """What reads it later reads what it was edited to."""
    fork = shipping().fork(8, edits=Edits(steps={"charge": StepEdit(to_json("c9"))}))
    assert fork.told[-1] == "StepStarted address=ship input=c9"


def test_the_input_can_be_edited() -> None:
    """A step that has begun, and did not end, begins with it."""
    fork = shipping().fork(2, edits=Edits(input=InputEdit(to_json(7))))
    assert fork.told[-1] == "StepStarted address=reserve input=7"


def test_a_step_that_is_open_can_be_ended() -> None:
    """Its edges are followed as if its handler had said so."""
    fork = shipping().fork(5, edits=Edits(steps={"charge": StepEdit(to_json("c9"))}))
    assert fork.told[-1] == "StepStarted address=ship input=c9"


def test_a_loop_under_way_cannot_be_ended_by_an_edit() -> None:
    """What its turns are at would be left without a place."""
    story = Story.of("{workflow: w, nodes: {l: {for: 2, do: {nodes: {a: {task: t.a}}}}}}")
    story.start(None)
    with pytest.raises(Rejected, match="step 'l' has turns under way: edit steps of theirs, or fork before:l"):
        story.fork(len(story.told), edits=Edits(steps={"l": StepEdit(to_json([1, 2]))}))


def test_a_page_that_is_given_by_an_edit_is_a_page() -> None:
    loop = "l: {forEach: {pages: {task: t.list}}, do: {nodes: {a: {task: t.a}}}}"
    story = Story.of(f"{{workflow: w, nodes: {{{loop}}}}}")
    story.start(None)
    with pytest.raises(Rejected, match="step 'l\\[0\\]~page': the handler gave no page"):
        story.fork(len(story.events), edits=Edits(steps={"l[0]~page": StepEdit(to_json(1))}))


def test_a_fork_that_ends_by_its_edit_decides_nothing_more() -> None:
    """What was decided next in the source is not decided after the end."""
    edits = Edits(steps={"ship": StepEdit(to_json("s9"))})
    source = shipping()
    fork = source.fork(8, edits=edits, again=c.CompleteStep(address="ship", attempt=1, output=to_json(1), at=minute(9)))
    assert fork.told[-1].startswith("ExecutionCompleted")


@pytest.mark.parametrize(
    ("version", "edits", "message"),
    [
        (5, Edits(variables={"rat": to_json(1)}), "no variable 'rat'; did you mean 'rate'"),
        (
            8,
            Edits(steps={"ship": StepEdit(to_json(1), "far")}),
            "step ship has no port 'far' to be left by; it has: out",
        ),
        (5, Edits(steps={"ship": StepEdit(to_json(1))}), "step 'ship' has not begun at version 5"),
        (5, Edits(steps={"reserve": StepEdit(to_json(1), "other")}), "has left by port 'out'"),
    ],
)
def test_edits_that_do_not_fit_are_refused(version: int, edits: Edits, message: str) -> None:
    with pytest.raises(Rejected, match=message):
        shipping().fork(version, edits=edits)


def test_a_fork_goes_on_with_another_definition() -> None:
    """If that has a node for each step that has begun."""
    other = plan_of(TEXT.replace('t.ship, with: "{{ charge }}"', 't.send, with: ["{{ charge }}"]'))
    fork = shipping().fork(5, plan=other)
    assert fork.complete("charge", "c2")[-1] == 'StepStarted address=ship input=["c2"]'
    without = plan_of("workflow: w\nnodes: {reserve: {task: t.reserve}}")
    with pytest.raises(Rejected, match="no node 'charge', which has begun"):
        shipping().fork(5, plan=without)


def test_nothing_goes_on_from_an_end() -> None:
    story = shipping()
    story.complete("ship")
    with pytest.raises(Rejected, match="was not under way"):
        story.fork(len(story.events))


def test_nothing_goes_on_from_an_undo() -> None:
    story = shipping()
    story.fail("ship")
    with pytest.raises(Rejected, match="was being undone"):
        story.fork(len(story.events))


def test_a_rewind_undoes_first_what_was_done_since() -> None:
    """Newest first, and only that; then the shell is owed a state of the past, and nothing else happens meanwhile."""
    story = shipping()
    lines = story.rewind(5)
    assert lines[0].startswith("RewindRequested to_version=5")
    assert lines[-1] == "StepStarted address=charge~undo input=c1"
    assert cause(story.state) == "step"
    assert story.complete("charge~undo")[-1].startswith("UndoCompleted compensated=1")
    assert owed(story.state) == (GoBack(5, again=False),)
    assert story.signal("hello") == ["SignalReceived signal_id=s1 name=hello data=null"]


def test_a_rewound_execution_goes_on_from_its_past() -> None:
    """A step that was undone has another idempotency key; what is still owed from before the past is owed."""
    story = shipping()
    story.rewind(5)
    story.complete("charge~undo")
    lines = story.go_back(5)
    assert lines[0].startswith("ExecutionRewound to_version=5")
    assert lines[1:] == ["StepQueued address=charge", "StepStarted address=charge input=2"]
    state = state_of(story)
    key = f"{state.execution_id}@1"
    assert dict(state.keys) == {"charge": key, "charge~undo": key, "charge~lookup~undo": key}
    assert [owed.address for owed in state.owed.values()] == ["reserve"]
    assert effects(state, (story.events[-3],))[0] == RetainSteps()
    story.complete("charge", "c2")
    assert story.complete("ship", "s2")[-1] == "ExecutionCompleted output=s2"


def test_a_rewind_without_anything_to_undo_is_owed_at_once() -> None:
    story = Story.of("workflow: w\nnodes: {a: {task: t.a}, b: {task: t.b}}\nedges: [a -> b]")
    story.start()
    story.complete("a")
    assert story.rewind(2)[-1].startswith("UndoCompleted")
    lines = story.go_back(2)
    assert lines[1:] == ["StepQueued address=a", "StepStarted address=a input={}"]
    assert isinstance(owed(story.state)[0], RunStep)


def test_an_execution_that_has_ended_can_be_rewound() -> None:
    """It is taken up again; its end stays in the log."""
    story = shipping()
    story.complete("ship")
    assert isinstance(story.state, Finished)
    story.rewind(5, mode="none")
    story.go_back(5)
    assert story.complete("charge", "c2")[-1] == "StepStarted address=ship input=c2"


def test_the_decision_after_the_past_can_be_made_again() -> None:
    story = shipping()
    story.rewind(2, mode="none", again=True)
    assert owed(story.state) == (GoBack(2, again=True),)
    lines = story.go_back(2, reserved(5))
    assert lines[-1] == "StepStarted address=charge input=5"


def test_signals_that_came_since_are_taken_again() -> None:
    """By whom the execution waits for them; unless they are to be dropped."""
    nodes = "{ask: {signal: {name: go, timeout: 1h}}, b: {task: t.b, with: '{{ ask }}'}}"
    text = f"workflow: w\nnodes: {nodes}\nedges: [ask -> b]"
    for keep in (True, False):
        story = Story.of(text)
        story.start()
        story.signal("go", 7)
        story.rewind(3, keep_signals=keep)
        lines = story.go_back(3)
        if keep:
            assert lines[1:] == [
                "TimerCancelled timer_id=ask#signal",
                "StepSucceeded address=ask output=7 signal_id=s1",
                "StepStarted address=b input=7",
            ]
        else:
            assert lines[1:] == []
            assert cause(story.state) == "signal"
        assert any(isinstance(effect, ArmTimer) for effect in owed(story.state)) is not keep


def test_one_cannot_go_back_behind_what_was_undone() -> None:
    """What came before the past counts on effects that are not there any more."""
    story = shipping()
    story.fail("ship")
    story.complete("charge~undo")
    story.complete("reserve~undo")
    assert isinstance(story.state, Finished)
    with pytest.raises(Rejected, match="what step 'charge' had done before version 8 was undone since"):
        story.rewind(8)
    story.rewind(2, again=False)
    assert story.go_back(2)[-1] == "StepStarted address=reserve input=2"


def test_one_rewind_at_a_time() -> None:
    story = shipping()
    story.rewind(5)
    with pytest.raises(Rejected, match="is being rewound to version 5 already"):
        story.rewind(2)
    with pytest.raises(Rejected, match="is being rewound: that cannot be cancelled"):
        story.when(c.CancelExecution(reason="no", actor="ann", at=minute(0)))


def test_a_pause_stays_a_pause() -> None:
    story = shipping()
    story.pause()
    story.rewind(5, mode="none")
    lines = story.go_back(5)
    assert lines[-1] == "StepQueued address=charge"
    assert cause(story.state) == "pause"
    assert story.resume()[-1] == "StepStarted address=charge input=2"


def test_a_step_without_a_result_has_none_to_edit() -> None:
    """What was skipped, or has failed, is another way: one forks before it."""
    story = Story.of(
        "workflow: w\nnodes: {a: {branch: '{{ true }}'}, b: {task: t.b}, c: {task: t.c}}\nedges: [a.false -> b]"
    )
    story.start()
    with pytest.raises(Rejected, match="'b' has no result to edit; fork before it: before:b"):
        story.fork(len(story.events), edits=Edits(steps={"b": StepEdit(to_json(1))}))


def test_a_wait_can_be_ended_by_hand() -> None:
    """Its timer goes with it; the limit of the whole execution begins anew."""
    story = Story.of("""
workflow: w
timeout: 2h
nodes: {ask: {signal: {name: go, timeout: 1h}}, b: {task: t.b, with: "{{ ask }}"}}
edges: [ask -> b]
""")
    story.start()
    fork = story.fork(len(story.events), edits=Edits(steps={"ask": StepEdit(to_json(7))}))
    assert fork.told[1:] == [
        "TimerSet timer_id=execution address= purpose=execution due=120m",
        "TimerCancelled timer_id=ask#signal",
        "StepSucceeded address=ask output=7",
        "StepStarted address=b input=7",
    ]


def test_a_child_whose_parent_knows_of_its_end_is_not_rewound() -> None:
    story = Story.of("workflow: w\nnodes: {a: {task: t.a}}")
    story.start(parent=Parent(FORK, "x", 1))
    story.complete("a")
    with pytest.raises(Rejected, match="has been told of its end"):
        story.rewind(2)


def test_an_undo_is_not_rewound() -> None:
    story = shipping()
    story.fail("ship")
    with pytest.raises(Rejected, match="is being undone; wait for its end"):
        story.rewind(5)


def test_what_came_meanwhile_is_not_forgotten() -> None:
    """The shell reads the log again when something was recorded since it has looked."""
    story = shipping()
    story.rewind(5, mode="none")
    base, between = fold(story.events[:5]), tuple(story.events[5:])
    story.signal("late")
    with pytest.raises(Rejected, match="something was recorded meanwhile"):
        story.when(c.FinishRewind(to_version=5, base=base, between=between, at=minute(0)))


def test_a_rewind_with_an_id_is_done_once() -> None:
    """Also when the execution has gone on since, and was rewound to before it."""
    story = shipping()
    story.rewind(5, mode="none", rewind_id="r1")
    story.go_back(5)
    assert story.rewind(5, mode="none", rewind_id="r1") == []
    story.rewind(2, mode="none", rewind_id="r2")
    story.go_back(2)
    assert story.rewind(5, mode="none", rewind_id="r1") == []


def test_a_log_that_leads_nowhere_is_damaged() -> None:
    """A rewind to before the start, or to before what a fold begins with, is no state."""
    story = shipping()
    with pytest.raises(TypeError, match="to where it was under way"):
        fold([*story.events, ExecutionRewound(to_version=0, at=minute(1))])
    with pytest.raises(TypeError, match="which is before all that is there"):
        fold([ExecutionRewound(to_version=2, at=minute(1))], story.state)
