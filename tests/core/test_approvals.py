"""Approvals: who is asked, whose decision counts, and how it ends."""

from __future__ import annotations

from typing import Any

import pytest
from msgspec.structs import replace

from daemon.core.errors import Rejected
from daemon.core.events import StepSucceeded
from daemon.core.people import Deciding
from daemon.core.state import Failed, Running, Skipped, cause
from daemon.core.values import from_json
from tests.core.spec import Story


def asked(more: str = "", *, approvers: str = "[ann, bob, cid]", around: str = "{}") -> Story:
    story = Story.of(
        f"workflow: w\nnodes: {{ask: {{approval: {{prompt: 'Pay {{{{ input.x }}}}?', approvers: {approvers}{more}}}}},"
        " yes: {task: t.yes}, no: {task: t.no}, late: {task: t.late}}\n"
        "edges: [ask.approved -> yes, ask.rejected -> no, ask.error -> late]"
    )
    story.start({"x": 7})
    return story


def names(lines: list[str]) -> list[str]:
    return [" ".join(line.split()[:2]) for line in lines]


def step(story: Story) -> Deciding:
    assert isinstance(story.state, Running)
    found = story.state.steps["ask"]
    assert isinstance(found, Deciding)
    return found


def output(story: Story) -> Any:
    [event] = [event for event in story.events if isinstance(event, StepSucceeded) and event.address == "ask"]
    return from_json(event.output)


def test_an_approval_waits_for_a_person() -> None:
    story = asked()
    assert cause(story.state) == "person"
    assert (step(story).prompt, step(story).need) == ("Pay 7?", 1)


def test_any_of_them_is_enough() -> None:
    story = asked()
    assert names(story.decide("ask", "bob", comment="fine", data={"limit": 9}))[:3] == [
        "ApprovalGiven address=ask",
        "StepSucceeded address=ask",
        "StepStarted address=yes",
    ]
    said = output(story)
    assert (said["decision"], said["by"], said["comment"], said["data"]) == ("approved", ["bob"], "fine", {"limit": 9})
    assert said["decisions"][0]["actor"] == "bob"


def test_one_rejection_of_three_leaves_any_open() -> None:
    """With `any`, it is rejected when all have rejected."""
    story = asked()
    story.decide("ask", "ann", "rejected")
    story.decide("ask", "bob", "rejected")
    assert names(story.decide("ask", "cid", "rejected"))[-1] == "StepStarted address=no" or story.started == ["no"]


def test_all_must_approve_and_one_rejection_ends_it() -> None:
    story = asked(", rule: all")
    assert names(story.decide("ask", "ann")) == ["ApprovalGiven address=ask"]
    story.decide("ask", "bob", "rejected")
    assert story.started == ["no"]


def test_a_quorum_ends_as_soon_as_it_is_reached() -> None:
    story = asked(", rule: {quorum: 2}")
    story.decide("ask", "cid")
    story.decide("ask", "ann")
    assert story.started == ["yes"]
    assert output(story)["by"] == ["ann", "cid"]


def test_a_quorum_that_cannot_be_reached_any_more_is_rejected_at_once() -> None:
    story = asked(", rule: {quorum: 2}")
    story.decide("ask", "cid", "rejected")
    story.decide("ask", "ann", "rejected")
    assert story.started == ["no"]


def test_who_is_not_asked_is_refused_and_recorded_once() -> None:
    story = asked()
    assert story.decide("ask", "eve") == [
        "ApprovalRefused address=ask decision=approved reason=eve is not among those who are asked"
    ]
    assert story.decide("ask", "eve") == []
    assert names(story.decide("ask", "eve", "rejected")) == ["ApprovalRefused address=ask"]
    assert story.started == []


def test_nobody_changes_his_mind() -> None:
    story = asked(", rule: all")
    story.decide("ask", "ann")
    assert "ann has decided already" in story.decide("ask", "ann", "rejected")[0]
    assert story.decide("ask", "ann") == []


def test_a_question_that_is_decided_takes_no_more() -> None:
    story = asked()
    question = story.question("ask")
    story.decide("ask", "ann")
    assert story.decide("ask", "bob", "rejected", question=question) == []
    assert story.decide("yes", "bob", question=1) == []


def test_one_member_speaks_for_a_group() -> None:
    story = asked(", rule: all", approvers="[ann, 'group:fin']")
    assert "is not among" in story.decide("ask", "bob")[0]
    story.decide("ask", "bob", groups=("fin",))
    assert "another of the group" in story.decide("ask", "cid", groups=("fin",))[0]
    story.decide("ask", "ann", groups=("fin",))
    assert output(story)["by"] == ["ann", "bob"]


