"""Handlers that pause until somebody gives input, and the inputs, which are served in the order in which they came.

What comes before the handler has paused is kept for it. Whether an input matches what the handler expects is checked
where it comes in; one that came early, when the next attempt takes it: then the step pauses again, and says why.

Comes from: `decide`. Goes to: `settling`, `walk`, `draft`.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from msgspec.structs import replace

from daemon.core import events as e
from daemon.core.address import UNDO, is_call, node_of, turn_around
from daemon.core.draft import timer_id_of
from daemon.core.errors import Rejected
from daemon.core.evolve_people import resume_key
from daemon.core.people import Suspended
from daemon.core.settling import fail, state_too_large
from daemon.core.state import Settled
from daemon.core.walk import start_or_queue

if TYPE_CHECKING:
    from daemon.core.commands import ResumeStep, SuspendStep
    from daemon.core.draft import Draft


def suspend(draft: Draft, command: SuspendStep) -> None:
    """Record that the handler waits for input, and give it the first that is there for it already."""
    address, attempt = command.address, command.attempt
    if draft.over(turn_around(address)) and not address.endswith(UNDO):
        given_up = e.StepError("given up; it had paused for input", "given_up", attempt=attempt)
        fail(draft, address, given_up, retryable=False)
        return
    if (problem := state_too_large(draft, command.state)) is not None:
        fail(draft, address, replace(problem, attempt=attempt), retryable=False)
        return
    draft.emit(
        e.StepSuspended(
            address=address,
            attempt=attempt,
            reason=command.reason,
            expects=command.expects,
            state=command.state,
            due=command.until,
            problem=command.problem,
            at=draft.at,
        )
    )
    if address in draft.running.resumes:
        _go_on(draft, address)
    elif command.until is not None:
        if command.until <= draft.at:
            _too_late(draft, address)
        else:
            draft.wait(address, "input", command.until)


def resume(draft: Draft, command: ResumeStep) -> None:
    """Take an input; a repeat decides nothing. Raises `Rejected` for a step that can never take one."""
    address = command.address
    if resume_key(address, command.resume_id) in draft.running.seen:
        return
    if not _may_pause(draft, address):
        raise Rejected(f"there is no step {address!r} that could pause for input")
    step = draft.running.steps.get(address)
    if isinstance(step, Settled):
        raise Rejected(f"step {address} has ended; it takes no input")
    if draft.running.undoing is not None and not address.endswith(UNDO):
        raise Rejected("the execution is being undone; its steps take no input")
    draft.emit(
        e.ResumeReceived(
            address=address,
            resume_id=command.resume_id,
            input=command.input,
            actor=command.actor,
            at=draft.at,
        )
    )
    go_on_if_given(draft, address)


def go_on_if_given(draft: Draft, address: str) -> None:
    """Let a step that has paused take the first input that is there for it; one that has not paused does nothing."""
    if not isinstance(draft.running.steps.get(address), Suspended):
        return
    timer_id = timer_id_of(address, "input")
    if timer_id in draft.running.timers:
        draft.emit(e.TimerCancelled(timer_id=timer_id, at=draft.at))
    _go_on(draft, address)


def _may_pause(draft: Draft, address: str) -> bool:
    """Tell whether there is, or can be, a step at the address that runs something."""
    if is_call(address):
        return address.removesuffix(UNDO) in draft.running.calls and draft.node(address).type.execute is not None
    node = draft.plan.nodes.get(node_of(address))
    return node is not None and node.type.execute is not None


def fire(draft: Draft, address: str) -> None:
    """Fail the step: nobody has given input in time."""
    _too_late(draft, address)


def _go_on(draft: Draft, address: str) -> None:
    first = draft.running.resumes[address][0]
    draft.emit(e.StepResumed(address=address, resume_id=first.id, at=draft.at))
    start_or_queue(draft, address)


def _too_late(draft: Draft, address: str) -> None:
    step = draft.running.steps[address]
    if not isinstance(step, Suspended):
        raise TypeError(f"{address} waits for no input")
    error = e.StepError("nobody has given input in time", "timeout", attempt=step.attempt)
    fail(draft, address, error, retryable=False)
