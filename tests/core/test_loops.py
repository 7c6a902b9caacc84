"""The rules of loops, as given / when / then."""

from __future__ import annotations

import re
from typing import Any

import pytest

from daemon.core.state import Finished, Running, cause
from daemon.core.turns import MOST_EVENTS
from daemon.core.values import from_json
from tests.core.spec import Story

EACH = """
workflow: each
nodes:
  each:
    forEach: "{{ input }}"
    do:
      nodes:
        charge: {task: t.charge, with: {item: "{{ loop.item }}", of: "{{ loop.total }}"}}
        note: {transform: "{{ loop.iteration }}: {{ charge }}"}
      edges: [charge -> note]
      output: "{{ note }}"
  after: {task: t.after, with: "{{ each }}"}
edges: [each -> after]
output: "{{ after }}"
"""


def loop(kind: str, nodes: str = "{step: {transform: '{{ loop.item }}'}}", *, output: str = "{{ step }}") -> str:
    """Return a workflow that is one loop, whose output is the execution's."""
    body = f'do: {{nodes: {nodes}, output: "{output}"}}'
    return f'workflow: w\nvars: {{n: 0}}\nnodes:\n  again: {{{kind}, {body}}}\noutput: "{{{{ again }}}}"\n'


def outcome(text: str, value: Any = None) -> Any:
    """Return the output of an execution that needs no answers, or the code of its error."""
    story = Story.of(text)
    story.start(value)
    return story.result


def test_each_item_has_its_turn_and_the_steps_in_it_their_own_addresses() -> None:
    story = Story.of(EACH)
    assert story.start(["a", "b"])[1:] == [
        'LoopStarted address=each items=["a","b"] total=2 collect=true',
        "TurnStarted address=each[0]",
        'StepStarted address=each[0].charge input={"item":"a","of":2}',
    ]


def test_a_turn_that_ends_and_the_one_that_begins_are_one_append() -> None:
    story = Story.of(EACH)
    story.start(["a", "b"])
    assert story.complete("each[0].charge", 5) == [
        "StepSucceeded address=each[0].charge output=5",
        "StepSucceeded address=each[0].note output=1: 5",
        "TurnSucceeded address=each[0] output=1: 5",
        "TurnStarted address=each[1]",
        'StepStarted address=each[1].charge input={"item":"b","of":2}',
    ]


def test_the_output_of_a_loop_is_what_its_turns_gave() -> None:
    story = Story.of(EACH)
    story.start(["a", "b"])
    story.complete("each[0].charge", 5)
    assert story.complete("each[1].charge", 6)[2:] == [
        "TurnSucceeded address=each[1] output=2: 6",
        'StepSucceeded address=each output=["1: 5","2: 6"]',
        'StepStarted address=after input=["1: 5","2: 6"]',
    ]


def test_the_steps_of_a_turn_that_is_over_leave_the_state() -> None:
    story = Story.of(EACH)
    story.start(["a", "b"])
    story.complete("each[0].charge", 5)
    assert isinstance(story.state, Running)
    assert sorted(story.state.steps) == ["each", "each[0]", "each[1]", "each[1].charge"]
    story.complete("each[1].charge", 6)
    assert sorted(story.state.steps) == ["after", "each"]


def test_a_late_answer_of_a_turn_that_is_over_decides_nothing() -> None:
    story = Story.of(EACH)
    story.start(["a", "b"])
    story.complete("each[0].charge", 5)
    assert story.complete("each[0].charge", 7) == []


@pytest.mark.parametrize("items", [None, 3, "ab", {"a": 1}])
def test_items_that_are_no_list_fail_the_loop(items: Any) -> None:
    """What is nothing too: a loop without items is one that conditions alone end."""
    story = Story.of(EACH)
    assert story.start(items)[-2].startswith("StepFailed address=each error=loop")


def test_no_items_are_no_turns() -> None:
    assert Story.of(EACH).start([])[2] == "StepSucceeded address=each output=[]"


