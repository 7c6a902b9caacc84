"""The index rows of approvals that events imply. Pure.

Comes from: `projection`. Goes to: eventstore/index.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from daemon.core import events as e
from daemon.core.people import Deciding, Voice
from daemon.core.state import NotStarted, Running
from eventstore.index import ApprovalChange, ApprovalRow

if TYPE_CHECKING:
    from collections.abc import Sequence
    from datetime import datetime
    from uuid import UUID

    from daemon.core.state import State

_OF_APPROVALS = (e.ApprovalRequested, e.ApprovalGiven, e.ApprovalDelegated, e.ApprovalEscalated)
_KINDS = frozenset(_OF_APPROVALS)
_ENDINGS = (e.StepSucceeded, e.StepFailed)


def approvals_of(
    execution_id: UUID, before: State, events: Sequence[e.Event], after: State
) -> tuple[ApprovalChange, ...]:
    """Return what became of the approvals that the events are about, and of those that ended with what was around."""
    waited = before.people if isinstance(before, Running) else {}
    waits = after.people if isinstance(after, Running) else {}
    same = waited is waits or not (waited or waits)
    if same and _KINDS.isdisjoint(map(type, events)):
        return ()
    named = dict.fromkeys(event.address for event in events if isinstance(event, _OF_APPROVALS))
    if waited is not waits:
        named |= dict.fromkeys(address for address in sorted(waited) if address not in waits)
    changes = (_change(execution_id, address, before, events, after) for address in named)
    return tuple(change for change in changes if change is not None)


def approvals_anew(
    execution_id: UUID, before: State, branched: State, events: Sequence[e.Event], after: State
) -> tuple[ApprovalChange, ...]:
    """Return the approvals of an execution that goes on from a past: those that it had, and those open there."""
    had = before.people if isinstance(before, Running) else {}
    there = branched.people if isinstance(branched, Running) else {}
    now = after.people if isinstance(after, Running) else {}
    asked = (event.address for event in events if isinstance(event, _OF_APPROVALS))
    named = dict.fromkeys((*sorted({*had, *there, *now}), *asked))
    known = before if any(address in had for address in named) and not there else branched
    changes = (_change(execution_id, address, known, events, after) for address in named)
    return tuple(change for change in changes if change is not None)


def _change(
    execution_id: UUID, address: str, before: State, events: Sequence[e.Event], after: State
) -> ApprovalChange | None:
    now = _deciding(after, address)
    asked = now or _deciding(before, address) or _requested(before, events, address)
    if asked is None or isinstance(after, NotStarted):
        return None
    status, at = ("open", None) if now is not None else _ending(events, address)
    row = ApprovalRow(
        execution_id=execution_id,
        address=address,
        question=asked.question,
        workflow=after.workflow,
        status=status,
        prompt="" if after.subject else asked.prompt,
        requested_at=asked.since,
        due_at=asked.due,
        decided_at=at,
    )
    return ApprovalChange(row, tuple(v.approver for v in asked.voices if now is None or not v.decision))


def _deciding(state: State, address: str) -> Deciding | None:
    step = state.steps.get(address) if isinstance(state, Running) else None
    return step if isinstance(step, Deciding) else None


def _requested(before: State, events: Sequence[e.Event], address: str) -> Deciding | None:
    """Return what was asked in the very append that ends it."""
    for version, event in enumerate(events, start=before.version + 1):
        if isinstance(event, e.ApprovalRequested) and event.address == address:
            voices = tuple(Voice(approver=approver) for approver in event.approvers)
            need, since, due = event.need, event.at, event.due
            return Deciding(question=version, prompt=event.prompt, voices=voices, need=need, since=since, due=due)
    return None


def _ending(events: Sequence[e.Event], address: str) -> tuple[str, datetime]:
    for event in events:
        if isinstance(event, _ENDINGS) and event.address == address:
            return (event.port if isinstance(event, e.StepSucceeded) else "failed"), event.at
    return "withdrawn", events[-1].at
