"""What whoever debugs an execution that goes on may do: set breakpoints, go on, skip, retry, edit.

Comes from: `decide`. Goes to: `breakpoints`, `settling`, `walk`, `draft`.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, assert_never

from msgspec.structs import replace

from daemon.core import commands as c
from daemon.core import events as e
from daemon.core.address import UNDO, node_of
from daemon.core.errors import Rejected
from daemon.core.evolve_breaks import MOVES
from daemon.core.expressions import ExpressionError, compile_expression
from daemon.core.pages import refused_page
from daemon.core.problems import did_you_mean
from daemon.core.scope import ROOTS
from daemon.core.settling import check_by_hand, fail_for_good, succeed, too_large
from daemon.core.state import Queued
from daemon.core.walk import start_or_queue

if TYPE_CHECKING:
    from daemon.core.draft import Draft
    from daemon.core.plan import Plan
    from daemon.core.state_breaks import Stop

HOWS = ("continue", *sorted(MOVES), "skip", "retry")
MOST = 100
"""Breakpoints of one execution."""
Debugging = c.SetBreakpoints | c.LeaveBreakpoint | c.EditAtBreakpoint


def debug(draft: Draft, command: Debugging) -> None:
    """Carry out a command. Raises `Rejected`, and changes nothing, for what cannot be done here."""
    match command:
        case c.SetBreakpoints():
            _set(draft, command)
        case c.LeaveBreakpoint():
            _leave(draft, command)
        case c.EditAtBreakpoint():
            _edit(draft, command)
        case _:
            assert_never(command)


def _set(draft: Draft, command: c.SetBreakpoints) -> None:
    running = draft.running
    if running.undoing is not None:
        raise Rejected("the execution is being undone; that does not stop at breakpoints")
    if len(command.breakpoints) > MOST:
        raise Rejected(f"{len(command.breakpoints)} breakpoints are more than the {MOST} that an execution may have")
    for each in command.breakpoints:
        check(draft.plan, each)
    there, moving = ((), "") if running.breaking is None else (running.breaking.breakpoints, running.breaking.moving)
    stops_next = command.next and not moving and running.stop is None
    if there != command.breakpoints or stops_next:
        draft.emit(e.BreakpointsSet(breakpoints=command.breakpoints, next=stops_next, actor=command.actor, at=draft.at))


def begin(draft: Draft, command: c.StartExecution) -> None:
    """Set the breakpoints that an execution has from its beginning."""
    _set(draft, c.SetBreakpoints(breakpoints=command.breakpoints, actor=command.actor, at=command.at))


def check(plan: Plan, each: e.Breakpoint) -> None:
    """Raise `Rejected` for a breakpoint that could never fit."""
    if not (each.node or each.condition or each.errors):
        raise Rejected("a breakpoint names a node, has a condition, or stops at errors")
    node = node_of(each.node)
    if node and node not in plan.nodes and not node[0].isdigit():
        nodes = [node_id for node_id in plan.nodes if not node_id.endswith(UNDO)]
        raise Rejected(f"there is no node {each.node!r}; {did_you_mean(node, nodes)}")
    if each.condition:
        _check_condition(plan, each.condition)


def _check_condition(plan: Plan, condition: str) -> None:
    try:
        names = compile_expression(condition).names
    except ExpressionError as error:
        raise Rejected(f"the condition {condition!r}: {error}") from None
    known = {*ROOTS, "loop", "parallel", "page", *plan.nodes}
    for name in sorted(names - known):
        raise Rejected(f"the condition {condition!r}: there is nothing called {name!r}; {did_you_mean(name, known)}")


def _leave(draft: Draft, command: c.LeaveBreakpoint) -> None:
    stop = _stop(draft, command.stop)
    if stop is None:
        return
    _check_leaving(draft, stop, command)
    draft.emit(
        e.BreakpointLeft(
            address=stop.address,
            stop=stop.version,
            how=command.how,
            output=command.output,
            port=command.port,
            actor=command.actor,
            at=draft.at,
        )
    )
    step = draft.running.steps[stop.address]
    if command.how == "skip":
        succeed(draft, stop.address, command.output, attempt=stop.attempt, port=command.port)
    elif stop.error is None or (command.how == "retry" and not stop.begun):
        return  # it is the next of the queue
    else:
        failed = e.StepFailed(
            address=stop.address, attempt=stop.attempt, error=stop.error, unknown=stop.unknown, at=draft.at
        )
        if command.how != "retry" or not isinstance(step, Queued):
            fail_for_good(draft, failed)
            return
        draft.emit(replace(failed, retry_at=draft.at))
        start_or_queue(draft, stop.address)


def _check_leaving(draft: Draft, stop: Stop, command: c.LeaveBreakpoint) -> None:
    if command.how not in HOWS:
        raise Rejected(f"{command.how!r} is no way to go on; {did_you_mean(command.how, HOWS)}")
    if command.how == "retry" and stop.error is None:
        raise Rejected(f"step {stop.address} has not failed: there is nothing to be tried again")
    if command.how == "skip":
        check_by_hand(draft, stop.address, command.output, command.port)
        if (problem := refused_page(stop.address, command.output, stop.attempt)) is not None:
            raise Rejected(problem.message)


def _edit(draft: Draft, command: c.EditAtBreakpoint) -> None:
    stop = _stop(draft, command.stop)
    if stop is None and command.stop:
        return
    address = command.address if stop is None else stop.address
    running, declared = draft.running, draft.plan.definition.variables
    for name in command.variables:
        if name not in declared:
            raise Rejected(f"the workflow has no variable {name!r}; {did_you_mean(name, declared)}")
    if command.input is not None and stop is None:
        raise Rejected("the execution does not stand at a breakpoint: only variables can be changed")
    if command.input is not None and draft.node(address).type.execute is None:
        raise Rejected(f"step {address} has no handler that is sent an input: edit variables, or skip it")
    for value in (*command.variables.values(), *(() if command.input is None else (command.input.value,))):
        if (problem := too_large(draft, address, value)) is not None:
            raise Rejected(problem.message)
    changed = {name: value for name, value in command.variables.items() if running.variables.get(name) != value}
    step, edited = running.steps.get(address), running.breaking is not None and running.breaking.edited
    new = command.input
    if new is not None and edited and address in edited and isinstance(step, Queued) and step.input == new.value:
        new = None
    if changed or new is not None:
        draft.emit(
            e.BreakpointEdited(
                address=address, stop=command.stop, variables=changed, input=new, actor=command.actor, at=draft.at
            )
        )


def _stop(draft: Draft, version: int) -> Stop | None:
    """Return the stop of this version, where the execution stands now; None when it has left that."""
    stop = draft.running.stop
    return stop if stop is not None and stop.version == version else None
