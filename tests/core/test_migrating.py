"""Executions under way go on under another definition of their workflow."""

from __future__ import annotations

import pytest

from daemon.core import commands as c
from daemon.core.errors import ExecutionFinished, Rejected
from daemon.core.evolve import fold
from daemon.core.redeciding import divergence, redecide
from daemon.core.state import Finished, Running
from daemon.core.values import from_json
from tests.core.spec import Story, minute
from tests.support.workflows import plan_of

TEXT = """
workflow: w
nodes:
  reserve: {task: t.reserve, compensate: {task: t.release, with: "{{ step.output }}"}}
  charge: {task: t.charge, with: "{{ reserve }}"}
  ship: {task: t.ship}
edges: [reserve -> charge -> ship]
"""
RENAMED = TEXT.replace("reserve", "book")


def charging(text: str = TEXT) -> Story:
    """Return an execution that has reserved, and charges."""
    story = Story.of(text)
    story.start(2)
    story.complete("reserve", "r1")
    return story


def test_what_is_under_way_goes_on() -> None:
    """The handler at work is not asked again; what follows it is the other definition's."""
    story = charging()
    changed = TEXT.replace("ship: {task: t.ship}", "send: {task: t.send}").replace("-> ship", "-> send")
    assert story.migrate(changed) == ["ExecutionMigrated"]
    assert story.state.definition == story.plan.hash  # type: ignore[union-attr]  # it has started
    assert story.complete("charge") == ["StepSucceeded address=charge output=null", "StepStarted address=send input={}"]


def test_a_node_that_is_new_begins_when_what_is_before_it_has_settled() -> None:
    """As if it had always been there."""
    story = charging()
    more = TEXT.replace("edges: [", "  note: {task: t.note}\n  first: {task: t.first}\nedges: [reserve -> note, ")
    told = story.migrate(more)
    assert told[1:] == ["StepStarted address=first input={}", "StepStarted address=note input={}"]


def test_a_node_whose_branch_was_not_taken_is_skipped() -> None:
    branch = """
workflow: w
nodes:
  which: {branch: "{{ input > 1 }}"}
  many: {task: t.many}
edges: [which.true -> many]
"""
    story = Story.of(branch)
    story.start(2)
    more = branch.replace("many: {task: t.many}", "many: {task: t.many}\n  few: {task: t.few}")
    assert story.migrate(more.replace("> many]", "> many, which.false -> few]"))[1:] == ["StepSkipped address=few"]


def test_a_node_in_a_turn_that_is_open_begins_too() -> None:
    loop = "workflow: w\nnodes: {all: {forEach: '{{ input }}', do: {nodes: {one: {task: t.one}}}}}"
    story = Story.of(loop)
    story.start([1, 2])
    told = story.migrate(loop.replace("one: {task: t.one}", "one: {task: t.one}, two: {task: t.two}"))
    assert told[1:] == ["StepStarted address=all[0].two input={}"]
    story.complete("all[0].one", 1)
    assert story.complete("all[0].two", 2)[-2:] == [
        "StepStarted address=all[1].one input={}",
        "StepStarted address=all[1].two input={}",
    ]


def test_nodes_may_have_other_names() -> None:
    """What was done is known under them, to expressions, and to what undoes it."""
    story = charging()
    story.migrate(RENAMED, {"reserve": "book"})
    assert isinstance(story.state, Running)
    assert sorted(story.state.steps) == ["book", "charge"]
    undo = story.fail("charge")
    assert undo[-1] == "StepStarted address=book~undo input=r1"
    story.complete("book~undo")
    assert isinstance(story.state, Finished)


def test_an_execution_ends_as_its_new_definition_says() -> None:
    story = charging()
    story.migrate(f'{TEXT}output: "{{{{ reserve }}}}"')
    story.complete("charge")
    story.complete("ship")
    assert isinstance(story.state, Finished)
    assert from_json(story.state.output) == "r1"


