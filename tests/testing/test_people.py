"""People in a test: decisions, inputs, and answers to what an undo asks."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest

from daemon.core.errors import InvalidInput, NotAllowed
from daemon.handlers import Context, Pause, handler
from daemon.testing import Misused

if TYPE_CHECKING:
    from daemon.testing import Sagad

ASK = """
workflow: ask
nodes:
  ask:
    approval:
      prompt: "Pay {{ input }}?"
      approvers: [ann, bob]
      rule: all
      timeout: 2d
      on_timeout: {escalate: {to: cfo, timeout: 1d, then: reject}}
      reminder: 20h
      form: {type: object, properties: {limit: {type: integer}}}
      notify: [{smtp: {to: "{{ approval.approver }}@example.com"}}]
  yes: {transform: "{{ ask.by }}"}
  no: {transform: "{{ ask.reason }}"}
edges: [ask.approved -> yes, ask.rejected -> no]
"""


async def test_people_decide(sagad: Sagad) -> None:
    """Nothing is sent: what people would be told is noted."""
    flow = sagad.workflow(ASK)
    execution = await flow.start(7)
    with pytest.raises(NotAllowed):
        await execution.approve("ask", by="eve")
    with pytest.raises(InvalidInput):
        await execution.approve("ask", by="ann", data={"limit": "x"})
    await execution.approve("ask", by="ann", data={"limit": 3})
    await execution.delegate("ask", "zoe", by="bob")
    await execution.approve("ask", by="zoe")
    assert await execution.result() == {"yes": ["ann", "zoe"]}
    told = [call["smtp"]["to"] for call in flow.node_calls("ask~notify")]
    assert sorted(told) == ["ann@example.com", "bob@example.com", "zoe@example.com"]


async def test_a_rejection_takes_its_way(sagad: Sagad) -> None:
    execution = await sagad.workflow(ASK).start(7)
    await execution.reject("ask", by="ann")
    assert await execution.result() == {"no": "decided"}


async def test_reminders_and_escalations_come_by_themselves(sagad: Sagad) -> None:
    flow = sagad.workflow(ASK)
    execution = await flow.start(7)
    assert await execution.result() == {"no": "timeout"}
    kinds = [call["notice"]["kind"] for call in flow.node_calls("ask~notify")]
    assert kinds[:6] == ["request", "request", "reminder", "reminder", "reminder", "reminder"]
    assert "escalation" in kinds


async def test_a_decision_survives_a_killed_daemon(sagad: Sagad) -> None:
    flow = sagad.workflow(ASK)
    execution = await flow.start(7)
    await execution.approve("ask", by="ann")
    await flow.restart()
    await execution.approve("ask", by="bob")
    assert await execution.result() == {"yes": ["ann", "bob"]}


@handler("pick")
async def pick(context: Context) -> Any:
    return context.resumed if context.resumed is not None else Pause("which?", {"type": "integer"})


async def test_a_paused_handler_is_given_its_input(sagad: Sagad) -> None:
    flow = sagad.workflow("workflow: w\nnodes: {pick: {task: pick}}", handlers=[pick])
    execution = await flow.start()
    await execution.until(lambda it: it.step("pick").status == "suspended")
    with pytest.raises(InvalidInput):
        await execution.resume_step("pick", "x")
    await flow.restart()
    await execution.resume_step("pick", 7)
    assert await execution.result() == {"pick": 7}


async def test_an_undo_is_answered(sagad: Sagad) -> None:
    flow = sagad.workflow(
        "workflow: w\nundo: manual\nnodes: {a: {task: t.a, compensate: {task: t.undo}}, b: {fail: no}}\nedges: [a -> b]"
    )
    flow.fake("t.a")
    flow.fake("t.undo")
    execution = await flow.start()
    await execution.until(lambda it: "The undo plan" in it.waits_for)
    with pytest.raises(Misused, match="nothing about a"):
        await execution.answer_undo("go", "a")
    await execution.answer_undo("go", note="yes")
    await execution.until(lambda it: it.finished)
    assert execution.step("a~undo").status == "succeeded"
