"""What each release wrote is read and folded as it was then: events are a storage format.

A file holds stories as they were stored: topic and JSON of each event, and the state that they lead to. Files are only
ever added: `python -m tests.core.test_golden NAME` writes one for the release to come.
"""

from __future__ import annotations

import json
import sys
from datetime import timedelta
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from daemon.core import commands as c
from daemon.core.break_events import Breakpoint
from daemon.core.child_events import Parent
from daemon.core.events import EVENT_TYPES, UPCASTERS, Edits, InputEdit, Origin, StepEdit, Streamed
from daemon.core.evolve import fold
from daemon.core.function_events import Call, CallUndo, Drawn
from daemon.core.retry import RetryPolicy
from daemon.core.snapshot import decode_state, encode_state
from daemon.core.state import INITIAL
from daemon.core.values import to_json
from eventstore.codec import Codec, Stored
from tests.core.spec import EXECUTION, Story, minute

if TYPE_CHECKING:
    from collections.abc import Iterator

FOLDER = Path(__file__).parent / "golden"
CODEC = Codec(EVENT_TYPES, UPCASTERS)

EVERYTHING = """
workflow: everything
concurrency: 1
timeout: 2h
nodes:
  big: {branch: "{{ input.total > 1000 }}"}
  nap: {wait: 5m}
  review: {signal: {name: reviewed, timeout: 10m}}
  reserve: {task: t.reserve, with: {key: "{{ secret.KEY }}", for: "{{ input }}"}, retry: {max_attempts: 2, initial: 1m}}
  ship: {task: t.ship}
  third: {task: t.third, on_error: continue, default: {shipped: false}}
  sorry: {task: t.sorry}
edges: [big.true -> review, big.false -> nap, nap -> ship, ship.error -> sorry]
output: "{{ reserve }}"
"""


REPEATS = """
workflow: repeats
vars: {count: 0}
nodes:
  each:
    forEach: [a, b, c]
    continue: "{{ loop.item == 'b' }}"
    do:
      nodes: {note: {set: {count: "{{ vars.count + 1 }}"}}}
  fan:
    parallel: 3
    on_failure: collect
    enough: 1
    do:
      nodes: {work: {task: t.work}, hold: {signal: go}}
      output: "{{ work }}"
  much: {for: 300, do: {nodes: {x: {transform: 1}}}}
edges: [each -> fan, fan -> much]
"""

PAGED = """
workflow: paged
nodes:
  each:
    forEach: {pages: {task: t.list, with: {after: "{{ page.cursor }}"}, retry: {max_attempts: 2, initial: 1m}}}
    do: {nodes: {work: {task: t.work, with: "{{ loop.item }}"}}, output: "{{ work }}"}
"""

LIMITED = """
workflow: limited
throttle: {concurrency: 2, key: "{{ input.key }}"}
priority: "{{ input.n }}"
nodes:
  a:
    task: t.a
    retry: {max_attempts: 2, initial: 1m}
    throttle: [{concurrency: 1, fair: "{{ input.key }}"}, {rate: {limit: 3, per: 1s, burst: 2}}]
"""

COLLECTED = """
workflow: collected
start: {batch: {size: 2, within: 1h}}
nodes: {a: {task: t.a, with: "{{ input.messages }}"}}
"""

ANSWERS = """
workflow: answers
nodes:
  poll: {task: t.poll, retry: {max_attempts: 2, initial: 1m}}
  ask: {task: t.ask, ports: [declined]}
  stop: {task: t.stop}
  near: {task: t.near}
  far: {task: t.far}
  never: {task: t.never}
edges: [poll -> near, poll -> far, ask -> never, ask.declined -> near, stop -> never]
"""


UNDONE = """
workflow: undone
nodes:
  a: {task: t.a, compensate: {task: t.undo, with: "{{ step.output }}", retry: {max_attempts: 2, initial: 1m}}}
  b: {task: t.b, compensate: {irreversible: {reason: gone}}}
  c: {task: t.c, compensate: {task: t.undo}}
edges: [a -> b -> c]
"""


RESULTS = """
workflow: results
nodes:
  quote: {task: t.quote, cache: {key: "{{ input.key }}", ttl: 1h}}
  write: {task: t.write}
edges: [quote -> write]
"""


