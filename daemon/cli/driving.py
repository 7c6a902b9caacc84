"""One execution carried on in this process, where no daemon is.

Comes from: `changing`. Goes to: daemon/main.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from daemon.core.state import Running
from daemon.main import open_daemon

if TYPE_CHECKING:
    from uuid import UUID

    from daemon.core.state import State
    from daemon.settings import Settings


async def drive(settings: Settings, execution_id: UUID) -> State:
    """Carry out what is owed until the execution has ended or waits for a timer or a signal; return its state.

    Raises what `engine.resume` and `open_daemon` raise.
    """
    async with open_daemon(settings) as daemon:
        with daemon.changes.watch(execution_id) as hint:
            hint.clear()
            state = await daemon.engine.resume(execution_id)
            while isinstance(state, Running) and state.in_flight:
                await hint.wait()
                hint.clear()
                state = await daemon.history.load(execution_id)
        return state