def test_nobody_has_two_voices() -> None:
    """Who is asked by name and in a group decides once."""
    story = asked(", rule: all", approvers="[ann, 'group:fin']")
    story.decide("ask", "ann", groups=("fin",))
    assert "has decided already" in story.decide("ask", "ann", "rejected", groups=("fin",))[0]


def test_a_decision_can_be_handed_on() -> None:
    story = asked(", rule: all", approvers="[ann]")
    assert story.delegate("ask", "ann", "zoe") == ["ApprovalDelegated address=ask approver=ann to=zoe"]
    assert "has handed the decision on to zoe" in story.decide("ask", "ann")[0]
    story.decide("ask", "zoe")
    assert output(story)["by"] == ["zoe"]


def test_only_who_is_asked_hands_on_and_not_to_one_who_is_asked() -> None:
    story = asked()
    assert "decision=delegated" in story.delegate("ask", "eve", "zoe")[0]
    with pytest.raises(Rejected, match="bob is asked already"):
        story.delegate("ask", "ann", "bob")


def test_a_decision_is_not_handed_on_to_one_who_has_decided_for_a_group() -> None:
    """He has one voice: with `all`, the other would never be heard."""
    story = asked(", rule: all", approvers="[ann, 'group:fin']")
    story.decide("ask", "bob", groups=("fin",))
    with pytest.raises(Rejected, match="bob has decided already, and has one voice"):
        story.delegate("ask", "ann", "bob")


def test_a_missing_comment_is_asked_for() -> None:
    story = asked(", comment: on_reject")
    with pytest.raises(Rejected, match="a comment is needed"):
        story.decide("ask", "ann", "rejected", comment=" ")
    story.decide("ask", "ann")
    needy = asked(", comment: required")
    with pytest.raises(Rejected, match="a comment is needed"):
        needy.decide("ask", "ann")
    needy.decide("ask", "ann", comment="ok")
    assert needy.started == story.started == ["yes"]


@pytest.mark.parametrize(("ending", "begun"), [("approve", "yes"), ("reject", "no"), ("fail", "late")])
def test_a_time_limit_decides(ending: str, begun: str) -> None:
    story = asked(f", timeout: 2m, on_timeout: {ending}")
    assert cause(story.state) == "person"
    story.fire("ask#approval", after=2)
    assert story.started == [begun]


def test_a_decision_in_time_cancels_the_timers() -> None:
    story = asked(", timeout: 2m, reminder: 1m")
    assert names(story.decide("ask", "ann"))[1:3] == [
        "TimerCancelled timer_id=ask#approval",
        "TimerCancelled timer_id=ask#reminder",
    ]


def test_an_escalation_asks_others_by_a_new_question() -> None:
    story = asked(", rule: all, timeout: 2m, on_timeout: {escalate: {to: cfo, timeout: 1m, then: approve}}")
    before = story.question("ask")
    story.decide("ask", "ann")
    assert names(story.fire("ask#approval", after=2)) == [
        "TimerFired timer_id=ask#approval",
        "ApprovalEscalated address=ask",
        "TimerSet timer_id=ask#approval",
    ]
    assert story.decide("ask", "bob", question=before) == []
    assert "is not among" in story.decide("ask", "bob")[0]
    story.decide("ask", "cfo", "rejected")
    said = output(story)
    assert (said["decision"], said["by"], said["escalated"]) == ("rejected", ["cfo"], True)
    assert [one["actor"] for one in said["decisions"]] == ["ann", "cfo"]


def test_an_escalation_has_an_end_too() -> None:
    story = asked(", timeout: 2m, on_timeout: {escalate: {to: [cfo, ceo], timeout: 1m, then: approve}}")
    story.fire("ask#approval", after=2)
    story.fire("ask#approval", after=1)
    assert output(story)["reason"] == "timeout"
    forever = asked(", timeout: 2m, on_timeout: {escalate: {to: cfo}}")
    forever.fire("ask#approval", after=2)
    forever.decide("ask", "cfo")
    assert forever.started == ["yes"]


NOTIFY = ", rule: all, notify: [{handler: t.tell, with: {to: '{{ approval.approver }}'}}]"


def test_each_approver_is_told_by_a_step_of_its_own() -> None:
    story = asked(NOTIFY, approvers="[ann, bob]")
    assert story.started == ["ask[0]~notify", "ask[1]~notify"]
    assert isinstance(story.state, Running)
    assert from_json(story.state.steps["ask[1]~notify"].input)["handler"] == {"to": "bob"}  # type: ignore[union-attr]  # in flight
    story.decide("ask", "ann")
    story.decide("ask", "bob")
    story.complete("yes")
    story.complete("ask[0]~notify")
    assert story.complete("ask[1]~notify")[-1].startswith("ExecutionCompleted")