APPROVAL = """
workflow: approval
nodes:
  ask:
    approval:
      prompt: "Pay {{ input.total }}?"
      approvers: [ann, "group:finance"]
      rule: all
      timeout: 3h
      on_timeout: {escalate: {to: [cfo], timeout: 1h, then: reject}}
      reminder: 2h
      comment: on_reject
      form: {type: object}
      notify: [{webhook: {url: "http://x/{{ secret.KEY }}"}}, {handler: t.tell}]
  pay: {task: t.pay}
edges: [ask.approved -> pay]
"""


def stories() -> Iterator[Story]:
    """Tell stories in which every event type occurs."""
    first = Story.of(EVERYTHING)
    first.signal("early", {"n": 1}, signal_id="before")
    first.start({"total": 5, "text": "für ü"})
    first.fail("reserve", "busy", type_name="BusyError", jitter=0.5)
    first.fire("reserve#retry", after=1)
    first.fail("third")
    first.progress("reserve", {"percent": 50}, attempt=2)
    first.complete("reserve", {"id": 7}, attempt=2)
    first.fire("nap#wait", after=5)
    first.fail("ship", "lost", retryable=False)
    first.complete("sorry")
    yield first
    second = Story.of(EVERYTHING)
    second.start({"total": 5000})
    second.signal("reviewed", {"by": "ann"})
    second.cancel()
    yield second
    third = Story.of(EVERYTHING)
    third.start({"total": 5000})
    third.fire("execution", after=120)
    yield third
    fourth = Story.of(REPEATS)
    fourth.start({"total": 5})
    fourth.fail("fan[0].work", "lost", retryable=False)
    fourth.complete("fan[1].work", [1, "zwei"])
    fourth.signal("go", {"n": 1})
    fourth.fire("much#turn-164", after=0)
    yield fourth
    fifth = Story.of("workflow: releases\nnodes: {a: {task: t.a}, b: {task: t.b}}\nedges: [a -> b]")
    fifth.start({})
    fifth.complete("a", "x" * 1024)
    fifth.complete("b", 1)
    yield fifth
    yield from _stories_of_undo()
    yield from _stories_of_answers()
    yield from _stories_of_children()
    yield from _stories_of_updates()
    yield _story_of_a_lookup()
    yield from _stories_of_results()
    yield from _stories_of_limits()
    yield from _stories_of_people()
    yield from _stories_of_functions()
    yield from _stories_of_branches()
    yield _story_of_pages()
    yield _story_of_breakpoints()


def _story_of_breakpoints() -> Story:
    undo = "compensate: {task: t.undo}"
    nodes = f"{{a: {{task: t.a}}, b: {{task: t.b, {undo}}}, c: {{task: t.c}}}}"
    story = Story.of(f"workflow: stops\nvars: {{rate: 1}}\nnodes: {nodes}\nedges: [a -> b -> c]")
    story.start({"n": 1})
    points = Breakpoint(node="b", condition="a == 1"), Breakpoint(node="c"), Breakpoint(errors=True)
    story.breakpoints(*points, stop_next=True)
    story.complete("a", 1)
    story.edit(rate="ü", given={"n": 2})
    story.leave("over")
    story.fail("b", "timeout")
    story.leave("retry")
    story.complete("b", 2, attempt=2)
    story.leave("skip", {"by": "hand"})
    return story


def _story_of_pages() -> Story:
    story = Story.of(PAGED)
    story.start()
    story.complete("each[0]~page", {"items": ["ä", {"n": 1}], "next": {"after": "b"}})
    story.complete("each[0].work", 1)
    story.complete("each[1].work", 2)
    story.fail("each[1]~page")
    return story


def _stories_of_limits() -> Iterator[Story]:
    first = Story.of(LIMITED)
    first.crowded = None
    first.start({"key": "k", "n": 3})
    first.crowded = {("limited/a", "")}
    first.grant("")
    first.grant("a")
    first.fail("a")
    first.fire("a#retry", after=1)
    yield first
    for messages in (1, 2):
        collected = Story.of(COLLECTED)
        collected.start({"n": 1}, collect="m1")
        for number in range(2, messages + 1):
            collected.collect(f"m{number}", {"n": number}, after=1)
        yield collected


def _stories_of_undo() -> Iterator[Story]:
    first = Story.of(UNDONE)
    first.start({})
    first.complete("a", {"id": 7})
    first.complete("b", 1)
    first.cancel()
    first.fail("c", "timeout")
    first.answer("c", "go")
    first.complete("c~undo")
    first.answer("b", "done")
    first.fail("a~undo", "busy")
    first.fire("a~undo#retry", after=1)
    first.fail("a~undo", "busy", attempt=2)
    first.answer("a", "retry")
    first.complete("a~undo", attempt=3)
    yield first
    group = Story.of(
        "workflow: group\nnodes: {g: {saga: manual, do: {nodes: {a: {task: t.a, compensate: {task: t.b}}}}}}"
    )
    group.start({})
    group.complete("g[0].a", 1)
    yield group
    second = Story.of(UNDONE)
    second.start({})
    second.pause("lunch")
    second.complete("a", {"id": 8})
    second.resume()
    yield second


