"""One execution carried on in this process, where no daemon is.

Comes from: `changing`. Goes to: daemon/main.
"""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

from daemon.core.state import Running
from daemon.main import open_daemon

if TYPE_CHECKING:
    from uuid import UUID

    from daemon.core.state import State
    from daemon.main import Daemon
    from daemon.settings import Settings


async def drive(settings: Settings, execution_id: UUID) -> tuple[State, str | None]:
    """Carry out what is owed until the execution has ended or waits for a timer or a signal; return its state.

    It is leased meanwhile. Where a living daemon has the lease nothing is done here: that one is asked to look, and the
    second value is its name. Raises what `engine.resume` and `open_daemon` raise, and Unusable where only one daemon
    can work on the store and does.
    """
    async with open_daemon(settings) as daemon:
        await daemon.membership.join()
        beating = asyncio.create_task(daemon.membership.run())
        try:
            return await _drive(daemon, execution_id)
        finally:
            beating.cancel()


async def _drive(daemon: Daemon, execution_id: UUID) -> tuple[State, str | None]:
    with daemon.changes.watch(execution_id) as hint:
        hint.clear()
        state = await daemon.recovery.resume(execution_id)
        if state is None:
            holder = await daemon.store.leases.holder(execution_id)
            return await daemon.history.existing(execution_id), None if holder is None else holder.name
        while isinstance(state, Running) and state.in_flight:
            await hint.wait()
            hint.clear()
            state = await daemon.history.load(execution_id)
    return state, None
