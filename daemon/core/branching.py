"""Forks and rewinds: going on from a past, with what was done since undone, or left to another.

A past is the state after a decision: `redeciding` tells where these are. What was under way there is begun again, by
the idempotency key that it had: a service that remembers it does nothing twice. A fork has its own log and leaves its
source alone; what the source had done is the source's to undo. A rewind undoes first what was done since, newest first,
as a failure would, and then goes on from the past in the same log.

`again` is the decision that followed the past: made once more, on a state that may have been edited meanwhile.

Comes from: `decide`. Goes to: `saga`, `draft`.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from daemon.core import events as e
from daemon.core import saga
from daemon.core.address import node_of
from daemon.core.draft import EXECUTION_TIMER, timer_id_of
from daemon.core.errors import Rejected
from daemon.core.evolve import evolve
from daemon.core.evolve_branches import forked, rewind_key, rewound, undone_by
from daemon.core.migrating import catch_up
from daemon.core.pages import refused_page
from daemon.core.problems import did_you_mean
from daemon.core.settling import check_by_hand, succeed
from daemon.core.state import Awaiting, Finished, InFlight, Repeating, Running, Settled, Succeeded, Turn
from daemon.core.state_limits import COLLECTING
from daemon.core.subjects import check_there
from daemon.core.suspending import go_on_if_given
from daemon.core.walk import advance

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from daemon.core.commands import Command, FinishRewind, ForkExecution, RewindExecution
    from daemon.core.draft import Draft
    from daemon.core.plan import Plan
    from daemon.core.state import State


def fork(draft: Draft, command: ForkExecution, decide: Callable[[Draft, Command], None]) -> None:
    """Begin the fork. Raises `Rejected` for a past that nothing can go on from, and for edits that do not fit it."""
    base = _past(command.base, command.at_version)
    check_there(base)
    _check_edits(draft.plan, base, command)
    if draft.plan.hash != base.definition:
        _check_definition(draft.plan, base)
    event = e.ExecutionForked(
        execution_id=command.execution_id,
        source=command.source,
        at_version=command.at_version,
        definition=draft.plan.hash,
        edits=command.edits,
        reason=command.reason,
        actor=command.actor,
        at=draft.at,
    )
    draft.branch(event, forked(base, event))
    _go_on(draft)
    for address, edit in command.edits.steps.items():
        if not isinstance(draft.running.steps[address], Settled):
            _end_by_hand(draft, address, edit)
    if draft.plan.hash != base.definition:
        catch_up(draft)
    if command.again is not None:
        advance(draft)
        if isinstance(draft.state, Running):  # the edits may have been its end
            decide(draft, command.again)


def _check_edits(plan: Plan, base: Running, command: ForkExecution) -> None:
    declared = plan.definition.variables
    for name in command.edits.variables:
        if name not in declared:
            raise Rejected(f"the workflow has no variable {name!r}; {did_you_mean(name, declared)}")
    for address, edit in command.edits.steps.items():
        step = base.steps.get(address)
        if step is None:
            known = [each for each in base.steps if isinstance(base.steps[each], Succeeded)]
            raise Rejected(
                f"step {address!r} has not begun at version {command.at_version}; {did_you_mean(address, known)}"
            )
        if isinstance(step, Succeeded) and edit.port != step.port:
            hint = f"fork before it: before:{address}"
            raise Rejected(f"step {address!r} has left by port {step.port!r}; to leave by {edit.port!r}, {hint}")
        if (problem := refused_page(address, edit.output, 1)) is not None:
            raise Rejected(f"step {address!r}: {problem.message}")
        if isinstance(step, Repeating | Turn):
            raise Rejected(f"step {address!r} has turns under way: edit steps of theirs, or fork before:{address}")
        if isinstance(step, Settled) and not isinstance(step, Succeeded):
            raise Rejected(f"step {address!r} has no result to edit; fork before it: before:{address}")


def _check_definition(plan: Plan, base: Running) -> None:
    """Raise `Rejected` when steps that are there have no node any more: those open could not go on."""
    gone = sorted({node_of(address) for address in base.steps if node_of(address) not in plan.nodes} - {""})
    gone = [node_id for node_id in gone if not node_id[0].isdigit()]
    if gone:
        raise Rejected(f"the other definition has no node {', '.join(map(repr, gone))}, which has begun")


def _end_by_hand(draft: Draft, address: str, edit: e.StepEdit) -> None:
    check_by_hand(draft, address, edit.output, edit.port)
    for timer_id, timer in sorted(draft.running.timers.items()):
        if timer.address == address:
            draft.emit(e.TimerCancelled(timer_id=timer_id, at=draft.at))
    succeed(draft, address, edit.output, port=edit.port)


def request(draft: Draft, command: RewindExecution) -> None:
    """Plan to undo what was done since. Raises `Rejected` for a past that nothing can go on from."""
    state = draft.state
    if command.rewind_id and rewind_key(command.rewind_id) in state.seen:
        return
    if isinstance(state, Running) and state.rewinding is not None:
        if state.rewinding.to_version == command.to_version:
            return
        raise Rejected(f"the execution is being rewound to version {state.rewinding.to_version} already")
    if isinstance(state, Running) and state.undoing is not None:
        raise Rejected("the execution is being undone; wait for its end, or answer what the undo asks")
    if isinstance(state, Finished) and state.parent is not None:
        raise Rejected(f"its parent {state.parent.execution_id} has been told of its end: rewind or fork that")
    base = _past(command.base, command.to_version)
    if base.definition != getattr(state, "definition", ""):
        raise Rejected(
            f"the execution has been migrated to another definition since version {command.to_version}: go back to a"
            " version after that, or fork it"
        )
    _check_between(command.to_version, command.between[command.down_to - command.to_version :])
    draft.emit(
        e.RewindRequested(
            to_version=command.to_version,
            mode=command.mode,
            again=command.again,
            keep_signals=command.keep_signals,
            rewind_id=command.rewind_id,
            reason=command.reason,
            actor=command.actor,
            at=draft.at,
        )
    )
    ending = e.UndoPlanned(
        status="rewound", mode=command.mode, reason=command.reason, down_to=command.down_to, at=draft.at
    )
    saga.undo_first(draft, ending)


def finish(draft: Draft, command: FinishRewind, decide: Callable[[Draft, Command], None]) -> None:
    """Go on from the past, now that what was done since is undone."""
    running = draft.running
    rewinding = running.rewinding
    if rewinding is None or not rewinding.ready or rewinding.to_version != command.to_version:
        return
    if len(command.between) != running.version - command.to_version:
        raise Rejected("something was recorded meanwhile")
    event = e.ExecutionRewound(to_version=command.to_version, keep_signals=rewinding.keep_signals, at=draft.at)
    base = _past(command.base, command.to_version)
    draft.branch(event, rewound(base, command.between, event, running.version + 1, evolve))
    _go_on(draft)
    if command.again is not None:
        advance(draft)
        decide(draft, command.again)
    for address in sorted(draft.running.resumes):
        go_on_if_given(draft, address)
    _take_signals(draft)


def _past(base: State, version: int) -> Running:
    """Return the state to go on from. Raises `Rejected` when it is none of an execution that goes forward."""
    if not isinstance(base, Running):
        raise Rejected(f"at version {version} the execution was not under way: choose another")
    if base.undoing is not None or base.groups or base.asking:
        raise Rejected(f"at version {version} the execution was being undone: choose a version before that")
    if COLLECTING in base.holding or "" in base.limited:
        raise Rejected(f"at version {version} the execution had not begun: start another")
    return base


def _check_between(version: int, between: Sequence[e.Event]) -> None:
    """Raise `Rejected` when something that was done before the past was undone since."""
    since: set[str] = set()
    for event in between:
        if isinstance(event, e.CompensationOwed):
            since.add(event.address)
        elif (address := undone_by(event)) and address not in since:
            raise Rejected(
                f"what step {address!r} had done before version {version} was undone since: go back to before:{address}"
            )


def _go_on(draft: Draft) -> None:
    """Begin again what was under way, in its order of address; the execution has its whole time limit."""
    running = draft.running
    for address, step in sorted(running.steps.items()):
        if isinstance(step, InFlight) or address in running.limited:
            draft.emit(e.StepQueued(address=address, at=draft.at))
    timeout = draft.plan.definition.timeout
    if timeout is not None:
        due = draft.at + timeout
        draft.emit(e.TimerSet(timer_id=EXECUTION_TIMER, address="", purpose="execution", due=due, at=draft.at))


def _take_signals(draft: Draft) -> None:
    """Give the steps that wait for them the signals that came since."""
    for address, name in sorted(draft.running.awaiting.items()):
        here = [(s.version, signal_id) for signal_id, s in draft.running.signals.items() if s.name == name]
        if not here or not isinstance(draft.running.steps[address], Awaiting):
            continue
        signal_id = min(here)[1]
        if (timer_id := timer_id_of(address, "signal")) in draft.running.timers:
            draft.emit(e.TimerCancelled(timer_id=timer_id, at=draft.at))
        data = draft.running.signals[signal_id].data
        draft.emit(e.StepSucceeded(address=address, output=data, signal_id=signal_id, at=draft.at))
