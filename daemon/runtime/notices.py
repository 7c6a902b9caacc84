"""A line in the log for what operators must see: a failure, an undo that waits for a person, changed code.

Comes from: `engine`, as a listener.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import structlog

from daemon.core.events import FunctionDiverged, ManualActionRequested
from daemon.core.state import Finished, Running

if TYPE_CHECKING:
    from daemon.runtime.engine import Committed

_logger = structlog.get_logger(__name__)


def tell_operators(committed: Committed) -> None:
    """Log it: a warning for a failure and for each question to a person, `debug` for the other ends."""
    state = committed.after
    if isinstance(state, Finished) and not isinstance(committed.before, Finished):
        _tell_ending(committed, state)
    elif isinstance(state, Running):
        if state.asking:
            _tell_questions(committed, state)
        if state.functions and state.paused is not None:
            _tell_changed_code(committed, state)


def _tell_ending(committed: Committed, state: Finished) -> None:
    told = {"execution_id": str(committed.execution_id), "workflow": state.workflow, "step": state.failed_step or None}
    if state.error is not None:
        _logger.warning("execution_failed", **told, code=state.error.code, error=state.error.message)
    else:
        _logger.debug("execution_ended", **told, status=state.status)


def _tell_changed_code(committed: Committed, state: Running) -> None:
    for event in committed.events:
        if isinstance(event, FunctionDiverged):
            told = {"execution_id": str(committed.execution_id), "workflow": state.workflow, "journal": event.address}
            sides = {"version": event.version, "recorded": event.recorded, "found": event.found, "place": event.place}
            _logger.error("durable_function_changed", **told, **sides)


def _tell_questions(committed: Committed, state: Running) -> None:
    for event in committed.events:
        if isinstance(event, ManualActionRequested):
            told = {"execution_id": str(committed.execution_id), "workflow": state.workflow, "step": event.address}
            _logger.warning("person_needed", **told, kind=event.kind, question=event.message)
