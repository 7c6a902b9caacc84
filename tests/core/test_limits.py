"""Limits that executions share: what is taken at once, what is asked for, and what is given back."""

from __future__ import annotations

import pytest

from daemon.core import commands as c
from daemon.core.admission import NoSlot, NotCollecting, message_slot
from daemon.core.decide import decide
from daemon.core.errors import Misconfigured
from daemon.core.events import Slot
from daemon.core.state import Finished, Limited, NotStarted, Queued, Running, cause
from daemon.core.throttle import SharedLimit
from daemon.core.values import from_json
from daemon.nodes import builtin_node_types
from daemon.runtime.definitions import Compiler
from tests.core.spec import Story, minute

ONE = """
workflow: t
nodes:
  a:
    task: t.a
    with: "{{ input }}"
    retry: {max_attempts: 2, initial: 1m}
    throttle: {concurrency: 1, key: "{{ input }}"}
"""


def running(story: Story) -> Running:
    assert isinstance(story.state, Running)
    return story.state


def test_a_free_slot_is_taken_in_the_append_that_starts_the_step() -> None:
    """Nothing waits where nobody is known to wait."""
    story = Story.of(ONE)
    assert story.start("k")[1:] == [
        'SlotsTaken address=a slots=[{"limit":"t/a","key":"k","most":1}]',
        "StepStarted address=a input=k",
    ]
    story.complete("a")
    assert isinstance(story.state, Finished)


def test_what_is_crowded_is_asked_for() -> None:
    """The step waits, and that is the cause; a grant takes the slot and starts it."""
    story = Story.of(ONE)
    story.crowded = {("t/a", "k")}
    assert story.start("k")[1:] == ['SlotsAsked address=a slots=[{"limit":"t/a","key":"k","most":1}]']
    assert (cause(story.state), isinstance(running(story).steps["a"], Limited)) == ("limit", True)
    assert story.grant("a") == [
        'SlotsTaken address=a slots=[{"limit":"t/a","key":"k","most":1}] waited=true',
        "StepStarted address=a input=k",
    ]


def test_a_slot_is_given_back_between_attempts() -> None:
    """The next attempt takes or asks anew, and sends what the first has sent."""
    story = Story.of(ONE)
    story.start("k")
    story.fail("a")
    assert not running(story).holding
    story.crowded = None
    assert story.fire("a#retry", after=1)[1].startswith("SlotsAsked address=a")
    story.crowded = ()
    assert story.grant("a")[1] == "StepStarted address=a attempt=2"
    assert from_json(running(story).steps["a"].input) == "k"  # type: ignore[union-attr]  # in flight


def test_a_grant_that_comes_too_late_is_refused() -> None:
    """Where the store has refused the take, the grant changes nothing and the step waits on."""
    story = Story.of(ONE)
    story.crowded = None
    story.start("k")
    with pytest.raises(NoSlot):
        decide(story.plan, story.state, c.GrantSlots(address="a", at=minute(0)), None)


def test_a_step_of_a_paused_execution_takes_nothing() -> None:
    """It goes back to the execution's own queue, and asks again after the pause."""
    story = Story.of(ONE)
    story.crowded = None
    story.start("k")
    story.pause()
    story.crowded = ()
    assert story.grant("a") == ["StepQueued address=a"]
    assert (isinstance(running(story).steps["a"], Queued), len(running(story).limited)) == (True, 0)
    assert story.resume()[1].startswith("SlotsTaken address=a")


def test_a_retry_that_is_queued_asks_too() -> None:
    """After a pause the second attempt takes its slots like the first."""
    story = Story.of(ONE)
    story.start("k")
    story.fail("a")
    story.pause()
    assert story.fire("a#retry", after=1)[1] == "StepQueued address=a"
    assert [line.split()[0] for line in story.resume()] == ["ExecutionResumed", "SlotsTaken", "StepStarted"]


def test_a_key_that_has_no_value_fails_the_step() -> None:
    """As any expression does; also when it is a retry's."""
    broken = Story.of(ONE.replace('key: "{{ input }}"', 'key: "{{ input.missing }}"'))
    assert broken.start({})[1].startswith("StepFailed address=a")


