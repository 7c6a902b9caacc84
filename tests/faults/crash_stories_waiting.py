"""More stories of the crash-point enumeration: of people, of limits, of batches, and of durable functions.

Used by: `crash_points`, with `crash_stories`.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from tests.faults.crash_stories import ANSWER, MINUTE, ORDER, START, STORIES, Act, Message, Story

if TYPE_CHECKING:
    from collections.abc import Sequence

WAITING: tuple[Story, ...] = (
    Story(
        "approval",
        f"""
workflow: approval
triggers:
{START}
nodes:
  ask:
    approval:
      prompt: "pay {{{{ input.n }}}}?"
      approvers: [ann, bob]
      rule: all
      timeout: 200s
      reminder: 80s
      on_timeout: {{escalate: {{to: [cid], timeout: 10m, then: reject}}}}
      notify: [{{handler: tells, with: {{to: "{{{{ approval.approver }}}}"}}}}]
  pay: {{task: work, with: {{value: "{{{{ ask.by }}}}"}}}}
  again: {{approval: {{prompt: really?, approvers: [ann, bob], timeout: 1m, on_timeout: reject}}}}
  sorry: {{task: work, with: {{value: "{{{{ again.reason }}}}"}}}}
edges: [ask.approved -> pay, pay -> again, again.rejected -> sorry]
output: ["{{{{ pay }}}}", "{{{{ sorry }}}}"]
""",
        (ORDER, Act(90, "ask", "ann", "approved"), Act(300, "ask", "cid", "approved")),
        in_order=False,
    ),
    Story(
        "throttled",
        f"""
workflow: throttled
throttle: {{concurrency: 1}}
triggers:
{START}
nodes:
  both:
    parallel: 2
    do:
      nodes: {{a: {{task: work, with: {{value: 1}}, throttle: [{{concurrency: 1}}, {{rate: {{limit: 1, per: 1m}}}}]}}}}
  nap: {{wait: 3m}}
  b: {{task: work, throttle: {{concurrency: 1, key: k}}}}
edges: [both -> nap, nap -> b]
""",
        (ORDER, Message(10, "orders", '{"id": "B8", "n": 5}')),
        executions=2,
        in_order=False,
    ),
    Story(
        "batches",
        f"""
workflow: batches
start: {{batch: {{size: 2, within: 5m}}}}
triggers:
{START}
nodes:
  a: {{task: work, with: {{value: "{{{{ input.messages }}}}"}}}}
output: "{{{{ a }}}}"
""",
        (
            ORDER,
            Message(10, "orders", '{"id": "B8", "n": 5}'),
            Message(20, "orders", ORDER.body),
            Message(MINUTE, "orders", '{"id": "C9", "n": 6}'),
        ),
        executions=2,
    ),
    Story(
        "durable",
        f"""
workflow: durable
triggers:
{START}{ANSWER}
nodes:
  flow: {{function: crash.flow, with: {{n: "{{{{ input.n }}}}"}}}}
  keep: {{task: work, with: {{value: "{{{{ flow }}}}"}}}}
  stops: {{fail: {{message: enough, code: over}}}}
edges: [flow -> keep, keep -> stops]
---
workflow: small
nodes: {{a: {{task: work, with: {{value: "{{{{ input.n }}}}"}}, compensate: {{task: work}}}}}}
""",
        (ORDER, Message(9 * MINUTE, "answers", '{"id": "A7", "answer": "yes"}')),
        executions=2,
        in_order=False,
    ),
    Story(
        "paused",
        f"""
workflow: paused
triggers:
{START}
nodes:
  nap: {{wait: 1m}}
  choose: {{task: asks, compensate: {{task: work, with: {{value: "{{{{ step.output }}}}"}}}}}}
  other: {{task: asks}}
  end: {{task: work, with: {{value: ["{{{{ choose }}}}", "{{{{ other }}}}"]}}}}
edges: [nap -> choose, choose -> other, other -> end]
output: "{{{{ end }}}}"
""",
        (
            ORDER,
            Act(30, "choose", "ann", given="of the wrong kind"),
            Act(4 * MINUTE, "choose", "ann", given=7),
            Act(5 * MINUTE, "other", "bob", given=8),
        ),
    ),
)
ALL: Sequence[Story] = (*STORIES, *WAITING)
"""Those that wait for other programs, and those that wait for people, limits and functions."""