def _stories_of_answers() -> Iterator[Story]:
    first = Story.of(ANSWERS)
    first.start({})
    first.postpone("poll", {"page": 2, "seen": ["ü"]}, after=3)
    first.complete("ask", {"why": "limit"}, port="declined")
    first.fire("poll#retry", after=3)
    first.fail("poll", attempt=2)
    first.complete("stop", "enough", port="")
    first.fire("poll#retry", after=1)
    first.postpone("poll", after=0, attempt=3)
    first.fire("poll#retry", after=0)
    first.complete("poll", 7, attempt=4, to=("near",))
    first.complete("near")
    yield first
    second = Story.of(ANSWERS)
    second.start({})
    second.postpone("poll", {"page": 2}, after=3)
    yield second


def _story_of_a_lookup() -> Story:
    lookup = "lookup: {task: t.find, with: '{{ step.key }}'}"
    nodes = f"{{a: {{task: t.a, compensate: {{task: t.undo, with: '{{{{ step.output }}}}', {lookup}}}}}}}"
    story = Story.of(f"workflow: looks\nnodes: {nodes}")
    story.start({})
    story.fail("a", "timeout")
    story.complete("a~lookup~undo", {"id": 7})
    return story


def _stories_of_updates() -> Iterator[Story]:
    updated = Story.of(
        "workflow: updated\nvars: {n: 0}\nupdates: {put: {set: {n: 7}, result: ü}}\nnodes: {a: {signal: go}}"
    )
    updated.start({})
    updated.update("put", [1])
    yield updated


def _stories_of_children() -> Iterator[Story]:
    text = "workflow: parent\nnodes: {a: {subflow: s, timeout: 5m}, b: {subflow: s}}\nedges: [a -> b]"
    first = Story.of(text)
    first.start({})
    first.await_child("a")
    first.finish_child("a", output={"n": 1}, owes=True)
    first.await_child("b")
    first.cancel(undo=False)
    yield first
    second = Story.of(text)
    second.start({}, parent=Parent(EXECUTION, "up", 1, 2))
    second.await_child("a")
    second.fire("a#child", after=5)
    second.finish_child("a", output={"n": 1}, owes=True)
    second.await_child("b")
    second.finish_child("b", output=2)
    second.undo(parent=Parent(EXECUTION, "up~undo", 1, 2))
    second.await_child("a~undo")
    yield second


def _stories_of_results() -> Iterator[Story]:
    first = Story.of(RESULTS)
    first.start({"key": "ü"})
    at = minute(first.clock)
    origin = Origin(execution_id=EXECUTION, address="each[2].quote", stored_at=minute(-3))
    first.when(c.CompleteStep(address="quote", attempt=1, output=to_json([1]), origin=origin, at=at))
    streamed = Streamed(run=2, chunks=3, bytes=21, counted=to_json({"tokens": 7}))
    first.when(c.CompleteStep(address="write", attempt=1, output=to_json("all"), streamed=streamed, at=at))
    yield first


def _stories_of_people() -> Iterator[Story]:
    first = Story.of(APPROVAL)
    first.start({"total": 5})
    first.decide("ask", "eve")
    first.delegate("ask", "ann", "bea")
    first.decide("ask", "bob", comment="für ü", data={"limit": 7}, groups=("finance",))
    first.fire("ask#reminder", after=120)
    yield first
    second = Story.of(APPROVAL)
    second.start({"total": 5})
    second.decide("ask", "bob", groups=("finance",))
    second.fire("ask#approval", after=180)
    second.decide("ask", "cfo", "rejected", comment="no")
    yield second
    third = Story.of(ANSWERS)
    third.start({})
    third.give_input("poll", {"page": 1}, resume_id="early")
    third.suspend("poll", "which?", expects={"type": "object"}, state=[1], within=5)
    third.suspend("poll", "which?", state=[1], within=5, problem="no", attempt=2)
    yield third