def test_a_notice_that_fails_fails_nothing_else() -> None:
    story = asked(NOTIFY, approvers="[ann]")
    story.fail("ask[0]~notify", retryable=False)
    assert cause(story.state) == "person"
    story.decide("ask", "ann")
    assert story.started[-1] == "yes"


def test_a_notice_is_not_sent_again_when_it_is_decided() -> None:
    """One that waits for another attempt is dropped; one at work is not tried again."""
    story = asked(NOTIFY, approvers="[ann, bob]")
    story.fail("ask[0]~notify")
    story.decide("ask", "ann")
    said = names(story.decide("ask", "bob"))
    assert "TimerCancelled timer_id=ask[0]~notify#retry" in said
    assert "StepSkipped address=ask[0]~notify" in said
    assert "retry_at" not in story.fail("ask[1]~notify")[0]
    assert isinstance(story.state, Running)
    assert isinstance(story.state.steps["ask[0]~notify"], Skipped)


def test_a_notice_waits_for_a_slot_and_for_the_end_of_a_pause() -> None:
    story = Story.of(
        "workflow: w\nnodes: {a: {task: t.a}, ask: {approval: {prompt: x, approvers: ann,"
        " notify: [{handler: t.tell}]}}}\nedges: [a -> ask]"
    )
    story.start()
    story.pause()
    assert names(story.complete("a"))[-1] == "StepQueued address=ask[0]~notify"
    assert names(story.resume())[-1] == "StepStarted address=ask[0]~notify"


def test_a_notice_that_cannot_be_written_has_failed() -> None:
    story = asked(", notify: [{handler: t.tell, with: {to: '{{ input.nobody }}'}}]", approvers="[ann]")
    assert isinstance(story.state, Running)
    failed = story.state.steps["ask[0]~notify"]
    assert isinstance(failed, Failed)
    assert failed.error.code == "expression"
    story.decide("ask", "ann")
    assert story.started == ["yes"]


def test_the_silent_are_reminded_again_and_again() -> None:
    story = asked(NOTIFY + ", reminder: 60m", approvers="[ann, bob]")
    story.decide("ask", "ann")
    story.fire("ask#reminder", after=60)
    assert story.started[2:] == ["ask[2]~notify"]
    story.fire("ask#reminder", after=60)
    assert story.started[3:] == ["ask[3]~notify"]
    story.delegate("ask", "bob", "zoe")
    assert story.started[4:] == ["ask[4]~notify"]


def test_nobody_is_reminded_during_a_pause() -> None:
    story = asked(NOTIFY + ", reminder: 60m", approvers="[ann]")
    story.pause()
    assert names(story.fire("ask#reminder", after=60)) == [
        "TimerFired timer_id=ask#reminder",
        "TimerSet timer_id=ask#reminder",
    ]


def test_a_quorum_that_nobody_could_reach_fails_the_step() -> None:
    story = asked(", rule: {quorum: 2}", approvers="'{{ [input.x | string] }}'")
    assert story.started == ["late"]


@pytest.mark.parametrize("given", ["'{{ [] }}'", "'{{ [1] }}'", "'{{ input.x }}'"])
def test_approvers_must_be_names(given: str) -> None:
    assert asked(approvers=given).started == ["late"]


def test_an_approval_is_given_up_with_its_turn() -> None:
    story = Story.of(
        "workflow: w\nnodes: {f: {parallel: 2, enough: 1, do: {nodes: {a: {approval: {prompt: x, approvers: ann,"
        " timeout: 5m}}}}}}"
    )
    story.start()
    question = story.question("f[1].a")
    story.decide("f[0].a", "ann")
    assert story.decide("f[1].a", "ann", question=question) == []
    assert story.result


def test_a_cancelled_execution_takes_no_decision() -> None:
    story = Story.of(
        "workflow: w\nnodes: {a: {task: t.a, compensate: {task: t.u}}, b: {approval: {prompt: x, approvers: ann}}}\n"
        "edges: [a -> b]"
    )
    story.start()
    story.complete("a")
    question = story.question("b")
    story.cancel()
    assert story.decide("b", "ann", question=question) == []
    assert story.complete("a~undo")[-1].startswith("ExecutionCancelled")


def test_a_type_of_its_own_may_ask_and_tell_nobody() -> None:
    plan = asked().plan
    node = plan.nodes["ask"]
    quiet = replace(node, type=replace(node.type, notifier=None))
    story = Story(replace(plan, nodes={**plan.nodes, "ask": quiet}))
    story.start({"x": 7})
    assert story.started == []
    story.decide("ask", "ann")
    assert story.started == ["yes"]
