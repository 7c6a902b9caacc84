"""The commands of people who are asked, as their events tell them. See `recorded_commands`."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from daemon.core import commands as c
from daemon.core import events as e
from daemon.core.people import GROUP, Deciding

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping, Sequence

    from daemon.core.state import Running

_DELEGATED = "delegated"


def _question(state: Running, address: str) -> int:
    step = state.steps.get(address)
    return step.question if isinstance(step, Deciding) else 0


def _groups(approver: str) -> tuple[str, ...]:
    return (approver.removeprefix(GROUP),) if approver.startswith(GROUP) else ()


def _given(state: Running, first: e.ApprovalGiven, __: object) -> Iterator[c.Command]:
    yield c.GiveApproval(
        address=first.address,
        question=_question(state, first.address),
        decision=first.decision,
        actor=first.actor,
        groups=_groups(first.approver),
        comment=first.comment,
        data=first.data,
        at=first.at,
    )


def _delegated(state: Running, first: e.ApprovalDelegated, __: object) -> Iterator[c.Command]:
    yield c.DelegateApproval(
        address=first.address,
        question=_question(state, first.address),
        to=first.to,
        actor=first.actor,
        groups=_groups(first.approver),
        comment=first.comment,
        at=first.at,
    )


def _refused(state: Running, first: e.ApprovalRefused, __: object) -> Iterator[c.Command]:
    """Read who may not decide: by a group that somebody of has decided, or by none."""
    step = state.steps.get(first.address)
    voices = step.voices if isinstance(step, Deciding) else ()
    found = [_groups(voice.approver) for voice in voices if voice.approver.startswith(GROUP)]
    for groups in ((), *dict.fromkeys(found)):
        question = _question(state, first.address)
        if first.decision == _DELEGATED:
            yield c.DelegateApproval(
                address=first.address, question=question, to="", actor=first.actor, groups=groups, at=first.at
            )
        else:
            yield c.GiveApproval(
                address=first.address,
                question=question,
                decision=first.decision,
                actor=first.actor,
                groups=groups,
                at=first.at,
            )


OF_APPROVALS: Mapping[type[e.Event], Callable[[Any, Any, Sequence[e.Event]], Iterator[c.Command]]] = {
    e.ApprovalGiven: _given,
    e.ApprovalDelegated: _delegated,
    e.ApprovalRefused: _refused,
}