@pytest.mark.parametrize(
    ("before", "after", "told"),
    [
        ("", "timeout: 1h", ["TimerSet timer_id=execution"]),
        ("timeout: 1h", "timeout: 2h", ["TimerCancelled timer_id=execution", "TimerSet timer_id=execution"]),
        ("timeout: 1h", "", ["TimerCancelled timer_id=execution"]),
        ("timeout: 1h", "timeout: 60m", []),
    ],
)
def test_the_time_limit_is_that_of_the_new_definition(before: str, after: str, told: list[str]) -> None:
    """Counted from the start."""
    story = charging(TEXT + before)
    found = story.migrate(TEXT + after + "\ndescription: other")[1:]
    assert [line.split(" address")[0] for line in found] == told


MOVED = """
workflow: w
nodes:
  each: {forEach: "{{ [1] }}", do: {nodes: {reserve: {task: t.reserve}}}}
  charge: {task: t.charge}
"""
SLEEPS = TEXT.replace("charge: {task: t.charge", "charge: {wait: 1h, description: '").replace("{{ reserve }}", "x")


@pytest.mark.parametrize(
    ("text", "names", "message"),
    [
        (RENAMED, {}, r"no node 'reserve', which has begun \(step reserve\); say what it is called now: reserve=NEW"),
        (RENAMED, {"reserve": "boo"}, "no node 'boo'; did you mean 'book'"),
        (RENAMED, {"reserve": "book", "serve": "ship"}, "definition has no node 'serve'; did you mean 'reserve'"),
        (TEXT.replace("charge", "bill"), {"charge": "bill"}, "step charge is open: it keeps its id"),
        (RENAMED, {"reserve": "book", "ship": "book"}, "two nodes are given the same new id"),
        (TEXT, {"reserve": "charge"}, "a node is given the id of another that has begun"),
        (MOVED, {}, "node 'reserve' stands in another body than step reserve did"),
        (
            TEXT.replace('charge: {task: t.charge, with: "{{ reserve }}"}', "charge: {wait: 1h}"),
            {},
            "step charge is open, and a `task`: it cannot become a `wait`",
        ),
        (
            TEXT.replace(', compensate: {task: t.release, with: "{{ step.output }}"}', ""),
            {},
            "step reserve is to be undone if the execution fails: node 'reserve' has no `compensate`",
        ),
    ],
)
def test_what_does_not_fit_is_refused(text: str, names: dict[str, str], message: str) -> None:
    """And nothing is recorded."""
    story = charging()
    before = story.state
    with pytest.raises(Rejected, match=message):
        story.migrate(f"{text}\ndescription: other", names)
    assert story.state == before


def test_a_large_output_that_was_let_go_of_is_not_read_again() -> None:
    plain = TEXT.replace(', compensate: {task: t.release, with: "{{ step.output }}"}', "")
    large = Story.of(plain)
    large.start()
    large.complete("reserve", "x" * 5000)
    large.complete("charge")
    with pytest.raises(Rejected, match="reads the output of step reserve, which was let go of"):
        large.migrate(plain.replace("ship: {task: t.ship}", "ship: {task: t.ship, with: '{{ reserve }}'}"))
    assert large.migrate(f"{plain}\ndescription: other")


def test_a_large_output_that_was_let_go_of_may_be_read_at_the_end_no_more() -> None:
    """The output of the workflow is rendered last of all."""
    plain = TEXT.replace(', compensate: {task: t.release, with: "{{ step.output }}"}', "")
    story = Story.of(f'{plain}output: "{{{{ ship }}}}"')
    story.start()
    story.complete("reserve", "x" * 5000)
    story.complete("charge")
    with pytest.raises(Rejected, match="reads the output of step reserve"):
        story.migrate(f'{plain}output: "{{{{ reserve }}}}"')


def test_what_begins_may_end_what_is_around_it() -> None:
    """A new node fails at once: what else is new in the same turn does not begin."""
    body = "{nodes: {one: {task: t.one}, x: {task: t.x}}, edges: [one -> x]}"
    loop = f"workflow: w\nnodes: {{all: {{forEach: '{{{{ input }}}}', do: {body}}}}}"
    story = Story.of(loop)
    story.start([1])
    fails = loop.replace("x: {task: t.x}}", "x: {task: t.x}, bad: {transform: '{{ vars.none }}'}, y: {task: t.y}}")
    told = story.migrate(fails.replace("{{ vars.none }}", "{{ input.none }}"))
    assert [line.split(" ")[0] for line in told] == [
        "ExecutionMigrated",
        "StepFailed",
        "TurnFailed",
        "StepFailed",
        "ExecutionFailed",
    ]


