"""Driving an execution to its end: every handler succeeds, every timer fires, every awaited signal comes."""

from __future__ import annotations

from itertools import count
from typing import TYPE_CHECKING

from daemon.core import commands as c
from daemon.core.decide import decision
from daemon.core.effects import Advance, ArmTimer, CancelChild, RunStep, owed
from daemon.core.leaving import child_id_of
from daemon.core.people import Deciding
from daemon.core.saga import CHOICES
from daemon.core.state import InFlight, Running, State
from daemon.core.values import NULL, to_json
from tests.core.histories import page_answer, starts_child
from tests.core.spec import EXECUTION, minute

if TYPE_CHECKING:
    from datetime import datetime
    from uuid import UUID

    from daemon.core.events import Event
    from daemon.core.plan import Plan


def drive(plan: Plan, state: State, *, most: int = 500, since: int = 0, log: list[Event] | None = None) -> State:
    """Return the state when nothing is left to answer, or after `most` commands; `log` is told the events."""
    for number in count(since):
        command = _next(plan, state, number)
        if command is None or number == since + most:
            return state
        events, state, _ = decision(plan, state, command)
        if log is not None:
            log += events
    raise AssertionError


def _next(plan: Plan, state: State, number: int) -> c.Command | None:
    if not isinstance(state, Running):
        return None
    at = minute(10_000 + number)
    if state.paused is not None:
        return c.ResumeExecution(actor="test", at=at)
    if state.stop is not None:
        return c.LeaveBreakpoint(stop=state.stop.version, how="continue", actor="test", at=at)
    for effect in owed(state):
        match effect:
            case RunStep(address=address, attempt=attempt) if starts_child(plan, state, address):
                child = child_id_of(EXECUTION, address, attempt)
                return c.AwaitChild(address=address, attempt=attempt, child=child, workflow="s", definition="d", at=at)
            case CancelChild(address=address, attempt=attempt, child=child):
                return _finish(address, attempt, child, at)
            case RunStep(address=address, attempt=attempt):
                return c.CompleteStep(
                    address=address, attempt=attempt, output=to_json(page_answer(address) or number), at=at
                )
            case ArmTimer(timer_id=timer_id) if state.timers[timer_id].purpose not in {"execution", "reminder"}:
                return c.FireTimer(timer_id=timer_id, at=at)
            case Advance(address=address, number=advances):
                journal = state.functions[address]
                seen = journal.seen + len(journal.done)
                return c.AdvanceFunction(address=address, number=advances, seen=seen, outcome=to_json(number), at=at)
            case _:
                pass
    for address in sorted(state.limited):
        return c.GrantSlots(address=address, at=at)
    for address in sorted(state.children):
        step = state.steps[address]
        return _finish(address, step.attempt, state.children[address], at) if isinstance(step, InFlight) else None
    for name in sorted(set(state.awaiting.values())):
        return c.ReceiveSignal(signal_id=f"drive-{number}", name=name, data=to_json(number), actor="test", at=at)
    for address in sorted(state.people):
        return _of_people(state, address, number)
    for address, ask in state.asking.items():
        choice = CHOICES[ask.kind][0]
        return c.AnswerUndo(address=address, question=ask.version, choice=choice, actor="test", at=at)
    return None


def _finish(address: str, attempt: int, child: UUID, at: datetime) -> c.FinishChild:
    return c.FinishChild(address=address, attempt=attempt, child=child, status="completed", at=at)


def _of_people(state: Running, address: str, number: int) -> c.Command:
    step, at = state.steps[address], minute(10_000 + number)
    if not isinstance(step, Deciding):
        return c.ResumeStep(address=address, resume_id=f"drive-{number}", input=NULL, actor="test", at=at)
    name = next(voice.approver for voice in step.voices if not voice.decision)
    return c.GiveApproval(
        address=address,
        question=step.question,
        decision="approved",
        actor=name,
        comment="well",
        data=to_json({}),
        at=at,
    )
