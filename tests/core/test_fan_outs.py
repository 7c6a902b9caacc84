"""The rules of fan-outs, as given / when / then."""

from __future__ import annotations

from typing import Any

import pytest

from daemon.core.effects import CancelSteps, effects
from daemon.core.state import Running
from tests.core.spec import Story

FAN = """
workflow: fan
nodes:
  fan:
    parallel: "{{ input }}"
    %s
    do:
      nodes: {get: {task: t.get, with: "{{ parallel.currentItem }}", retry: {max_attempts: 2, initial: 1m}}}
      output: "{{ get }}"
  after: {transform: "{{ fan | default(fan.error) }}"}
edges: [fan -> after]
output: "{{ after }}"
"""


def fan(keys: str = "") -> Story:
    return Story.of(FAN % keys)


def test_the_turns_of_a_fan_out_begin_together() -> None:
    assert fan().start(["a", "b"])[1:] == [
        'FanOutExpanded address=fan items=["a","b"] total=2 collect=true',
        "TurnStarted address=fan[0]",
        "TurnStarted address=fan[1]",
        "StepStarted address=fan[0].get input=a",
        "StepStarted address=fan[1].get input=b",
    ]


def test_the_output_is_in_the_order_of_the_items_whichever_ends_first() -> None:
    story = fan()
    story.start(["a", "b"])
    assert story.complete("fan[1].get", 2) == [
        "StepSucceeded address=fan[1].get output=2",
        "TurnSucceeded address=fan[1] output=2",
    ]
    assert story.complete("fan[0].get", 1)[2] == "StepSucceeded address=fan output=[1,2]"
    assert story.result == [1, 2]


def test_a_number_is_so_many_turns() -> None:
    story = fan()
    assert story.start(2)[1] == "FanOutExpanded address=fan total=2 collect=true"
    assert story.started == ["fan[0].get", "fan[1].get"]


@pytest.mark.parametrize("value", [True, -1, 0.5, "x", {"a": 1}])
def test_anything_else_is_an_error(value: Any) -> None:
    story = fan()
    assert "StepFailed address=fan error=parallel" in story.start(value)


def test_no_more_turns_than_allowed_are_under_way() -> None:
    story = fan("concurrency: 2")
    assert story.start(3)[-1] == "StepStarted address=fan[1].get input=1"
    assert story.complete("fan[1].get")[-2:] == [
        "TurnStarted address=fan[2]",
        "StepStarted address=fan[2].get input=2",
    ]


def test_the_limit_of_the_workflow_holds_across_turns() -> None:
    story = Story.of("concurrency: 1" + FAN % "")
    assert story.start(2)[-1] == "StepQueued address=fan[1].get"
    assert "StepStarted address=fan[1].get input=1" in story.complete("fan[0].get")


def test_the_first_failure_gives_the_other_turns_up() -> None:
    story = fan()
    story.start(3)
    story.complete("fan[1].get")
    decided = story.fail("fan[0].get", "fatal", retryable=False)
    assert decided == [
        "StepFailed address=fan[0].get error=fatal",
        "TurnFailed address=fan[0] error=fatal",
        "TurnAbandoned address=fan[2]",
        "StepFailed address=fan error=fatal",
        "ExecutionFailed error=fatal address=fan",
    ]


def test_failures_may_be_collected() -> None:
    story = fan("on_failure: collect")
    story.start(2)
    assert story.fail("fan[0].get", "fatal", retryable=False)[1:] == ["TurnFailed address=fan[0] error=fatal"]
    story.complete("fan[1].get", 7)
    first, second = story.result
    assert (first["error"]["code"], second) == ("fatal", 7)


def test_a_retry_in_one_turn_does_not_hold_up_the_others() -> None:
    story = fan("concurrency: 1\n    on_failure: collect")
    story.start(2)
    story.fail("fan[0].get")
    assert story.fire("fan[0].get#retry", after=1)[-1] == "StepStarted address=fan[0].get attempt=2"
    assert story.fail("fan[0].get", attempt=2)[-1] == "StepStarted address=fan[1].get input=1"


def test_enough_successes_end_it_and_give_the_others_up() -> None:
    story = fan("enough: 1")
    story.start(3)
    story.fail("fan[2].get")
    assert story.complete("fan[1].get", "fast") == [
        "StepSucceeded address=fan[1].get output=fast",
        "TurnSucceeded address=fan[1] output=fast",
        "TurnAbandoned address=fan[0]",
        "TimerCancelled timer_id=fan[2].get#retry",
        "TurnAbandoned address=fan[2]",
        'StepSucceeded address=fan output=["fast"]',
        'StepSucceeded address=after output=["fast"]',
        'ExecutionCompleted output=["fast"]',
    ]


def test_fewer_than_enough_is_a_failure() -> None:
    story = fan("enough: 2\n    on_failure: collect")
    story.start(2)
    story.complete("fan[1].get", "fast")
    assert "StepFailed address=fan error=not_enough" in story.fail("fan[0].get", "fatal", retryable=False)