def test_a_step_that_may_have_taken_effect_keeps_its_id() -> None:
    """A service is asked about it by a key that has the id in it."""
    story = Story.of(TEXT.replace("reserve -> charge -> ship", "reserve.error -> charge, charge -> ship"))
    story.start()
    story.fail("reserve", "timeout")
    with pytest.raises(Rejected, match="not known whether step reserve took effect: it keeps its id"):
        story.migrate(
            RENAMED.replace("book -> charge -> ship", "book.error -> charge, charge -> ship"), {"reserve": "book"}
        )


def test_the_limit_of_one_that_was_rewound_stays() -> None:
    """It has counted anew from there."""
    story = charging(f"{TEXT}timeout: 1h")
    story.clock += 5
    story.rewind(3, "none")
    story.go_back(3)
    assert "TimerCancelled" not in " ".join(story.migrate(f"{TEXT}timeout: 2h"))


def test_an_execution_that_undoes_is_compared_under_other_names_too() -> None:
    story = charging()
    story.fail("charge")
    assert divergence(story.plan, plan_of(RENAMED), story.events, names={"reserve": "book"}) is None
    story.complete("reserve~undo")
    assert divergence(story.plan, plan_of(RENAMED), story.events, names={"reserve": "book"}) is None


def test_one_that_ends_has_its_definition() -> None:
    story = charging()
    story.fail("charge")
    with pytest.raises(Rejected, match="is being undone"):
        story.migrate(f"{TEXT}\ndescription: other")
    story.complete("reserve~undo")
    with pytest.raises(ExecutionFinished, match="fork it to go on under another definition"):
        story.migrate(f"{TEXT}\ndescription: other")


def test_one_that_is_being_rewound_is_not_migrated_meanwhile() -> None:
    story = charging()
    base = fold(story.events[:2])
    between = tuple(story.events[2:])
    story.when(c.RewindExecution(to_version=2, base=base, between=between, down_to=2, actor="ann", at=minute(0)))
    with pytest.raises(Rejected, match="is being rewound"):
        story.migrate(f"{TEXT}\ndescription: other")


def test_one_that_has_not_begun_is_not_migrated() -> None:
    story = Story.of(f"{TEXT}throttle: [{{concurrency: 1}}]")
    story.crowded = None
    story.start()
    with pytest.raises(Rejected, match="has not begun"):
        story.migrate(f"{TEXT}description: other")


def test_nothing_goes_back_behind_a_migration() -> None:
    """What was decided under the other definition is not decided on again: a fork is pinned to what its past had."""
    story = charging()
    base, version = fold(story.events[:2]), len(story.events)
    story.migrate(f"{TEXT}\ndescription: other")
    command = c.RewindExecution(
        to_version=2, base=base, between=tuple(story.events[2:]), down_to=2, actor="ann", at=minute(0)
    )
    with pytest.raises(Rejected, match="migrated to another definition since version 2: go back to a version after"):
        story.when(command)
    assert len(story.events) == version + 1


def test_its_log_tells_what_was_decided_under_which_definition() -> None:
    story = charging()
    old = story.plan
    story.migrate(RENAMED, {"reserve": "book"})
    story.complete("charge")
    story.complete("ship")
    found = list(redecide(old, story.events, later={story.plan.hash: story.plan}))
    names = [type(each.command).__name__ for each in found]
    assert names == ["StartExecution", "CompleteStep", "MigrateExecution", "CompleteStep", "CompleteStep"]
    assert found[-1].after == story.state


def test_another_definition_is_compared_under_the_names_it_has() -> None:
    """Without them the first step would be another; with them all is the same."""
    story = charging()
    renamed = plan_of(RENAMED)
    parted = divergence(story.plan, renamed, story.events)
    assert parted is not None
    assert divergence(story.plan, renamed, story.events, names={"reserve": "book"}) is None
    story.migrate(RENAMED, {"reserve": "book"})
    story.complete("charge")
    assert divergence(story.plan, plan_of(f"{RENAMED}\ndescription: x"), story.events) is None