@pytest.mark.parametrize(
    ("kind", "expected"),
    [
        ("for: 3", [0, 1, 2]),
        ("for: 0", []),
        ('for: "{{ input }}"', [0, 1]),
        ("for: {from: 2, to: 4}", [2, 3, 4]),
        ("for: {from: 10, to: 1, step: -4}", [10, 6, 2]),
        ("for: {from: 2, to: 1}", []),
        ("for: {to: 1}", [0, 1]),
        ("forEach: [a, b]", ["a", "b"]),
        ("for: 3, collect: false", 2),
        ('for: 3, aggregate: "{{ loop.results | sum }}"', 3),
        ('for: 9, break: "{{ step == 2 }}"', [0, 1, 2]),
        ('for: 5, continue: "{{ loop.index % 2 == 1 }}"', [0, 2, 4]),
        ('for: 3, break: "{{ true }}", continue: "{{ loop.index == 0 }}"', [1]),
        ('for: 2, aggregate: "{{ loop.nothing }}"', "expression"),
        ("for: \"{{ 'many' }}\"", "loop"),
        ('for: "{{ true }}"', "loop"),
        ('for: {from: "{{ 0.5 }}", to: 3}', "loop"),
        ('for: {to: 3, step: "{{ 0 }}"}', "loop"),
        ("for: 3, limit: 2", "loop_limit"),
        ('forEach: "{{ input }}"', "loop"),
        ('for: 2, break: "{{ 1 }}"', "expression"),
        ('for: 2, continue: "{{ loop.nothing }}"', "expression"),
    ],
)
def test_a_loop_is_counted_and_its_conditions_are_asked(kind: str, expected: Any) -> None:
    assert outcome(loop(kind), 2) == expected


COUNT = "{step: {set: {n: '{{ vars.n + 1 }}'}}}"


@pytest.mark.parametrize(
    ("kind", "expected"),
    [
        ('while: "{{ vars.n < 3 }}"', 3),
        ('while: "{{ false }}"', None),
        ('while: "{{ (loop.previous | default(0, true)) < 4 }}"', 4),
        ('doWhile: "{{ step.n < 3 }}"', 3),
        ('doWhile: "{{ false }}"', 1),
        ('doWhile: "{{ true }}", break: "{{ vars.n == 5 }}"', 5),
        ('while: "{{ true }}", collect: true, break: "{{ vars.n == 2 }}"', [1, 2]),
        ('while: "{{ true }}", limit: 7', "loop_limit"),
        ('doWhile: "{{ true }}", limit: 7', "loop_limit"),
        ('while: "{{ vars.n }}"', "expression"),
    ],
)
def test_a_condition_ends_a_loop(kind: str, expected: Any) -> None:
    assert outcome(loop(kind, COUNT, output="{{ vars.n }}")) == expected


def test_a_loop_that_never_waits_takes_breath() -> None:
    """A decision is bounded: the next turn is begun by a timer that is due at once."""
    story = Story.of(loop("for: 1000"))
    first = story.start()
    assert MOST_EVENTS < len(first) < MOST_EVENTS + 10
    assert first[-1] == "TimerSet timer_id=again#turn-166 address=again purpose=turn due=0m"
    assert cause(story.state) == "timer"
    second = story.fire("again#turn-166", after=0)
    assert second[:2] == ["TimerFired timer_id=again#turn-166", "TurnStarted address=again[166]"]
    while isinstance(story.state, Running):
        [timer_id] = story.state.timers
        story.fire(timer_id, after=0)
    assert story.result == list(range(1000))


INNER = """
workflow: nested
nodes:
  outer:
    forEach: [1, 2]
    do:
      nodes:
        double: {transform: "{{ loop.item * 10 }}"}
        inner:
          for: {from: 1, to: 2}
          do:
            nodes:
              add: {task: t.add, with: ["{{ outer.item }}", "{{ double }}", "{{ loop.item }}", "{{ steps.double }}"]}
            output: "{{ add }}"
      edges: [double -> inner]
      output: "{{ inner }}"
output: "{{ outer }}"
"""


