"""Deciding a log again: where its decisions are, and where another definition parts from it."""

from __future__ import annotations

import pytest

from daemon.core.events import StepSkipped, VariableSet
from daemon.core.redeciding import divergence, redecide
from daemon.core.values import to_json
from tests.core.spec import Story, minute
from tests.support.workflows import plan_of

TEXT = """
workflow: w
nodes:
  a: {task: t.a, with: "{{ input }}", retry: {max_attempts: 2, initial: 1m, jitter: 0.5}}
  b: {task: t.b, with: "{{ a }}"}
edges: [a -> b]
"""


def told(story: Story) -> list[tuple[str, int]]:
    """Return the commands that the log tells, each with the version that it leads to."""
    decisions = redecide(story.plan, story.events, story.first)
    return [(type(each.command).__name__, each.after.version) for each in decisions]


def ran() -> Story:
    story = Story.of(TEXT)
    story.start(1)
    story.fail("a", jitter=0.3)
    story.fire("a#retry", after=1)
    story.complete("a", 2, attempt=2)
    story.complete("b", 3)
    return story


def test_each_decision_is_found() -> None:
    """With its command, and the events that it has caused: the dice follow from the time of the retry."""
    story = ran()
    names = ["StartExecution", "FailStep", "FireTimer", "CompleteStep", "CompleteStep"]
    assert told(story) == list(zip(names, [2, 4, 6, 8, 10], strict=True))


def test_a_retry_without_a_pause_leaves_nothing_to_chance() -> None:
    story = Story.of(TEXT.replace("initial: 1m", "initial: 0s"))
    story.start(1)
    story.fail("a", jitter=0.3)
    assert told(story)[-1] == ("FailStep", 4)


def test_what_another_program_has_decided_is_a_fact() -> None:
    """An event that no command of this program causes is told by itself."""
    story = ran()
    events = [*story.events[:2], VariableSet(address="", name="x", value=to_json(1), at=minute(0)), *story.events[2:]]
    found = [each.events[0].NAME for each in redecide(story.plan, events) if each.command is None]
    assert found == ["VariableSet"]
    skipped = [*story.events[:2], StepSkipped(address="z", at=minute(0))]
    assert [each.command for each in redecide(story.plan, skipped)][-1] is None
    assert divergence(story.plan, story.plan, events) is None


def test_a_decision_with_many_events_is_one() -> None:
    """However long: a loop of much goes on by itself."""
    story = Story.of("""
workflow: w
nodes:
  each:
    for: 150
    do: {nodes: {x: {transform: "{{ loop.index }}"}}}
""")
    story.start()
    assert len(story.events) > 256
    names = [name for name, _ in told(story)]
    assert (names[0], "NoneType" in names) == ("StartExecution", False)


def test_a_rewind_and_what_follows_it_is_told() -> None:
    story = ran()
    story.rewind(8, mode="none")
    story.go_back(8)
    story.complete("b", 4)
    names = [name for name, _ in told(story)]
    assert names[:5] == ["StartExecution", "FailStep", "FireTimer", "CompleteStep", "CompleteStep"]
    assert names[-1] == "CompleteStep"


@pytest.mark.parametrize(
    ("change", "version", "name"),
    [
        (('with: "{{ a }}"', 'with: ["{{ a }}"]'), 8, "StepStarted"),
        (("max_attempts: 2", "max_attempts: 1"), 3, "StepFailed"),
    ],
)
def test_the_first_difference_is_told(change: tuple[str, str], version: int, name: str) -> None:
    """With both sides; what comes after it is not asked any more."""
    story = ran()
    parted = divergence(story.plan, plan_of(TEXT.replace(*change)), story.events)
    assert parted is not None
    assert parted.recorded is not None
    assert parted.found is not None
    assert (parted.version, parted.recorded.NAME, parted.found.NAME) == (version, name, name)


def test_a_decision_that_goes_on_or_ends_sooner_is_a_difference() -> None:
    """An event more is found without one that is recorded, and the reverse."""
    story = ran()
    longer = plan_of(TEXT.replace("edges: [a -> b]", "  c: {transform: 1}\nedges: [a -> b -> c]"))
    parted = divergence(story.plan, longer, story.events)
    assert parted is not None
    assert (parted.recorded.NAME, parted.found.NAME) == ("ExecutionCompleted", "StepSucceeded")  # type: ignore[union-attr]  # both are there
    stops = plan_of(TEXT.replace("edges: [a -> b]", "undo: none\nedges: [a -> b]"))
    assert divergence(story.plan, stops, story.events) is None
    queued = plan_of("concurrency: 1\n" + TEXT.replace("edges: [a -> b]", "  c: {task: t.c}\nedges: [a -> b]"))
    parted = divergence(story.plan, queued, story.events)
    assert parted is not None
    assert (parted.version, parted.recorded) == (3, None)


def test_a_command_that_would_be_refused_is_told() -> None:
    """What the other definition does not take, its executions cannot have been sent."""
    story = Story.of("workflow: w\nsignals: {go: {}, stay: {}}\nnodes: {a: {task: t.a}}")
    story.start()
    story.signal("go")
    parted = divergence(story.plan, plan_of("workflow: w\nsignals: {stay: {}}\nnodes: {a: {task: t.a}}"), story.events)
    assert parted is not None
    assert (parted.version, parted.found) == (3, None)
    assert "no signal 'go'" in parted.reason


def test_a_state_that_does_not_fit_is_told() -> None:
    """A fork begins where a step is at work that the other definition does not have."""
    fork = ran().fork(8)
    fork.complete("b", 3)
    without = plan_of("workflow: w\nnodes: {a: {task: t.a}}")
    parted = divergence(fork.plan, without, fork.events, fork.first)
    assert parted is not None
    assert "the state does not fit the definition" in parted.reason
    fork = ran().fork(8)
    fork.fail("b")
    assert [each.command for each in redecide(without, fork.events[3:4], fork.first)] == [None]


def test_a_grant_that_fails_its_step_is_told() -> None:
    """What the step is sent is rendered when its turn comes, and may have become wrong meanwhile."""
    story = Story.of("""
workflow: w
vars: {x: 1}
updates: {zero: {set: {x: 0}}}
nodes: {a: {task: t.a, with: "{{ 1 // vars.x }}", throttle: {concurrency: 1}}}
""")
    story.crowded = None
    story.start()
    story.update("zero")
    story.crowded = ()
    story.grant("a")
    assert [name for name, _ in told(story)] == ["StartExecution", "HandleUpdate", "GrantSlots"]