def test_results_may_be_aggregated() -> None:
    made = "{{ parallel.results | length }} of {{ parallel.total }}, {{ parallel.failed }} failed"
    story = fan(f'on_failure: collect\n    aggregate: "{made}"')
    story.start(2)
    story.complete("fan[1].get", 1)
    story.fail("fan[0].get", "fatal", retryable=False)
    assert story.result == "2 of 2, 1 failed"


def test_a_fan_out_of_many_pure_turns_takes_breath() -> None:
    body = '{nodes: {x: {transform: "{{ parallel.index }}"}}, output: "{{ x }}"}'
    story = Story.of(f'workflow: w\nnodes: {{fan: {{parallel: 1000, do: {body}}}}}\noutput: "{{{{ fan }}}}"')
    story.start()
    while isinstance(story.state, Running):
        [timer_id] = story.state.timers
        story.fire(timer_id, after=0)
    assert story.result == list(range(1000))


def test_a_turn_that_ends_while_the_fan_out_takes_breath_begins_none() -> None:
    story = fan("concurrency: 1000")
    story.start(800)
    assert isinstance(story.state, Running)
    [timer_id] = story.state.timers
    assert story.complete("fan[7].get", 1)[2:] == ["TurnSucceeded address=fan[7] output=1"]
    assert story.fire(timer_id, after=0)[1] == "TurnStarted address=fan[498]"


def test_fan_outs_and_loops_nest_four_deep() -> None:
    text = """
workflow: deep
nodes:
  a:
    parallel: 2
    do:
      nodes:
        b:
          for: 2
          do:
            nodes:
              c:
                parallel: 2
                do:
                  nodes:
                    d:
                      forEach: [x, y]
                      do:
                        nodes:
                          e:
                            transform: "{{ a.index }}{{ b.index }}{{ c.index }}{{ loop.item }}{{ parallel.index }}"
                        output: "{{ e }}"
                  output: "{{ d | join(' ') }}"
            output: "{{ c | join(' ') }}"
      output: "{{ b | join(' ') }}"
output: "{{ a | join(' ') }}"
"""
    story = Story.of(text)
    story.start()
    expected = [f"{a}{b}{c}{d}{c}" for a in (0, 1) for b in (0, 1) for c in (0, 1) for d in "xy"]
    assert story.result == " ".join(expected)


def test_turns_in_turns_are_given_up_with_what_is_around_them() -> None:
    text = """
workflow: deep
nodes:
  outer:
    parallel: 2
    do:
      nodes:
        first: {task: t.first}
        inner: {parallel: 2, concurrency: 1, do: {nodes: {work: {task: t.work}}}}
  after: {task: t.after}
edges: [outer.error -> after]
"""
    story = Story.of(text)
    story.start()
    story.complete("outer[1].inner[0].work")
    before = len(story.events)
    assert story.fail("outer[0].first", "fatal", retryable=False) == [
        "StepFailed address=outer[0].first error=fatal",
        "TurnFailed address=outer[0] error=fatal",
        "TurnAbandoned address=outer[1]",
        "StepFailed address=outer error=fatal port=error",
        "StepStarted address=after input={}",
    ]
    assert effects(story.state, story.events[before:])[:2] == (CancelSteps("outer[0]"), CancelSteps("outer[1]"))
    assert isinstance(story.state, Running)
    assert (set(story.state.steps), dict(story.state.in_flight)) == ({"outer", "after"}, {"after": 1})


def test_a_failure_deep_inside_gives_up_all_that_is_around_it_at_the_level_that_takes_it() -> None:
    text = """
workflow: deep
nodes:
  outer:
    parallel: 2
    on_failure: collect
    do:
      nodes:
        inner:
          parallel: 2
          do:
            nodes: {hold: {signal: go}, nap: {wait: 1h}, work: {task: t.work}}
  after: {transform: "{{ outer[0].error.code }}"}
edges: [outer -> after]
output: "{{ after }}"
"""
    story = Story.of(text)
    story.start()
    assert story.fail("outer[0].inner[1].work", "fatal", retryable=False) == [
        "StepFailed address=outer[0].inner[1].work error=fatal",
        "TimerCancelled timer_id=outer[0].inner[1].nap#wait",
        "TurnFailed address=outer[0].inner[1] error=fatal",
        "TimerCancelled timer_id=outer[0].inner[0].nap#wait",
        "TurnAbandoned address=outer[0].inner[0]",
        "StepFailed address=outer[0].inner error=fatal",
        "TurnFailed address=outer[0] error=fatal",
    ]
    assert isinstance(story.state, Running)
    assert all(not address.startswith("outer[0].") for address in story.state.steps)
    assert len(story.state.awaiting) == 2
    assert len(story.state.timers) == 2
    assert len(story.state.in_flight) == 2