def test_loops_nest_and_an_inner_one_reads_what_is_around_it() -> None:
    story = Story.of(INNER)
    assert story.start()[-1] == "StepStarted address=outer[0].inner[0].add input=[1,10,1,10]"
    story.complete("outer[0].inner[0].add", "a")
    assert story.complete("outer[0].inner[1].add", "b")[1:] == [
        "TurnSucceeded address=outer[0].inner[1] output=b",
        'StepSucceeded address=outer[0].inner output=["a","b"]',
        'TurnSucceeded address=outer[0] output=["a","b"]',
        "TurnStarted address=outer[1]",
        "StepSucceeded address=outer[1].double output=20",
        "LoopStarted address=outer[1].inner total=2 first=1 collect=true",
        "TurnStarted address=outer[1].inner[0]",
        "StepStarted address=outer[1].inner[0].add input=[2,20,1,20]",
    ]
    story.complete("outer[1].inner[0].add", "c")
    story.complete("outer[1].inner[1].add", "d")
    assert story.result == [["a", "b"], ["c", "d"]]


FAILING = """
workflow: failing
nodes:
  each:
    forEach: [1, 2]
    %s
    do:
      nodes:
        nap: {wait: 5m}
        work: {task: t.work, retry: {max_attempts: 2, initial: 1m}}
        hold: {signal: go}
        tell: {transform: "{{ work.error.code }}"}
      edges: [%s]
  sorry: {transform: "{{ each.error.message }}"}
edges: [%s]
"""


def test_an_error_that_nothing_takes_fails_the_turn_the_loop_and_the_execution() -> None:
    story = Story.of(FAILING % ("", "work -> tell", "each -> sorry"))
    story.start()
    assert story.fail("each[0].work", "fatal", retryable=False) == [
        "StepFailed address=each[0].work error=fatal",
        "TimerCancelled timer_id=each[0].nap#wait",
        "TurnFailed address=each[0] error=fatal",
        "StepFailed address=each error=fatal",
        "ExecutionFailed error=fatal address=each",
    ]


def test_the_error_edge_of_a_loop_takes_the_error_of_its_turn() -> None:
    story = Story.of(FAILING % ("", "work -> tell", "each.error -> sorry"))
    story.start()
    story.fail("each[0].work", "fatal", retryable=False)
    assert story.result == {"sorry": "broken"}


def test_an_error_edge_in_a_body_keeps_the_turn_going() -> None:
    story = Story.of(FAILING % ("", "work.error -> tell", "each.error -> sorry"))
    story.start()
    assert "StepSucceeded address=each[0].tell output=fatal" in story.fail("each[0].work", "fatal", retryable=False)
    assert isinstance(story.state, Running)


def test_a_loop_may_go_on_without_a_result() -> None:
    story = Story.of(FAILING % ("on_error: continue\n    default: none", "work -> tell", "each -> sorry"))
    story.start()
    assert "StepFailed address=each error=fatal port=out output=none" in story.fail(
        "each[0].work", "fatal", retryable=False
    )


def test_what_a_failed_turn_was_waiting_for_is_forgotten() -> None:
    story = Story.of(FAILING % ("on_error: continue", "work -> tell", "each -> sorry"))
    story.start()
    story.fail("each[0].work", "fatal", retryable=False)
    assert isinstance(story.state, Finished)
    assert sorted(story.state.steps) == ["each", "sorry"]


def test_variables_begin_as_declared_and_change_in_the_order_of_the_log() -> None:
    text = """
workflow: w
vars: {a: 1, b: {c: [2]}}
nodes:
  first: {set: {a: "{{ vars.a + 1 }}", d: "{{ vars.b.c[0] }}"}}
  second: {set: {a: "{{ vars.a + vars.d }}"}}
edges: [first -> second]
output: "{{ vars }}"
"""
    story = Story.of(text)
    assert story.start()[1:4] == [
        "VariableSet address=first name=a value=2",
        "VariableSet address=first name=d value=2",
        'StepSucceeded address=first output={"a":2,"d":2}',
    ]
    assert story.result == {"a": 4, "b": {"c": [2]}, "d": 2}


def test_an_output_larger_than_allowed_fails_the_step_and_says_what_to_do() -> None:
    story = Story.of("workflow: w\nlimits: {output_bytes: 20}\nnodes: {a: {task: t.a}}")
    story.start()
    decided = story.complete("a", "x" * 30)
    assert decided[0] == "StepFailed address=a error=output_too_large unknown=true"
    assert isinstance(story.state, Finished)
    assert story.state.error is not None
    assert story.state.error.message.startswith("the output has 32 bytes, more than 20: store it elsewhere")


