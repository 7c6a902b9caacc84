"""The rules of loops whose items come page by page, as given / when / then."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from daemon.core import paging
from daemon.core.effects import owed
from daemon.core.errors import Misconfigured
from daemon.core.evolve import fold
from daemon.core.page_events import PageTaken
from daemon.core.snapshot import decode_state, encode_state
from daemon.core.spans import spans_of
from daemon.core.state import Failed, Finished, Running, cause
from daemon.core.throttle import SharedLimit
from daemon.nodes import builtin_node_types
from daemon.runtime.definitions import Compiler
from tests.core.spec import Story, minute
from tests.support.workflows import plan_of

PAGES = 'task: t.list, with: {after: "{{ page.cursor }}", n: "{{ page.number }}"}'
SEEN = '["{{ loop.item }}", "{{ loop.index }}", "{{ loop.total }}"]'


def paged(keys: str = "", *, pages: str = PAGES, work: str = f"{{task: t.work, with: {SEEN}}}", more: str = "") -> str:
    """Return a workflow that is one paged loop, whose output is the execution's."""
    loop = f'forEach: {{pages: {{{pages}}}}}, {keys} do: {{nodes: {{work: {work}}}, output: "{{{{ work }}}}"}}'
    return f'workflow: w\nnodes:\n  each: {{{loop}}}\n{more}output: "{{{{ each }}}}"\n'


def begun(keys: str = "", **how: str) -> Story:
    story = Story.of(paged(keys, **how))
    story.start()
    return story


def page(*items: Any, then: Any = None) -> dict[str, Any]:
    return {"items": list(items), "next": then}


def test_the_first_page_is_fetched_by_a_step_of_its_own() -> None:
    assert begun().told[1:] == [
        "LoopStarted address=each paged=true collect=true",
        "PageAsked address=each number=0",
        'StepStarted address=each[0]~page input={"after":null,"n":0}',
    ]


def test_a_page_and_its_first_turn_are_one_append() -> None:
    """The total is not known while there may be more."""
    assert begun().complete("each[0]~page", page("a", "b", then="c1")) == [
        'StepSucceeded address=each[0]~page output={"items":["a","b"],"next":"c1"}',
        "PageTaken address=each number=0 count=2 next=c1",
        "TurnStarted address=each[0]",
        'StepStarted address=each[0].work input=["a",0,null]',
    ]


def test_the_next_page_is_fetched_when_the_turns_of_the_one_before_have_ended() -> None:
    """It is asked for by the cursor that the page before gave, and its items take the place of those before."""
    story = begun()
    story.complete("each[0]~page", page("a", "b", then="c1"))
    story.complete("each[0].work")
    assert story.complete("each[1].work")[-2:] == [
        "PageAsked address=each number=1",
        'StepStarted address=each[1]~page input={"after":"c1","n":1}',
    ]
    assert isinstance(story.state, Running)
    assert story.state.repeating("each").items == ()
    assert cause(story.state) == "step"


def test_the_index_goes_on_over_pages_and_the_last_page_tells_the_total() -> None:
    story = begun()
    story.complete("each[0]~page", page("a", then="c1"))
    story.complete("each[0].work", 1)
    assert story.complete("each[1]~page", page("b"))[-1] == 'StepStarted address=each[1].work input=["b",1,2]'
    story.complete("each[1].work", 2)
    assert story.result == [1, 2]


@pytest.mark.parametrize("last", [{"items": []}, {"items": [], "next": None}])
def test_a_page_without_next_is_the_last(last: Any) -> None:
    story = begun()
    story.complete("each[0]~page", last)
    assert story.result == []


def test_a_page_may_be_empty_while_there_are_more() -> None:
    story = begun()
    story.complete("each[0]~page", page(then=7))
    assert story.complete("each[1]~page", page("a"))[-1] == 'StepStarted address=each[0].work input=["a",0,1]'


def test_only_one_page_is_in_the_state() -> None:
    """Neither the items before nor the steps that fetched them stay, and the size says so."""
    story = begun("collect: false,", work="{transform: 1}")
    sizes = []
    for number in range(5):
        story.complete(f"each[{number}]~page", page("x" * 500, then=number))
        assert isinstance(story.state, Running)
        sizes.append(story.state.size)
        assert sorted(story.state.steps) == ["each", f"each[{number + 1}]~page"]
    assert len(set(sizes)) == 1
    assert sizes[0] < 500


