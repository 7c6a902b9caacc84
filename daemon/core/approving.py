"""Approvals: people are asked, and their decisions settle the step.

Each approver has one voice. So many approvals as are needed settle the step by its port `approved`; when so many cannot
be reached any more, it is settled by `rejected`, without waiting for the rest. Nobody decides twice, and what somebody
wants who has no voice is refused and recorded. What is told to people is sent by steps of their own, at
`approve[0]~notify`, with their retries; whether that succeeds is nothing to the approval.

Comes from: `walk`, `decide`. Goes to: `settling`, `draft`.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from daemon.core import events as e
from daemon.core.address import NOTIFY, node_of, turn_around
from daemon.core.draft import timer_id_of
from daemon.core.errors import Rejected
from daemon.core.node import Notice, Run
from daemon.core.people import GROUP, Deciding
from daemon.core.settling import fail, succeed
from daemon.core.state import Queued, Retrying
from daemon.core.values import from_json, to_json

if TYPE_CHECKING:
    from collections.abc import Collection, Sequence

    from daemon.core.commands import DelegateApproval, GiveApproval
    from daemon.core.draft import Draft
    from daemon.core.node import AskApproval
    from daemon.core.people import Escalation, Voice

MOST_REFUSED = 100
"""So many refused attempts are recorded of one question, no more."""

_DECISIONS = {"approve": "approved", "reject": "rejected"}


def request(draft: Draft, address: str, ask: AskApproval) -> None:
    """Ask the approvers."""
    draft.emit(
        e.ApprovalRequested(
            address=address,
            prompt=ask.prompt,
            approvers=ask.approvers,
            need=ask.need,
            comment=ask.comment,
            form=to_json(ask.form),
            due=None if ask.timeout is None else draft.at + ask.timeout,
            on_timeout=ask.on_timeout,
            escalation=ask.escalation,
            reminder=ask.reminder,
            notices=_notices_for(draft, address, ask.approvers),
            at=draft.at,
        )
    )
    _set_timers(draft, address)
    _notify(draft, address, "request", ask.approvers)


def give(draft: Draft, command: GiveApproval) -> None:
    """Take a decision, or refuse it. Raises `Rejected` when a comment is missing."""
    address, actor = command.address, command.actor
    step = _asked(draft, address, command.question)
    if step is None or any(
        voice.actor == actor and voice.decision == command.decision for voice in step.voices if voice.decision
    ):
        return
    voice = standing(step, actor, command.groups)
    if isinstance(voice, str):
        _refuse(draft, address, actor, command.decision, voice)
        return
    needs_comment = step.comment == "required" or (step.comment == "on_reject" and command.decision == "rejected")
    if needs_comment and not command.comment.strip():
        raise Rejected("a comment is needed: say why")
    draft.emit(
        e.ApprovalGiven(
            address=address,
            approver=voice.approver,
            decision=command.decision,
            comment=command.comment,
            data=command.data,
            actor=actor,
            at=draft.at,
        )
    )
    if verdict := _deciding(draft, address).verdict:
        _settle(draft, address, verdict, "decided")


def delegate(draft: Draft, command: DelegateApproval) -> None:
    """Let another decide instead, or refuse it. Raises `Rejected` for one who is asked already, or has decided."""
    address, actor, to = command.address, command.actor, command.to
    step = _asked(draft, address, command.question)
    if step is None or any(voice.approver == to and voice.via == actor for voice in step.voices):
        return
    voice = standing(step, actor, command.groups)
    if isinstance(voice, str):
        _refuse(draft, address, actor, "delegated", voice)
        return
    if any(other.approver == to for other in step.voices):
        raise Rejected(f"{to} is asked already")
    if any(other.actor == to for other in step.voices):
        raise Rejected(f"{to} has decided already, and has one voice")
    draft.emit(
        e.ApprovalDelegated(
            address=address,
            approver=voice.approver,
            to=to,
            comment=command.comment,
            notices=_notices_for(draft, address, (to,)),
            actor=actor,
            at=draft.at,
        )
    )
    _notify(draft, address, "delegation", (to,))


def standing(step: Deciding, actor: str, groups: Collection[str]) -> Voice | str:
    """Return the open voice that the actor may use, as one asked or in a group; or why there is none."""
    if any(voice.actor == actor for voice in step.voices):
        return f"{actor} has decided already"
    names = (actor, *(f"{GROUP}{group}" for group in groups))
    for name in names:
        for voice in step.voices:
            if voice.approver == name and not voice.decision:
                return voice
    if handed_on := next((voice for voice in step.voices if voice.via == actor), None):
        return f"{actor} has handed the decision on to {handed_on.approver}"
    if any(voice.approver in names for voice in step.voices):
        return f"another of the group of {actor} has decided already"
    return f"{actor} is not among those who are asked"


def fire(draft: Draft, address: str, purpose: str) -> None:
    """Act on a timer of the approval: remind, or do what was said for when nobody decides in time."""
    step = _deciding(draft, address)
    if purpose == "reminder":
        _remind(draft, address, step)
    elif step.escalation is not None:
        _escalate(draft, address, step.escalation)
    elif step.on_timeout in _DECISIONS:
        _settle(draft, address, _DECISIONS[step.on_timeout], "timeout")
    else:
        _withdraw(draft, address)
        fail(draft, address, e.StepError("nobody has decided in time", "timeout"), retryable=False)


def _remind(draft: Draft, address: str, step: Deciding) -> None:
    """Tell those again who have not decided; not while the execution is paused: nothing is sent then."""
    silent = tuple(voice.approver for voice in step.voices if not voice.decision)
    _remind_later(draft, address, step)
    if draft.running.paused is None:
        draft.emit(e.ApprovalReminded(address=address, notices=_notices_for(draft, address, silent), at=draft.at))
        _notify(draft, address, "reminder", silent)


def _escalate(draft: Draft, address: str, ask: Escalation) -> None:
    _withdraw(draft, address)
    draft.emit(
        e.ApprovalEscalated(
            address=address,
            approvers=ask.to,
            need=ask.need,
            due=None if ask.timeout is None else draft.at + ask.timeout,
            on_timeout=ask.then,
            notices=_notices_for(draft, address, ask.to),
            at=draft.at,
        )
    )
    _set_timers(draft, address)
    _notify(draft, address, "escalation", ask.to)


def _settle(draft: Draft, address: str, decision: str, reason: str) -> None:
    step = _deciding(draft, address)
    said = [_said(voice) for voice in (*step.overruled, *step.voices) if voice.decision]
    last = max((voice for voice in step.voices if voice.at is not None), key=lambda voice: str(voice.at), default=None)
    output = {
        "decision": decision,
        "reason": reason,
        "by": [voice.actor for voice in step.voices if voice.decision == decision],
        "at": draft.at,
        "comment": last.comment if last is not None else "",
        "data": from_json(last.data) if last is not None else None,
        "decisions": said,
        "escalated": step.escalated,
    }
    _withdraw(draft, address)
    succeed(draft, address, to_json(output), port=decision)


def _said(voice: Voice) -> dict[str, object]:
    return {
        "approver": voice.approver,
        "decision": voice.decision,
        "actor": voice.actor,
        "comment": voice.comment,
        "data": from_json(voice.data),
        "at": voice.at,
    }


def _withdraw(draft: Draft, address: str) -> None:
    """Cancel the timers, and the notices that are not under way: what they would say is not so any more."""
    for purpose in ("approval", "reminder"):
        _cancel_timer(draft, timer_id_of(address, purpose))
    for number in range(_deciding(draft, address).notices):
        notice = notice_of(address, number)
        if isinstance(draft.running.steps.get(notice), Queued | Retrying):
            _cancel_timer(draft, timer_id_of(notice, "retry"))
            draft.emit(e.StepSkipped(address=notice, at=draft.at))


def _cancel_timer(draft: Draft, timer_id: str) -> None:
    if timer_id in draft.running.timers:
        draft.emit(e.TimerCancelled(timer_id=timer_id, at=draft.at))


def _set_timers(draft: Draft, address: str) -> None:
    step = _deciding(draft, address)
    if step.due is not None:
        draft.wait(address, "approval", step.due)
    _remind_later(draft, address, step)


def _remind_later(draft: Draft, address: str, step: Deciding) -> None:
    if step.reminder is not None:
        draft.wait(address, "reminder", draft.at + step.reminder)


def _refuse(draft: Draft, address: str, actor: str, decision: str, reason: str) -> None:
    refused = _deciding(draft, address).refused
    if (actor, decision) not in refused and len(refused) < MOST_REFUSED:
        draft.emit(e.ApprovalRefused(address=address, decision=decision, reason=reason, actor=actor, at=draft.at))


def notice_of(address: str, number: int) -> str:
    """Return the address of one of the approval's notices, from 0."""
    return f"{address}[{number}]{NOTIFY}"