def test_a_retry_whose_priority_is_none_any_more_fails() -> None:
    """What it is rendered from may have changed meanwhile."""
    story = Story.of("""
workflow: t
vars: {rank: 1}
nodes:
  a: {task: t.a, retry: {max_attempts: 2, initial: 1m}, throttle: {concurrency: 1}, priority: "{{ vars.rank }}"}
  b: {signal: go}
  c: {set: {rank: high}}
edges: [b -> c]
""")
    story.start()
    story.fail("a")
    story.signal("go")
    assert story.fire("a#retry", after=1)[1] == "StepFailed address=a error=expression"


def test_a_step_that_waits_for_a_limit_has_its_place_among_the_execution_s_own() -> None:
    """So a fan-out of thousands asks for as many slots as it could use at once."""
    story = Story.of("""
workflow: t
concurrency: 2
nodes: {f: {parallel: 4, do: {nodes: {a: {task: t.a, throttle: {concurrency: 1}}}}}}
""")
    story.crowded = None
    story.start()
    assert (len(running(story).limited), len(running(story).queue)) == (2, 2)
    story.crowded = ()
    story.grant("f[0].a")
    assert (len(running(story).limited), len(running(story).holding)) == (1, 1)


def test_a_compensation_does_not_take_the_place_of_a_step_that_waits_for_a_limit() -> None:
    """A group is undone while others go on: when those have their slots, no more are in flight than there may be."""
    story = Story.of("""
workflow: t
concurrency: 1
nodes:
  group:
    saga: automatic
    on_error: continue
    do: {nodes: {a: {task: t.a, compensate: {task: t.undo}}, no: {fail: no}}, edges: [a -> no]}
  ask: {signal: go}
  b: {task: t.b, throttle: {concurrency: 1}}
edges: [ask -> b]
""")
    story.start()
    story.signal("go")
    story.crowded = None
    assert story.complete("group[0].a")[-1].startswith("SlotsAsked address=b")
    story.crowded = ()
    assert story.grant("b")[1:] == ["StepStarted address=b input={}"]
    assert story.complete("b")[1:] == ["StepStarted address=group[0].a~undo input={}"]


def test_long_and_strange_keys_are_hashed() -> None:
    """A key is text that any store takes; values that are no text are JSON."""
    story = Story.of(ONE)
    story.start("x" * 500)
    assert len(running(story).holding["a"].slots[0].key) == 64
    other = Story.of(ONE)
    other.start({"b": 1})
    assert running(other).holding["a"].slots[0].key == '{"b":1}'


def test_an_execution_begins_when_it_has_the_workflow_s_slots() -> None:
    """Before, none of its steps is reached; its slots are held to its end."""
    nodes = "nodes: {a: {transform: 1}, b: {signal: go}}\nedges: [a -> b]"
    story = Story.of(f"workflow: t\nthrottle: {{concurrency: 1}}\n{nodes}")
    story.crowded = None
    assert [line.split()[0] for line in story.start()] == ["ExecutionStarted", "SlotsAsked"]
    assert cause(story.state) == "limit"
    story.crowded = ()
    assert [line.split()[0] for line in story.grant("")] == ["SlotsTaken", "StepSucceeded", "SignalAwaited"]
    assert "" in running(story).holding


def test_an_execution_whose_key_has_no_value_fails() -> None:
    """Its begin is where that is found."""
    story = Story.of('workflow: t\nthrottle: {concurrency: 1, key: "{{ input.x }}"}\nnodes: {a: {transform: 1}}')
    assert story.start({})[-1].startswith("ExecutionFailed")


def test_a_delay_lets_it_begin_later() -> None:
    """A durable timer, and its cause."""
    story = Story.of("workflow: t\nstart: {delay: 5m}\nnodes: {a: {transform: 1}}")
    assert [line.split()[0] for line in story.start()] == ["ExecutionStarted", "TimerSet"]
    assert cause(story.state) == "timer"
    assert story.fire("#start", after=5)[-1].startswith("ExecutionCompleted")


