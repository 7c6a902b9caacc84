"""One execution by a daemon that runs for its sake: `sagad run flow.py --input '{}'`.

It takes signals and answers like any daemon meanwhile, but receives nothing from triggers and takes up nothing else.

Comes from: `serving`. Goes to: daemon/runtime/intake.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import structlog

from daemon.api.waiting import LONGEST_WAIT_S, finished
from daemon.cli.faults import BadUsage
from daemon.core.state import Finished
from daemon.runtime.views import plain, summary_view

if TYPE_CHECKING:
    from daemon.assembled import Daemon

_logger = structlog.get_logger(__name__)


class Single:
    """An execution to be carried out."""

    def __init__(self, input_value: Any) -> None:
        self._input = input_value
        self.view: dict[str, Any] | None = None
        """What became of it; None when the daemon was stopped before its end."""

    async def run(self, daemon: Daemon) -> None:
        """Start it, and return when it has ended or the daemon stops. Raises BadUsage, InvalidInput."""
        daemon.recovery.claim_no_more()
        await daemon.load()
        await daemon.supervisor.start()
        await daemon.supervisor.subscribe({})
        names = daemon.plans.workflows()
        if len(names) != 1:
            raise BadUsage(f"there are {len(names)} workflows: {', '.join(names)}", hint="name one: flow.py:name")
        execution_id, handled = await daemon.intake.start(names[0], self._input, actor="cli")
        _logger.info("started", execution_id=str(execution_id), workflow=names[0])
        state = handled.state
        while not isinstance(state, Finished) and not daemon.stopping:
            state = await finished(daemon, execution_id, LONGEST_WAIT_S)
        if isinstance(state, Finished):
            self.view = plain(summary_view(execution_id, state))
