"""Whose data an execution holds: decided at its start, kept by what goes on from it."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import msgspec.inspect as types
import pytest
from msgspec.structs import replace

from daemon.core import commands as c
from daemon.core import events as e
from daemon.core.decide import decide
from daemon.core.errors import InvalidInput
from daemon.core.evolve import fold
from daemon.core.personal import COUNTED, PERSONAL_TEXTS
from daemon.core.state import INITIAL, Finished, Running
from daemon.core.subjects import LONGEST_SUBJECT, SubjectForgotten, UnknownSubject
from daemon.core.values import to_json
from tests.core.spec import EXECUTION, FORK, Story, minute
from tests.support.definitions import problems_of
from tests.support.workflows import plan_of

if TYPE_CHECKING:
    from collections.abc import Iterator

    from msgspec import Struct

TEXT = """
workflow: w
subject: "{{ input.who }}"
nodes: {a: {task: t.a, cache: {key: "{{ input.n }}", ttl: 1h}}}
"""
UNDOABLE = """
workflow: w
subject: "{{ input.who }}"
nodes: {a: {task: t.a, compensate: {task: t.undo}}}
"""
STRUCTURE = {
    *("actor", "address", "addresses", "approver", "approvers", "cache", "cancelled", "choice", "code", "decision"),
    *(
        "definition",
        "draining",
        "failed_step",
        "function",
        "handler",
        "how",
        "id",
        "kind",
        "limit",
        "mode",
        "name",
        "node",
    ),
    *("non_retryable", "on_close", "on_timeout", "place", "pointer", "port", "purpose", "rewind_id", "scope", "secret"),
    *("status", "then", "timer_id", "to", "traceparent", "trigger_name", "type", "workflow", "execution_id"),
}
"""Fields that stay in the clear in every event that has them."""
MIXED = {("Parent", "key"), ("ApprovalRequested", "comment"), ("MessageCollected", "message")}
"""Fields that stay in the clear, and have the name of another that does not."""


@pytest.mark.parametrize(("who", "subject"), [("ann", "ann"), (7, "7")])
def test_the_subject_is_decided_at_the_start(who: Any, subject: str) -> None:
    """It is in the first event, and in every state from then on."""
    story = Story.of(TEXT)
    story.start({"who": who})
    first = story.events[0]
    assert isinstance(first, e.ExecutionStarted)
    assert (first.subject, story.state.subject) == (subject, subject)
    story.complete("a", 1)
    assert (type(story.state), story.state.subject) == (Finished, subject)


@pytest.mark.parametrize("who", ["", "x" * (LONGEST_SUBJECT + 1), None, True, [1], {}, "$forgotten:ab", 1.5])
def test_what_is_no_subject_starts_nothing(who: Any) -> None:
    """An execution without one would hold the data of nobody knows whom."""
    with pytest.raises(InvalidInput, match="the subject must be"):
        Story.of(TEXT).start({"who": who})


def test_a_subject_that_cannot_be_read_starts_nothing() -> None:
    with pytest.raises(InvalidInput, match="the subject cannot be read"):
        Story.of(TEXT).start({})


def test_a_workflow_that_says_nothing_takes_its_parents_subject() -> None:
    """A child's data are its parent's, unless its own workflow says whose they are."""
    plain = "workflow: w\nnodes: {a: {task: t.a}}"
    start = c.StartExecution(
        execution_id=EXECUTION, input=to_json({"who": "bob"}), subject="ann", actor="test", at=minute(0)
    )
    for text, subject in ((plain, "ann"), (TEXT, "bob")):
        first = decide(plan_of(text), Story.of(text).state, start)[0]
        assert isinstance(first, e.ExecutionStarted)
        assert first.subject == subject


def test_results_are_shared_with_executions_of_the_same_subject_only() -> None:
    """The key of a cached result has the subject in it."""
    keys = []
    for who, n in (("ann", 1), ("bob", 1), ("ann", 1)):
        story = Story.of(TEXT)
        story.start({"who": who, "n": n})
        keys += [event.cache_key for event in story.events if isinstance(event, e.StepStarted)]
    assert keys[0] == keys[2] != keys[1]


def test_nothing_goes_on_from_what_was_forgotten() -> None:
    """No rewind, no undo, no fork: the values that they would need are gone. What does nothing still does nothing."""
    story = Story.of(UNDOABLE)
    story.start({"who": "ann"})
    running = story.state
    story.complete("a", 1)
    assert isinstance(running, Running)
    assert isinstance(story.state, Finished)
    gone, past = replace(story.state, subject="$forgotten:ab"), replace(running, subject="$forgotten:ab")
    at = minute(1)
    fork = c.ForkExecution(
        execution_id=FORK, source=EXECUTION, at_version=2, base=past, edits=e.Edits(), actor="test", at=at
    )
    for state, command in (
        (gone, c.UndoExecution(reason="", actor="test", at=at)),
        (gone, c.RewindExecution(to_version=2, down_to=2, mode="none", base=past, between=(), actor="test", at=at)),
        (INITIAL, fork),
    ):
        with pytest.raises(SubjectForgotten):
            decide(story.plan, state, command)
    assert decide(story.plan, gone, c.FireTimer(timer_id="a#retry", at=at)) == ()


@pytest.mark.parametrize("mark", ["$forgotten", "$deleted"])
def test_a_page_that_is_gone_had_as_many_items(mark: str) -> None:
    """So the turns that there were still fit the loop."""
    story = Story.of("workflow: w\nnodes: {l: {forEach: {pages: {task: t.p}}, do: {nodes: {b: {task: t.b}}}}}")
    story.start()
    story.complete("l[0]~page", {"items": [1, 2]})
    tombstone = to_json({mark: "x"})
    events = [
        replace(event, output=tombstone) if isinstance(event, e.StepSucceeded) else event for event in story.events
    ]
    state = fold(events)
    assert isinstance(state, Running)
    assert state.repeating("l").items == (tombstone, tombstone)


def test_a_list_that_is_gone_had_as_many_items() -> None:
    """A loop over it folds: a payload that was dropped, or forgotten, stands for each of them."""
    story = Story.of("workflow: w\nnodes: {l: {forEach: '{{ input }}', do: {nodes: {b: {task: t.b}}}}}")
    story.start([1, 2])
    tombstone = to_json({"$deleted": "x"})
    events = [replace(event, items=tombstone) if isinstance(event, e.LoopStarted) else event for event in story.events]
    state = fold(events)
    assert isinstance(state, Running)
    assert state.repeating("l").items == (tombstone, tombstone)


def test_before_the_start_nobody_knows_whose_data_it_holds() -> None:
    assert INITIAL.subject == ""
    assert "no execution holds data of this subject" in str(UnknownSubject())


def test_a_batch_has_no_subject() -> None:
    """It would have several."""
    text = f"{TEXT}start: {{batch: {{size: 2, within: 1m}}}}"
    problem, *_ = problems_of(text)
    assert "several subjects" in problem.message


def strings(kind: types.Type) -> Iterator[tuple[str, str]]:
    """Give the fields that hold texts, as (class, field)."""
    match kind:
        case types.StructType(cls=cls, fields=fields):
            yield from ((cls.__name__, field.name) for field in fields if holds_text(field.type))
            for field in fields:
                yield from strings(field.type)
        case types.UnionType(types=several):
            for each in several:
                yield from strings(each)
        case types.VarTupleType(item_type=item) | types.DictType(value_type=item):
            yield from strings(item)


def holds_text(kind: types.Type) -> bool:
    match kind:
        case types.UnionType(types=several):
            return any(map(holds_text, several))
        case types.VarTupleType(item_type=item):
            return holds_text(item)
    return isinstance(kind, types.StrType)


def test_every_text_of_an_event_is_a_value_or_structure() -> None:
    """Whoever adds a field says which: a value is sealed with the subject's key, structure never is."""
    found: set[tuple[str, str]] = set()
    every: tuple[type[Struct], ...] = e.EVENT_TYPES
    for cls in every:
        found |= set(strings(types.type_info(cls)))
    open_ = {(owner, name) for owner, name in found if name in STRUCTURE} | MIXED
    assert found == open_ | PERSONAL_TEXTS
    assert not open_ & PERSONAL_TEXTS
    assert {owner for owner, _ in COUNTED} <= {cls.__name__ for cls in every}