SHOW = "nodes: {a: {transform: '{{ input }}'}}\noutput: '{{ a }}'"
DEBOUNCE = f"workflow: t\nstart: {{debounce: {{after: 5m, at_most: 8m}}}}\n{SHOW}"


def test_a_debounce_begins_with_the_last_message() -> None:
    """Each message puts it off, but not beyond `at_most`; one that comes again puts nothing off."""
    story = Story.of(DEBOUNCE)
    story.start(1, collect="m1")
    assert story.collect("m2", 2, after=4)[1].split()[0] == "TimerSet"
    assert running(story).timers["#start"].due == minute(8)
    assert story.collect("m1", 1, after=1) == []
    assert story.fire("#start", after=3)[-1] == "ExecutionCompleted output=2"


def test_a_debounce_without_an_end_is_put_off_each_time() -> None:
    """The last message counts, whenever it comes."""
    story = Story.of(DEBOUNCE.replace(", at_most: 8m", ""))
    story.start(1, collect="m1")
    story.collect("m2", 2, after=4)
    story.collect("m3", 3, after=4)
    assert running(story).timers["#start"].due == minute(13)


def test_a_message_has_one_slot_for_ever() -> None:
    """By its key in its scope; a long one is hashed."""
    assert message_slot("w", "m1") == Slot(limit="w#message", key="m1", most=1)
    assert len(message_slot("w", "m" * 500).key) == 64


def test_a_message_that_moves_nothing_sets_no_timer() -> None:
    """At the end of a debounce the time stays."""
    story = Story.of(DEBOUNCE)
    story.start(1, collect="m1")
    story.collect("m2", 2, after=4)
    assert [line.split()[0] for line in story.collect("m3", 3, after=1)] == ["MessageCollected"]


BATCH = "workflow: t\nstart: {batch: {size: 2, within: 5m}}\nnodes: {a: {transform: '{{ input }}'}}\noutput: '{{ a }}'"


def test_a_batch_begins_when_it_is_full() -> None:
    """Its input is the list of them."""
    story = Story.of(BATCH)
    story.start(1, collect="m1")
    assert story.collect("m2", 2)[-1] == 'ExecutionCompleted output={"messages":[1,2]}'


def test_a_batch_of_one_begins_at_once() -> None:
    """There is no timer to cancel."""
    story = Story.of(BATCH.replace("size: 2", "size: 1"))
    assert "TimerSet" not in " ".join(story.start(1, collect="m1"))
    assert isinstance(story.state, Finished)


def test_who_has_begun_collects_nothing() -> None:
    """The message belongs to another execution."""
    story = Story.of(BATCH.replace("{transform: '{{ input }}'}", "{signal: go}"))
    story.start(1, collect="m1")
    story.fire("#start", after=5)
    assert from_json(running(story).input) == {"messages": [1]}
    with pytest.raises(NotCollecting):
        story.collect("m2", 2)


def test_a_message_that_another_has_is_refused() -> None:
    """Where the store has found it, or another who collects."""
    story = Story.of(BATCH)
    story.start(1, collect="m1")
    story.crowded = None
    with pytest.raises(NoSlot):
        story.collect("m2", 2)
    other = Story.of(BATCH)
    other.crowded = None
    with pytest.raises(NoSlot):
        other.start(1, collect="m1")
    assert isinstance(other.state, NotStarted)


def test_a_singleton_that_skips_is_not_started() -> None:
    """Where another has the slot, nothing is recorded."""
    story = Story.of('workflow: t\nstart: {singleton: {key: "{{ input }}", policy: skip}}\nnodes: {a: {signal: go}}')
    story.crowded = {("t#singleton", "k")}
    story.start("k")
    assert isinstance(story.state, Running)
    other = Story.of("workflow: t\nstart: {singleton: {policy: skip}}\nnodes: {a: {signal: go}}")
    other.crowded = None
    with pytest.raises(NoSlot, match="another execution of t is at work"):
        other.start()


