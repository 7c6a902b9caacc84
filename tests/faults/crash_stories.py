"""The workflows of the crash-point enumeration, and the messages that each of them gets, at which time."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Sequence

MINUTE = 60.0


@dataclass(frozen=True)
class Message:
    """What another program publishes so many seconds after the beginning."""

    at_s: float
    topic: str
    body: str


@dataclass(frozen=True)
class Act:
    """What a person does so many seconds after the beginning, about the step that waits there: again until answered.

    A decision where `decision` is given, else an input.
    """

    at_s: float
    address: str
    by: str
    decision: str = ""
    given: object = None


@dataclass(frozen=True)
class Story:
    """One or more workflows, what they are sent, and how many executions come of it.

    `in_order` tells whether the log can only grow in one order: else what runs side by side may be recorded in any.
    URL in the workflow stands for the witness service's address.
    """

    name: str
    workflow: str
    messages: Sequence[Message | Act]
    executions: int = 1
    in_order: bool = True
    refused: int = 0
    """Messages that end as dead letters."""

    def __str__(self) -> str:
        return self.name


START = '  - {name: orders, memory: {topic: orders}, dedupe: "{{ message.value.id }}"}\n'
ANSWER = """\
  - name: answers
    memory: {topic: answers}
    signal: {name: answer, key: "{{ message.value.id }}"}
    input: "{{ message.value.answer }}"
"""
ORDER = Message(0, "orders", '{"id": "A7", "n": 50}')
AGAIN = Message(0, "orders", '{"id": "A7", "n": 50}')


def _answer(at_s: float, text: str) -> Message:
    return Message(at_s, "answers", f'{{"id": "A7", "answer": "{text}"}}')


STORIES: tuple[Story, ...] = (
    Story(
        "retries",
        f"""
workflow: retries
triggers:
{START}
nodes:
  a: {{task: work, with: {{value: "{{{{ input.n }}}}"}}}}
  flaky: {{task: fails, with: {{times: 2, value: "{{{{ a }}}}"}}, retry: {{max_attempts: 3, initial: 1m}}}}
  end: {{task: work_in_thread, with: {{value: "{{{{ flaky }}}}"}}}}
edges: [a -> flaky, flaky -> end]
output: "{{{{ end }}}}"
""",
        (ORDER, AGAIN),
    ),
    Story(
        "branches",
        f"""
workflow: branches
triggers:
{START}
nodes:
  size: {{branch: "{{{{ input.n > 10 }}}}"}}
  big: {{task: work, with: {{value: big}}}}
  more: {{task: work, with: {{value: more}}}}
  small: {{task: work, with: {{value: small}}}}
  less: {{task: work, with: {{value: less}}}}
  meet: {{join: all}}
  end: {{transform: {{came: "{{{{ meet }}}}"}}}}
edges: [size.true -> big, big -> more, size.false -> small, small -> less, more -> meet, less -> meet, meet -> end]
output: "{{{{ end }}}}"
""",
        (ORDER, Message(0, "orders", '{"id": "B8", "n": 5}')),
        executions=2,
    ),
    Story(
        "side-by-side",
        f"""
workflow: side-by-side
concurrency: 2
triggers:
{START}
nodes:
  a: {{task: work, with: {{value: 1}}}}
  b: {{task: work_in_thread, with: {{value: 2}}}}
  c: {{task: work, with: {{value: 3}}}}
  d: {{task: fails, with: {{times: 1, value: 4}}, retry: {{max_attempts: 2, initial: 1m}}}}
  nap: {{wait: 3m}}
  all: {{join: all}}
  first: {{join: any}}
  after: {{task: work, with: {{value: "{{{{ input.n }}}}"}}}}
edges: [a -> all, b -> all, c -> all, d -> all, all -> first, nap -> first, first -> after]
output: "{{{{ after }}}}"
""",
        (ORDER,),
        in_order=False,
    ),
    Story(
        "times",
        f"""
workflow: times
timeout: 5m
triggers:
{START}
nodes:
  nap: {{wait: 30s}}
  slow: {{task: hangs, timeout: 1m, on_error: continue, default: late}}
  long: {{wait: 1h}}
  never: {{task: work}}
edges: [nap -> slow, slow -> long, long -> never]
""",
        (ORDER,),
    ),
    Story(
        "signals",
        f"""
workflow: signals
triggers:
{START}{ANSWER}
nodes:
  early: {{signal: answer}}
  then: {{task: work, with: {{value: "{{{{ early }}}}"}}}}
  in_time: {{signal: {{name: answer, timeout: 4m}}}}
  too_late: {{signal: {{name: answer, timeout: 2m}}}}
  sorry: {{task: work, with: {{value: "{{{{ too_late.error.code }}}}"}}}}
edges: [early -> then, then -> in_time, in_time -> too_late, too_late.error -> sorry]
output: ["{{{{ early }}}}", "{{{{ in_time }}}}", "{{{{ sorry }}}}"]
""",
        (
            _answer(0, "first"),
            Message(MINUTE, "orders", ORDER.body),
            _answer(2 * MINUTE, "second"),
            _answer(6 * MINUTE, "third"),
        ),
        refused=1,
    ),
    Story(
        "errors",
        f"""
