"""The fold's part for subflows: which step waits for which child, and an ended execution that is taken up to be undone.

Comes from: `evolve`. Goes to: `state`.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from msgspec.structs import replace

from daemon.core import events as e
from daemon.core.state import Finished, InFlight, Leaving, Running, State

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from daemon.core.child_events import Parent


def reopened(state: Finished, parent: Parent | None) -> Running:
    """Return the execution as it was when it had ended, to be undone from there; `parent` is told of that, if any."""
    return Running(
        version=state.version + 1,
        execution_id=state.execution_id,
        workflow=state.workflow,
        definition=state.definition,
        input=state.input,
        trigger=state.trigger,
        trigger_name=state.trigger_name,
        dedupe_key=state.dedupe_key,
        traceparent=state.traceparent,
        parent=parent or state.parent,
        subject=state.subject,
        started_at=state.started_at,
        steps=state.steps,
        seen=state.seen,
        resumes=state.resumes,
        variables=state.variables,
        owed=state.owed,
        newest_owed=state.newest_owed,
        calls=state.calls,
        keys=state.keys,
        size=state.size,
    )


def _undo_requested(state: Running, event: e.UndoRequested, version: int) -> Running:
    return replace(state, version=version, parent=event.parent or state.parent)


def _child_started(state: Running, event: e.ChildStarted, version: int) -> Running:
    step = state.steps.get(event.address)
    if not isinstance(step, InFlight):
        raise TypeError(f"{event.address} has started a child but is not in flight")
    return replace(
        state,
        version=version,
        steps=state.steps.set(event.address, replace(step, child=event.child)),
        in_flight=state.in_flight.delete(event.address),
        children=state.children.set(event.address, event.child),
    )


def _child_cancel_requested(state: Running, event: e.ChildCancelRequested, version: int) -> Running:
    leaving = Leaving(event.address, event.attempt, event.undo, event.reason)
    return replace(state, version=version, leaving=state.leaving.set(event.child, leaving))


def _child_finished(state: Running, event: e.ChildFinished, version: int) -> Running:
    left = state.leaving.delete(event.child) if event.child in state.leaving else state.leaving
    return replace(state, version=version, leaving=left)


CHILDREN: Mapping[type[e.Event], Callable[[Running, Any, int], State]] = {
    e.ChildStarted: _child_started,
    e.ChildCancelRequested: _child_cancel_requested,
    e.ChildFinished: _child_finished,
    e.UndoRequested: _undo_requested,
}
