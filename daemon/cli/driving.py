"""One execution carried on in this process, where no daemon is.

Comes from: `changing`. Goes to: daemon/main.
"""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

from daemon.core.commands import ResumeExecution
from daemon.core.state import Running
from daemon.main import open_daemon
from daemon.runtime import logs
from daemon.runtime.leases import first_of

LOOK_S = 2.0

if TYPE_CHECKING:
    from uuid import UUID

    from daemon.assembled import Daemon
    from daemon.core.state import State
    from daemon.settings import Settings


async def drive(settings: Settings, execution_id: UUID) -> tuple[State, str | None]:
    """Carry out what is owed until the execution has ended or waits for a timer or a signal; return its state.

    It is leased meanwhile: this process is a daemon then, which receives nothing and takes up nothing else. Where
    another living daemon has the lease nothing is done here: that one is asked to look, and the second value is its
    name. Raises what `engine.resume` and `open_daemon` raise, and Unusable where only one daemon can work on the store
    and does.
    """
    logs.configure(replace(settings.log, level="warning", format="console"))
    async with open_daemon(settings) as daemon:
        daemon.recovery.claim_no_more()
        await daemon.supervisor.start()
        return await _drive(daemon, execution_id)


async def _drive(daemon: Daemon, execution_id: UUID) -> tuple[State, str | None]:
    with daemon.changes.watch(execution_id) as hint:
        hint.clear()
        before = await daemon.history.existing(execution_id)
        if isinstance(before, Running) and before.paused is not None:
            await daemon.engine.send(execution_id, ResumeExecution(actor="cli", at=daemon.clock.now()))
        state = await daemon.recovery.resume(execution_id)
        if state is None:
            holder = await daemon.store.leases.holder(execution_id)
            return await daemon.history.existing(execution_id), None if holder is None else holder.name
        while isinstance(state, Running) and state.busy:
            await first_of(hint.wait(), daemon.clock.sleep(LOOK_S))  # another daemon's appends are not hinted at here
            hint.clear()
            state = await daemon.history.load(execution_id)
    return state, None