workflow: errors
triggers:
{START}
nodes:
  broken: {{task: work, with: {{value: "{{{{ input.missing }}}}"}}}}
  caught: {{task: work, with: {{value: "{{{{ broken.error.code }}}}"}}}}
  gives_up: {{task: fails, with: {{times: 9}}, retry: {{max_attempts: 2, initial: 1s}}, on_error: continue, default: 7}}
  used: {{task: work, with: {{value: "{{{{ gives_up }}}}"}}}}
  stops: {{fail: {{message: "enough", code: over}}}}
edges: [broken.error -> caught, caught -> gives_up, gives_up -> used, used -> stops]
""",
        (ORDER,),
    ),
    Story(
        "outside",
        f"""
workflow: outside
triggers:
{START}  - {{name: told, memory: {{topic: told}}, dedupe: "told-{{{{ message.value.id }}}}"}}
nodes:
  call:
    http: {{method: POST, url: "URL/call", json: {{n: "{{{{ input.n }}}}"}}}}
    retry: {{max_attempts: 2, initial: 1s}}
  tell: {{publish: {{memory: {{topic: done}}, value: {{id: "{{{{ input.id }}}}", got: "{{{{ call.body }}}}"}}}}}}
edges: [call -> tell]
""",
        (ORDER, Message(MINUTE, "told", ORDER.body)),
        executions=2,
    ),
    Story(
        "turns",
        f"""
workflow: turns
vars: {{sum: 0}}
snapshot_every: 3
triggers:
{START}
nodes:
  rounds:
    forEach: [3, 4]
    do:
      nodes:
        both:
          parallel: 2
          concurrency: 1
          do:
            nodes: {{half: {{task: work, with: {{value: "{{{{ rounds.item + parallel.index }}}}"}}}}}}
            output: "{{{{ half }}}}"
        nap: {{wait: 30s}}
        add: {{set: {{sum: "{{{{ vars.sum + (both | sum) }}}}"}}}}
      edges: [both -> nap, nap -> add]
  race:
    parallel: [first, second]
    on_failure: collect
    do:
      nodes:
        try: {{task: fails, with: {{times: 2}}, retry: {{max_attempts: 2, initial: 1s}}}}
  end: {{task: work, with: {{value: ["{{{{ vars.sum }}}}", "{{{{ race | length }}}}"]}}}}
edges: [rounds -> race, race -> end]
output: "{{{{ end }}}}"
""",
        (ORDER,),
        in_order=False,
    ),
    Story(
        "saga",
        f"""
workflow: saga
triggers:
{START}
nodes:
  flight: {{task: work, with: {{value: 1}}, compensate: {{task: work, with: {{value: "{{{{ step.output }}}}"}}}}}}
  hotels:
    parallel: 2
    do:
      nodes:
        hotel:
          task: work
          with: {{value: "{{{{ parallel.index }}}}"}}
          compensate: {{task: fails, with: {{times: 1}}, retry: {{max_attempts: 2, initial: 1m}}}}
  car: {{task: work_in_thread, compensate: {{task: work, kind: idempotent}}}}
  pay: {{task: fails, with: {{times: 9}}, retry: {{max_attempts: 2, initial: 1s}}, compensate: {{task: work}}}}
edges: [flight -> hotels, flight -> car, hotels -> pay, car -> pay]
""",
        (ORDER,),
        in_order=False,
    ),
    Story(
        "children",
        f"""
workflow: parent
triggers:
{START}
nodes:
  first: {{task: work, with: {{value: 1}}, compensate: {{task: work}}}}
  booked: {{subflow: child, with: {{times: 1}}, result: "{{{{ child.output.flaky }}}}"}}
  lost: {{subflow: child, with: {{times: 9}}, retry: {{max_attempts: 2, initial: 1m}}}}
edges: [first -> booked, booked -> lost]
---
workflow: child
nodes:
  before: {{task: work, with: {{value: 2}}, compensate: {{task: work}}}}
  flaky: {{task: fails, with: {{times: "{{{{ input.times }}}}", value: 3}}, retry: {{max_attempts: 2, initial: 1s}}}}
edges: [before -> flaky]
""",
        (ORDER,),
        executions=4,
    ),
    Story(
        "large-values",
        f"""
workflow: large-values
snapshot_every: 2
triggers:
{START}
nodes:
  big: {{task: large, with: {{kib: 8}}}}
  pass: {{task: work, with: {{value: "{{{{ big }}}}"}}}}
  nap: {{wait: 1m}}
  other: {{task: large, with: {{kib: 4}}}}
  end: {{task: work, with: {{value: ["{{{{ pass }}}}", "{{{{ other }}}}"]}}}}
edges: [big -> pass, pass -> nap, nap -> other, other -> end]
output: "{{{{ end }}}}"
""",
        (ORDER,),
    ),
)