def test_a_page_in_a_turn_leaves_nothing_in_it() -> None:
    inner = 'inner: {forEach: {pages: {task: t.list, with: "{{ loop.item }}"}}, do: {nodes: {x: {task: t.x}}}}'
    story = Story.of(f"workflow: w\nnodes: {{outer: {{forEach: [a, b], do: {{nodes: {{{inner}}}}}}}}}")
    story.start()
    assert story.told[-1] == "StepStarted address=outer[0].inner[0]~page input=a"
    story.complete("outer[0].inner[0]~page", page(1))
    assert isinstance(story.state, Running)
    assert sorted(story.state.steps) == [
        "outer",
        "outer[0]",
        "outer[0].inner",
        "outer[0].inner[0]",
        "outer[0].inner[0].x",
    ]
    assert story.complete("outer[0].inner[0].x")[-1] == "StepStarted address=outer[1].inner[0]~page input=b"


# How it ends otherwise.


def test_a_page_is_tried_again_and_then_the_loop_fails_with_its_error() -> None:
    story = begun(pages=PAGES + ", retry: {max_attempts: 2, initial: 1m}, timeout: 30s")
    assert story.fail("each[0]~page") == [
        "StepFailed address=each[0]~page error=error retry_at=1m",
        "TimerSet timer_id=each[0]~page#retry address=each[0]~page purpose=retry due=1m",
    ]
    story.fire("each[0]~page#retry", after=1)
    assert story.fail("each[0]~page", attempt=2) == [
        "StepFailed address=each[0]~page attempt=2 error=error",
        "StepFailed address=each error=error",
        "ExecutionFailed error=error address=each",
    ]
    assert isinstance(story.state, Finished)
    assert story.state.error is not None
    assert story.state.error.message == "page 0: broken"


def test_an_error_edge_of_the_loop_takes_what_a_page_failed_with() -> None:
    text = paged(more="  sorry: {task: t.sorry, with: '{{ each.error.message }}'}\nedges: [each.error -> sorry]\n")
    story = Story.of(text)
    story.start()
    assert story.fail("each[0]~page")[-1] == "StepStarted address=sorry input=page 0: broken"


def test_a_loop_that_goes_on_without_gives_its_default_when_a_page_fails() -> None:
    """What its turns gave before is not given: as in any other loop that fails."""
    story = begun("on_error: continue, default: [],")
    story.complete("each[0]~page", page("a", then=1))
    story.complete("each[0].work", 1)
    story.fail("each[1]~page")
    assert story.result == []


@pytest.mark.parametrize(
    ("answer", "problem"),
    [
        (None, "Expected `object`, got `null`"),
        ([1], "Expected `object`, got `array`"),
        ({}, "Object missing required field `items`"),
        ({"items": "a"}, "Expected `array`, got `str` - at `$.items`"),
        ({"items": [], "cursor": 1}, "Object contains unknown field `cursor`"),
    ],
)
def test_an_answer_that_is_no_page_fails_the_step_without_another_attempt(answer: Any, problem: str) -> None:
    story = begun(pages=PAGES + ", retry: {max_attempts: 9}")
    assert story.complete("each[0]~page", answer)[0] == "StepFailed address=each[0]~page error=page"
    assert isinstance(story.state, Finished)
    failed = story.state.steps["each[0]~page"]
    assert isinstance(failed, Failed)
    assert failed.error.message == f"the handler gave no page: {problem}; a page is {{items: […], next: …}}"


def test_a_page_with_which_there_are_too_many_turns_fails_the_loop() -> None:
    """Before the first turn of that page, as a list that is too long fails it."""
    story = begun("limit: 2,", work="{transform: 1}")
    story.complete("each[0]~page", page("a", then=1))
    assert story.complete("each[1]~page", page("b", "c"))[2:] == [
        "StepFailed address=each error=loop_limit",
        "ExecutionFailed error=loop_limit address=each",
    ]
    story = begun("limit: 2,", work="{transform: 1}")
    story.complete("each[0]~page", page("a", "b"))
    assert story.result == [1, 1]