def _stories_of_functions() -> Iterator[Story]:
    first = Story.of("workflow: durable\nnodes: {f: {function: t.f, with: {n: 1}}}")
    first.start({})
    undo = CallUndo(
        handler="t.undo", input=to_json("{{ step.output }}"), kind="idempotent", timeout=timedelta(minutes=1)
    )
    retry = RetryPolicy(max_attempts=2, initial=timedelta(seconds=1), max=timedelta(hours=1))
    first.advance(
        Call(id="1:pay", kind="step", name="t.pay", input=to_json({"n": 1}), retry=retry, undo=undo),
        Call(id="1@1", kind="sleep", due=minute(9)),
        Call(id="2@1:go", kind="signal", name="go", timeout=timedelta(minutes=5)),
        drawn=(Drawn("random", to_json(0.5)), Drawn("version:x", to_json(2))),
    )
    first.complete("f[0].1:pay", {"id": "ü"})
    yield first
    second = Story.of("workflow: durable\nnodes: {f: {function: t.f, with: {n: 1}}}")
    second.start({})
    second.advance(Call(id="1", kind="sleep", due=minute(9)), Call(id="2:go", kind="signal", name="go"))
    second.signal("go", 1)
    at, sides = minute(1), {"recorded": "call 1: sleep", "found": "no further call", "place": "shop.py:12"}
    second.when(c.StopFunction(address="f[0]", number=1, version=3, **sides, at=at))
    second.resume()
    second.advance(cancelled=("f[0].1",))
    yield second


def _stories_of_branches() -> Iterator[Story]:
    undo = "compensate: {task: t.undo, with: '{{ step.output }}'}"
    nodes = f"{{a: {{task: t.a, {undo}}}, b: {{task: t.b, {undo}}}, c: {{task: t.c}}}}"
    story = Story.of(f"workflow: back\nvars: {{rate: 1}}\nnodes: {nodes}\nedges: [a -> b -> c]")
    story.start({"n": 1})
    story.complete("a", 1)
    story.complete("b", 2)
    edits = Edits(input=InputEdit(to_json({"n": 2})), variables={"rate": to_json(3)}, steps={"a": StepEdit(to_json(9))})
    yield story.fork(5, edits=edits, reason="what if")
    story.signal("go")
    story.rewind(5, reason="wrong rate", again=False)
    story.complete("b~undo")
    story.go_back(5)
    story.complete("b", 4)
    story.migrate(f"workflow: back\nnodes: {nodes.replace('a:', 'z:')}\nedges: [z -> b -> c]", {"a": "z"})
    yield story


def told(story: Story) -> dict[str, Any]:
    """Return a story in the form of the files."""
    rows = [CODEC.encode(event, {}) for event in story.events]
    events = [{"topic": topic, "data": json.loads(data)} for topic, data in rows]
    found = {"events": events, "state": json.loads(encode_state(story.state))}
    return found if story.first == INITIAL else {**found, "first": json.loads(encode_state(story.first))}


@pytest.mark.parametrize("file", sorted(FOLDER.glob("*.json")), ids=lambda file: file.stem)
def test_every_release_is_read_and_folded_as_it_was(file: Path) -> None:
    for story in json.loads(file.read_text()):
        rows = [
            (
                Stored(EXECUTION, number, number, row["topic"], b""),
                json.dumps(row["data"], separators=(",", ":"), ensure_ascii=False).encode(),
            )
            for number, row in enumerate(story["events"], start=1)
        ]
        first = (
            decode_state(json.dumps(story["first"], separators=(",", ":"), ensure_ascii=False).encode())
            if "first" in story
            else INITIAL
        )
        state = fold([CODEC.decode(row, data, {}) for row, data in rows], first)
        assert said_before(json.loads(encode_state(state)), story["state"]) == story["state"]


def said_before(now: Any, then: Any) -> Any:
    """Return what is now without the fields that there were not then."""
    if isinstance(now, dict) and isinstance(then, dict):
        return {key: said_before(value, then[key]) for key, value in now.items() if key in then}
    return now


def test_the_files_have_every_event_type() -> None:
    told_before = [story for file in FOLDER.glob("*.json") for story in json.loads(file.read_text())]
    topics = {row["topic"] for story in told_before for row in story["events"]}
    kept = {f"{kind.NAME}/{kind.VERSION}" for kind in EVENT_TYPES}
    assert kept <= topics


if __name__ == "__main__":
    lines = json.dumps([told(story) for story in stories()], indent=1, ensure_ascii=False, sort_keys=True)
    (FOLDER / f"{sys.argv[1]}.json").write_text(lines + "\n")
