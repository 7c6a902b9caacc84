"""The fold's part for steps that wait for people: approvals, and handlers that have paused.

Comes from: `evolve`. Goes to: `people`, `state`.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from msgspec.structs import replace

from daemon.core import events as e
from daemon.core.evolve_turns import carried, left, put
from daemon.core.people import Deciding, Resumption, Suspended, Voice, Waiting
from daemon.core.state import InFlight, Retrying, Running, State, Step

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping


def _requested(state: Running, event: e.ApprovalRequested, version: int) -> Running:
    step = Deciding(
        question=version,
        prompt=event.prompt,
        voices=tuple(Voice(approver=approver) for approver in event.approvers),
        need=event.need,
        comment=event.comment,
        form=event.form,
        since=event.at,
        due=event.due,
        on_timeout=event.on_timeout,
        escalation=event.escalation,
        reminder=event.reminder,
        notices=event.notices,
    )
    return _waits(state, event.address, step, version)


def _given(state: Running, event: e.ApprovalGiven, version: int) -> Running:
    said = {
        "decision": event.decision,
        "actor": event.actor,
        "comment": event.comment,
        "data": event.data,
        "at": event.at,
    }
    return _voiced(state, event.address, event.approver, version, **said)


def _delegated(state: Running, event: e.ApprovalDelegated, version: int) -> Running:
    state = _voiced(state, event.address, event.approver, version, approver=event.to, via=event.actor)
    return _changed(state, event.address, version, notices=_deciding(state, event.address).notices + event.notices)


def _refused(state: Running, event: e.ApprovalRefused, version: int) -> Running:
    step = _deciding(state, event.address)
    return _changed(state, event.address, version, refused=(*step.refused, (event.actor, event.decision)))


def _reminded(state: Running, event: e.ApprovalReminded, version: int) -> Running:
    step = _deciding(state, event.address)
    return _changed(state, event.address, version, notices=step.notices + event.notices)


def _escalated(state: Running, event: e.ApprovalEscalated, version: int) -> Running:
    step = _deciding(state, event.address)
    decided = tuple(voice for voice in step.voices if voice.decision)
    asked = {
        "question": version,
        "voices": tuple(Voice(approver=approver) for approver in event.approvers),
        "need": event.need,
        "due": event.due,
        "on_timeout": event.on_timeout,
        "notices": step.notices + event.notices,
    }
    state = _changed(
        state, event.address, version, **asked, escalation=None, escalated=True, overruled=decided, refused=()
    )
    return replace(state, people=state.people.set(event.address, version))


def _suspended(state: Running, event: e.StepSuspended, version: int) -> Running:
    before = state.steps.get(event.address)
    if not isinstance(before, InFlight):
        raise TypeError(f"{event.address} is suspended but was not in flight")
    step = Suspended(
        question=version,
        attempt=event.attempt + 1,
        reason=event.reason,
        expects=event.expects,
        problem=event.problem,
        since=event.at,
        due=event.due,
        **{**carried(before), "state": event.state, "postponed": before.postponed + 1},
    )
    return _waits(left(state, event.address, before), event.address, step, version, before)


def _resume_received(state: Running, event: e.ResumeReceived, version: int) -> Running:
    waiting = (*state.resumes.get(event.address, ()), Waiting(event.resume_id, event.input))
    seen = state.seen.set(resume_key(event.address, event.resume_id), True)  # noqa: FBT003  a set, spelt as a map
    return replace(state, version=version, resumes=state.resumes.set(event.address, waiting), seen=seen)


def _resumed(state: Running, event: e.StepResumed, version: int) -> Running:
    before = state.steps.get(event.address)
    if not isinstance(before, Suspended):
        raise TypeError(f"{event.address} is resumed but was not suspended")
    first, *rest = state.resumes[event.address]
    resumes = state.resumes.set(event.address, tuple(rest)) if rest else state.resumes.delete(event.address)
    given = Resumption(id=first.id, input=first.input, reason=before.reason, expects=before.expects, due=before.due)
    step = Retrying(
        attempt=before.attempt,
        error=None,
        due=event.at,
        since=before.since,
        **{**carried(before), "resumed": given},
    )
    state = left(state, event.address, before)
    steps = put(state, event.address, before, step)
    return replace(state, version=version, steps=steps, resumes=resumes, sleeping=state.sleeping + 1)


def resume_key(address: str, resume_id: str) -> str:
    """Return what an input is known by among all that was received: no signal's id has this form by chance."""
    return f"resume {address} {resume_id}"


def _waits(
    state: Running, address: str, step: Deciding | Suspended, version: int, before: Step | None = None
) -> Running:
    if before is None:
        before = state.steps.get(address)
        state = left(state, address, before)
    people = state.people.set(address, step.question)
    return replace(state, version=version, steps=put(state, address, before, step), people=people)


def _deciding(state: Running, address: str) -> Deciding:
    step = state.steps.get(address)
    if not isinstance(step, Deciding):
        raise TypeError(f"{address} waits for no decision")
    return step


def _changed(state: Running, address: str, version: int, **fields: Any) -> Running:
    step = replace(_deciding(state, address), **fields)
    return replace(state, version=version, steps=state.steps.set(address, step))


def _voiced(state: Running, address: str, whose: str, version: int, **fields: Any) -> Running:
    """Return the state with these fields of the approver's voice."""
    voices = _deciding(state, address).voices
    changed = tuple(replace(voice, **fields) if voice.approver == whose else voice for voice in voices)
    return _changed(state, address, version, voices=changed)


PEOPLE: Mapping[type[e.Event], Callable[[Running, Any, int], State]] = {
    e.ApprovalRequested: _requested,
    e.ApprovalGiven: _given,
    e.ApprovalDelegated: _delegated,
    e.ApprovalRefused: _refused,
    e.ApprovalReminded: _reminded,
    e.ApprovalEscalated: _escalated,
    e.StepSuspended: _suspended,
    e.ResumeReceived: _resume_received,
    e.StepResumed: _resumed,
}