def test_an_empty_page_that_leads_to_itself_fails_the_loop() -> None:
    story = begun()
    story.complete("each[0]~page", page(then="c"))
    assert story.complete("each[1]~page", page(then="c"))[-1] == "ExecutionFailed error=page address=each"


def test_pages_that_never_end_fail_the_loop(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(paging, "MOST_PAGES", 2)
    story = begun("limit: 1,")
    story.complete("each[0]~page", page(then=0))
    assert story.complete("each[1]~page", page(then=1))[-1] == "ExecutionFailed error=loop_limit address=each"


def test_a_page_that_is_larger_than_an_output_may_be_fails_the_loop() -> None:
    story = begun(more="limits: {output_bytes: 40}\n")
    story.complete("each[0]~page", page("x" * 50))
    assert story.result == "output_too_large"


def test_what_a_page_is_asked_by_may_be_wrong() -> None:
    story = begun(pages='task: t.list, with: "{{ page.cursor.after }}"')
    assert story.result == "expression"


def test_a_condition_ends_the_loop_without_another_page() -> None:
    story = begun("break: \"{{ loop.item == 'a' }}\",")
    story.complete("each[0]~page", page("a", "b", then=1))
    story.complete("each[0].work", 1)
    assert story.result == [1]
    assert story.started == ["each[0]~page", "each[0].work"]


def test_turns_that_are_left_out_count_over_pages() -> None:
    story = begun('continue: "{{ loop.index != 2 }}",')
    story.complete("each[0]~page", page("a", "b", then=1))
    assert story.complete("each[1]~page", page("c"))[-1] == 'StepStarted address=each[2].work input=["c",2,3]'


def test_a_page_waits_for_a_slot_and_for_the_end_of_a_pause() -> None:
    story = begun(work="{transform: 1}", more="concurrency: 1\n")
    story.pause()
    assert story.complete("each[0]~page", page("a", then=1))[-1] == "StepQueued address=each[1]~page"
    assert story.resume()[-1] == 'StepStarted address=each[1]~page input={"after":1,"n":1}'


def test_what_is_cancelled_takes_no_page_any_more() -> None:
    story = begun()
    story.cancel()
    assert story.complete("each[0]~page", page("a")) == []
    assert isinstance(story.state, Finished)
    assert story.state.status == "cancelled"


def test_what_the_turns_did_is_undone_when_a_page_fails() -> None:
    """Newest first, over all pages."""
    story = begun(work="{task: t.work, compensate: {task: t.undo, with: '{{ loop.item }}'}}")
    story.complete("each[0]~page", page("a", then=1))
    story.complete("each[0].work")
    story.complete("each[1]~page", page("b", then=2))
    story.complete("each[1].work")
    assert story.fail("each[2]~page")[-1] == "StepStarted address=each[1].work~undo input=b"
    assert story.complete("each[1].work~undo")[-1] == "StepStarted address=each[0].work~undo input=a"


def test_a_turn_that_is_given_up_gives_up_the_page_in_it() -> None:
    inner = "inner: {forEach: {pages: {task: t.list}}, do: {nodes: {x: {task: t.x}}}}, y: {task: t.y}"
    story = Story.of(f"workflow: w\nnodes: {{fan: {{parallel: 2, on_failure: collect, do: {{nodes: {{{inner}}}}}}}}}\n")
    story.start()
    story.fail("fan[0].y")
    assert isinstance(story.state, Running)
    assert sorted(story.state.in_flight) == ["fan[1].inner[0]~page", "fan[1].y"]
    assert story.complete("fan[0].inner[0]~page", page("a")) == []


def test_it_goes_on_from_a_snapshot_in_the_middle_of_a_page() -> None:
    story = begun()
    story.complete("each[0]~page", page("a", "b", then="c1"))
    story.state = decode_state(encode_state(story.state))
    story.complete("each[0].work")
    assert story.complete("each[1].work")[-1] == 'StepStarted address=each[1]~page input={"after":"c1","n":1}'
    assert owed(decode_state(encode_state(story.state))) == owed(story.state)


def test_a_page_that_nobody_fetched_is_a_damaged_log() -> None:
    with pytest.raises(TypeError, match=r"each\[0\]~page has given no page"):
        fold([PageTaken(address="each", number=0, count=0, at=minute(0))], begun().state)


# What may be written.


@pytest.mark.parametrize(
    ("pages", "problem"),
    [
        ("task: t.list, with: '{{ loop.item }}'", "`loop` is known inside a loop only"),
        ("task: t.list, retry: {initial: 1h, max: 1m}", "the longest pause is shorter than the first"),
        ("task: t.list, timeout: 0s", "the timeout is zero"),
        ("task: t.list, with: '{{ page. }}'", "expected name or number"),
        ("task: t.list, heartbeat: 1s", "only a remote worker has a heartbeat"),
        ("with: 1", "`task` is missing"),
        ("task: t.list, cursor: 1", "there is no key `cursor` here"),
    ],
)
def test_mistakes_are_found_before_it_runs(pages: str, problem: str) -> None:
    with pytest.raises(Misconfigured) as caught:
        plan_of(paged(pages=pages))
    assert problem in str(caught.value)


def test_page_is_known_to_what_fetches_one_only() -> None:
    with pytest.raises(Misconfigured, match="there is nothing called `page`"):
        plan_of(paged(work="{transform: '{{ page.number }}'}"))


def test_a_node_that_is_called_page_is_hidden_from_what_fetches_one() -> None:
    """It is read as `steps.page`, and `validate` says so."""
    text = paged(more="  page: {transform: 1}\nedges: [page -> each]\n")
    found = Compiler(node_types=builtin_node_types(), handlers=None, env={}).load_text(text)
    assert [each.message for each in found.warnings] == [
        "`page` is the page that is fetched here, and not the node `page`"
    ]


def test_the_handler_of_the_pages_must_be_there() -> None:
    """A remote worker has its own."""
    compiler = Compiler(node_types=builtin_node_types(), handlers={"t.work"}, env={})
    with pytest.raises(Misconfigured, match=r"no handler is registered as 't\.list'"):
        compiler.load_text(paged())
    assert compiler.load_text(paged(pages="task: t.list, worker: far, heartbeat: 10s")).plans


def test_a_limit_of_the_settings_for_the_handler_holds_for_pages() -> None:
    shared = {"lists": SharedLimit(name="lists", most=1, handlers=("t.list",))}
    compiler = Compiler(node_types=builtin_node_types(), handlers=None, env={}, shared=shared)
    [plan] = compiler.load_text(paged()).plans
    story = Story(plan, crowded=None)
    assert story.start()[-1].startswith("SlotsAsked address=each[0]~page")
    story.crowded = ()
    assert story.grant("each[0]~page")[-1] == 'StepStarted address=each[0]~page input={"after":null,"n":0}'


def test_each_page_has_a_span() -> None:
    story = begun(work="{transform: 1}")
    story.complete("each[0]~page", page("a", then=1))
    story.complete("each[1]~page", page())
    trace, spans = None, []
    for event in story.events:
        trace, closed = spans_of(trace, event)
        spans += [span.name for span in closed]
    assert spans == ["each~page", "work", "each~page", "each", "w"]


@given(st.lists(st.lists(st.integers(0, 9), max_size=3), min_size=1, max_size=5), st.integers(0, 9), st.data())
def test_a_paged_loop_gives_what_a_loop_over_the_list_gives(pages: list[list[int]], last: int, data: Any) -> None:
    collect = data.draw(st.sampled_from(["true", "false"]))
    ends = f'continue: "{{{{ loop.item == 3 }}}}", break: "{{{{ loop.index == {last} }}}}"'
    keys, work = f"collect: {collect}, {ends},", '{transform: ["{{ loop.iteration }}", "{{ loop.previous }}"]}'
    listed = Story.of(paged(keys, work=work).replace(f"{{pages: {{{PAGES}}}}}", "'{{ input }}'"))
    listed.start([item for each in pages for item in each])
    story = begun(keys, work=work)
    for number, items in enumerate(pages):
        if isinstance(story.state, Running):
            story.complete(f"each[{number}]~page", page(*items, then=number + 1 if number + 1 < len(pages) else None))
    assert story.result == listed.result