def test_a_singleton_that_was_delayed_is_cancelled_instead() -> None:
    """It is in the log already."""
    text = 'workflow: t\nstart: {delay: 5m, singleton: {key: "{{ input }}", policy: skip}}\nnodes: {a: {signal: go}}'
    story = Story.of(text)
    story.start("k")
    story.crowded = None
    assert "for 'k'" in story.fire("#start", after=5)[-1]
    assert isinstance(story.state, Finished)
    assert story.state.status == "cancelled"


def compiled(text: str, **shared: SharedLimit) -> Compiler:
    compiler = Compiler(node_types=builtin_node_types(), handlers=None, env={}, shared=shared)
    compiler.load_text(text)
    return compiler


def test_limits_of_the_settings_hold_by_name_type_and_handler() -> None:
    """Each once, though it is named and covers the node too."""
    shared = {
        "named": SharedLimit(name="named", most=1, handlers=("t.*",)),
        "typed": SharedLimit(name="typed", interval_us=5, node_types=("task",)),
        "other": SharedLimit(name="other", most=1, handlers=("u.*",)),
    }
    compiler = Compiler(node_types=builtin_node_types(), handlers=None, env={}, shared=shared)
    text = "workflow: t\nnodes: {a: {task: t.a, throttle: [named, {concurrency: 3}]}, b: {task: t.b}}"
    [plan] = compiler.load_text(text).plans
    assert [limit.name for limit in plan.nodes["a"].limits] == ["named", "t/a#2", "typed"]
    assert [limit.name for limit in plan.nodes["b"].limits] == ["named", "typed"]
    unknown = Compiler(node_types=builtin_node_types(), handlers=None, env={}, shared={})
    assert not unknown.compile_stored(plan.definition.document).nodes["b"].limits


@pytest.mark.parametrize(
    ("written", "message"),
    [
        ("nodes: {a: {task: t.a, throttle: nobody}}", "there is no shared limit 'nobody'"),
        ("nodes: {a: {task: t.a, throttle: {key: x}}}", "is missing"),
        ("nodes: {a: {task: t.a, throttle: {shared: x, concurrency: 1}}}", "beside `concurrency`"),
        ("nodes: {a: {task: t.a, throttle: {rate: {limit: 9, per: 1ms}, key: '{{ b }}'}}}", "`b`"),
        ("nodes: {a: {task: t.a, throttle: {rate: {limit: 1000000, per: 1ms}}}}", "more than one in a microsecond"),
        ("nodes: {a: {task: t.a, throttle: {rate: {limit: 1, per: soon}}}}", "soon"),
        ("nodes: {a: {task: t.a, throttle: {rate: {limit: 1, per: 999999999999d}}}}", "999999999999d"),
        ("nodes: {a: {task: t.a, throttle: {concurrency: 1, key: '{{ input.'}}}", "has no `}}`"),
        ("nodes: {a: {transform: 1, throttle: {concurrency: 1}}}", "has no meaning"),
        ("throttle: {concurrency: 1, key: '{{ a }}'}\nnodes: {a: {task: t.a}}", "`a`"),
        ("start: {delay: 1s, batch: {size: 1, within: 1s}}\nnodes: {a: {task: t.a}}", "`delay` and `batch`"),
        ("start: {debounce: {after: 5s, at_most: 1s}}\nnodes: {a: {task: t.a}}", "before it can settle"),
        ("start: {debounce: {after: x}}\nnodes: {a: {task: t.a}}", "x"),
        ("start: {batch: {size: 2, within: 1s, key: '{{ trigger }}'}}\nnodes: {a: {task: t.a}}", "trigger"),
        ("start: {debounce: {after: 1s, at_most: x}}\nnodes: {a: {task: t.a}}", "x"),
        ("throttle: {concurrency: 1}\nstart: {singleton: {policy: skip}}\nnodes: {a: {task: t.a}}", "left out too"),
        ("priority: '{{ a }}'\nnodes: {a: {task: t.a}}", "`a`"),
    ],
)
def test_mistakes_are_told(written: str, message: str) -> None:
    """Each with its place."""
    with pytest.raises(Misconfigured) as told:
        compiled(f"workflow: t\n{written}")
    assert message in str(told.value)