def test_a_context_larger_than_allowed_fails_the_step_that_would_add_to_it() -> None:
    story = Story.of(loop("for: 9, limit: 9", "{step: {transform: '0123456789'}}") + "limits: {context_bytes: 60}\n")
    story.start()
    assert story.result == "context_too_large"


def test_variables_that_are_too_large_are_not_set_at_all() -> None:
    story = Story.of(
        "workflow: w\nlimits: {context_bytes: 100}\nnodes: {a: {set: {small: 1, large: '{{ input | join }}'}}}"
    )
    assert story.start(["0123456789"] * 4)[1:] == [
        "StepFailed address=a error=context_too_large",
        "ExecutionFailed error=context_too_large address=a",
    ]


def test_items_that_are_too_large_are_not_repeated_over() -> None:
    story = Story.of(loop('forEach: "{{ input }}"') + "limits: {context_bytes: 60}\n")
    assert story.start(["0123456789"] * 4)[1] == "StepFailed address=again error=context_too_large"


LARGE = "x" * 2000
RELEASE = """
workflow: w
nodes:
  first: {task: t.a}
  second: {task: t.b, with: "{{ first }}"}
  unread: {task: t.c}
  branchy: {branch: "{{ first | length > 5 }}"}
  each: {for: 2, do: {nodes: {inside: {task: t.d, with: "{{ second }}"}}, output: 1}}
  end: {transform: "{{ each }}"}
edges: [first -> second -> each -> end, first -> unread, first -> branchy, branchy.true -> end]
output: "{{ end }}"
"""


def test_a_large_output_leaves_the_state_when_its_last_reader_has_settled() -> None:
    story = Story.of(RELEASE)
    story.start()
    assert not released(story.complete("first", LARGE))
    assert released(story.complete("unread", LARGE)) == ["unread"]
    assert released(story.complete("second", LARGE)) == ["first"]
    assert released(story.complete("each[0].inside", LARGE)) == ["each[0].inside"]
    assert isinstance(story.state, Running)
    assert story.state.size < 3 * len(LARGE)
    assert released(story.complete("each[1].inside", 1)) == ["second"]
    assert story.result == [1, 1]


def test_what_may_be_read_by_a_computed_name_or_at_the_end_stays() -> None:
    for output in ("{{ steps[input] }}", "{{ steps }}", "{{ first }}"):
        nodes = "{first: {task: t.a}, last: {wait: 1m}}"
        story = Story.of(f"workflow: w\nnodes: {nodes}\nedges: [first -> last]\noutput: '{output}'")
        story.start("first")
        assert not released(story.complete("first", LARGE))


def test_a_join_reads_what_it_brings_together() -> None:
    story = Story.of(
        "workflow: w\nnodes: {a: {task: t.a}, b: {task: t.a}, both: {join: all}}\nedges: [a -> both, b -> both]"
    )
    story.start()
    assert not released(story.complete("a", LARGE))
    assert released(story.complete("b", 1)) == ["a"]


def test_a_name_that_is_missing_is_explained_beside_what_was_released() -> None:
    """The names of what there is are told without reading it."""
    story = Story.of("""
workflow: w
nodes:
  a: {task: t.a}
  b: {task: t.b, with: "{{ a }}"}
  c: {branch: "{{ false }}"}
  d: {transform: 1}
  e: {task: t.e}
  f: {task: t.f, with: "{{ steps.d }}"}
edges: [a -> b -> e -> f, c.true -> d -> f]
output: "{{ b }}"
""")
    story.start()
    assert released([*story.complete("a", LARGE), *story.complete("b", 1)]) == ["a"]
    story.complete("e")
    assert "'steps' has no 'd'; it has: a, b, c, e" in str(story.state)


def released(decided: list[str]) -> list[str]:
    """Return the addresses whose outputs were released, of all events."""
    found = [line for line in decided if line.startswith("OutputsReleased")]
    return [address for line in found for address in re.findall(r'"([^"]+)"', line)]


def test_a_loop_of_many_turns_keeps_only_its_items() -> None:
    story = Story.of(loop('forEach: "{{ input }}", collect: false', "{step: {task: t.x}}"))
    story.start(list(range(200)))
    for index in range(199):
        story.complete(f"again[{index}].step", index)
        assert isinstance(story.state, Running)
        assert len(story.state.steps) == 3
    assert from_json(story.state.steps["again"].last) == 198  # type: ignore[union-attr]
