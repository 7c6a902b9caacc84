"""A line in the log for each execution that ends, so that a failure is seen where operators look first.

Comes from: `engine`, as a listener.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import structlog

from daemon.core.state import Finished

if TYPE_CHECKING:
    from daemon.runtime.engine import Committed

_logger = structlog.get_logger(__name__)


def tell_ending(committed: Committed) -> None:
    """Log it: a warning for one that has failed, `debug` for the others."""
    state = committed.after
    if not isinstance(state, Finished) or isinstance(committed.before, Finished):
        return
    told = {"execution_id": str(committed.execution_id), "workflow": state.workflow, "step": state.failed_step or None}
    if state.error is not None:
        _logger.warning("execution_failed", **told, code=state.error.code, error=state.error.message)
    else:
        _logger.debug("execution_ended", **told, status=state.status)
