"""The rules of declared signals, updates and queries, as given / when / then."""

from __future__ import annotations

from typing import Any

import pytest

from daemon.core.errors import ExecutionFinished, InvalidInput, Misconfigured, Rejected, UnknownName
from daemon.core.updates import answer_query
from tests.core.spec import Story
from tests.support.workflows import plan_of

CART = """
workflow: cart
vars: {items: [], open: true}
signals:
  paid: {data: {type: object, required: [amount]}}
  noted: {}
updates:
  add:
    data: {type: string}
    accept: "{{ vars.open }}"
    refusal: "{{ update.data }} comes too late"
    set: {items: "{{ vars.items + [update.data] }}"}
    result: "{{ vars.items | length }}"
  close: {set: {open: false}, signal: noted}
  broken: {result: "{{ vars.items[0].nothing.there }}"}
queries:
  items: {result: "{{ vars.items }}"}
  nth: {data: {type: integer}, result: "{{ vars.items[query.data] }}"}
  deep: {result: "{{ vars.items[0].nothing.there }}"}
  paid: {result: "{{ pay.amount | default(0) }}"}
nodes:
  pay: {signal: paid}
  note: {signal: noted}
"""


def cart() -> Story:
    story = Story.of(CART)
    story.start()
    return story


def ask(story: Story, name: str, data: Any = None) -> object:
    return answer_query(story.plan, story.state, name, data)


def test_an_update_sets_variables_and_gives_a_result_in_one_decision() -> None:
    story = cart()
    story.update("add", "lamp")
    assert story.update("add", "vase", update_id="u2") == [
        'VariableSet address= name=items value=["lamp","vase"]',
        "UpdateHandled update_id=u2 name=add data=vase result=2",
    ]


def test_an_update_that_is_not_accepted_has_no_effect_and_says_why() -> None:
    story = cart()
    story.update("close")
    with pytest.raises(Rejected, match="lamp comes too late"):
        story.update("add", "lamp", update_id="u2")
    assert ask(story, "items") == []


@pytest.mark.parametrize(
    ("name", "data", "error", "message"),
    [
        ("add", 7, InvalidInput, "expected text"),
        ("ad", "lamp", UnknownName, "did you mean 'add'"),
        ("broken", None, InvalidInput, "cannot be handled"),
    ],
)
def test_what_cannot_be_handled_is_refused(name: str, data: Any, error: type[Exception], message: str) -> None:
    with pytest.raises(error, match=message):
        cart().update(name, data)


def test_an_update_may_stand_for_a_signal() -> None:
    assert cart().update("close") == [
        "VariableSet address= name=open value=false",
        "UpdateHandled update_id=u1 name=close data=null",
        "SignalReceived signal_id=u1#noted name=noted data=null",
        "StepSucceeded address=note output=null signal_id=u1#noted",
    ]


def test_variables_that_would_be_too_large_are_refused() -> None:
    story = Story.of("""
workflow: w
limits: {output_bytes: 10}
vars: {a: 0}
updates: {put: {set: {a: "{{ update.data }}"}}}
nodes: {s: {signal: go}}
""")
    story.start()
    with pytest.raises(InvalidInput, match="bytes, more than 10"):
        story.update("put", "x" * 10)


def test_an_execution_at_its_end_takes_no_updates() -> None:
    story = Story.of("""
workflow: w
updates: {put: {}}
nodes: {a: {task: t, compensate: {task: u}}, b: {task: t}}
edges: [a -> b]
""")
    story.start()
    story.complete("a")
    story.fail("b")
    with pytest.raises(ExecutionFinished, match="at its end"):
        story.update("put")
    story.complete("a~undo")
    with pytest.raises(ExecutionFinished, match="has failed"):
        story.update("put")


def test_a_signal_that_is_not_declared_or_of_another_shape_is_refused() -> None:
    story = cart()
    with pytest.raises(UnknownName, match="did you mean 'paid'"):
        story.signal("payed")
    with pytest.raises(InvalidInput, match="amount"):
        story.signal("paid", {})
    assert story.signal("paid", {"amount": 3})[0].startswith("SignalReceived")


def test_a_query_reads_variables_and_outputs_also_after_the_end() -> None:
    story = cart()
    story.update("add", "lamp")
    assert (ask(story, "items"), ask(story, "nth", 0), ask(story, "paid")) == (["lamp"], "lamp", 0)
    story.signal("paid", {"amount": 3})
    story.signal("noted", signal_id="s2")
    assert ask(story, "paid") == 3


@pytest.mark.parametrize(
    ("name", "data", "error"),
    [("nth", "x", InvalidInput), ("item", None, UnknownName), ("deep", None, InvalidInput)],
)
def test_what_cannot_be_answered_is_refused(name: str, data: Any, error: type[Exception]) -> None:
    story = cart()
    story.update("add", "lamp")
    with pytest.raises(error):
        ask(story, name, data)


def test_what_is_wrong_in_a_definition_is_named() -> None:
    with pytest.raises(Misconfigured) as wrong:
        plan_of("""
workflow: w
signals: {paid: {data: {type: nothing}}}
updates:
  add: {accept: "{{ item }}", signal: payed, refusal: "{{ 1 + }}"}
queries: {all: {result: "{{ 1 + }}"}}
triggers: [{name: t, memory: {topic: x}, signal: {name: paied, execution: "{{ message.key }}"}}]
nodes: {a: {signal: {name: pait}}, b: {signal: "{{ input }}"}}
""")
    told = str(wrong.value)
    for part in (
        "not a JSON Schema",
        "`item`",
        "'payed'",
        "'paied'",
        "'pait'",
        "queries.all.result",
        "updates.add.refusal",
    ):
        assert part in told or part in {".".join(map(str, each.path)) for each in wrong.value.problems}, part