def _notices_for(draft: Draft, address: str, approvers: Sequence[str]) -> int:
    node = draft.plan.nodes[node_of(address)]
    return len(approvers) * node.type.notifier.count(node.config) if node.type.notifier is not None else 0


def _notify(draft: Draft, address: str, kind: str, approvers: Sequence[str]) -> None:
    """Queue the notices to these approvers; one that cannot be written has failed, and nothing else."""
    node, step = draft.plan.nodes[node_of(address)], _deciding(draft, address)
    if node.type.notifier is None:
        return
    number = step.notices - _notices_for(draft, address, approvers)
    scope = draft.scope.at(turn_around(address))
    for approver in approvers:
        notice = Notice(
            address=address, question=step.question, kind=kind, approver=approver, prompt=step.prompt, due=step.due
        )
        for written in node.type.notifier.write(node.config, scope, notice):
            at_notice = notice_of(address, number)
            number += 1
            if isinstance(written, Run):
                sent = to_json(written.input)
                draft.emit(e.StepQueued(address=at_notice, input=sent, secrets=written.secrets, at=draft.at))
            else:
                draft.emit(e.StepFailed(address=at_notice, error=written.error, at=draft.at))


def _asked(draft: Draft, address: str, question: int) -> Deciding | None:
    """Return the approval if it is still the one that was meant."""
    step = draft.running.steps.get(address)
    return step if isinstance(step, Deciding) and step.question == question else None


def _deciding(draft: Draft, address: str) -> Deciding:
    step = draft.running.steps[address]
    if not isinstance(step, Deciding):
        raise TypeError(f"{address} waits for no decision")
    return step
