"""The supervisor: what runs, in which order it starts and stops, and what happens when a part of it fails.

Start: membership, recovery, timers, triggers, so that old work goes first. Stop: no new message is taken, handlers at
work get `grace_s`, what they report is appended, what is left is given up to other daemons, then the brokers are left.
All tasks live in one `TaskGroup`: a task that fails with what it cannot handle ends the daemon loudly. Nothing that was
acknowledged is lost in any of these ways.

Comes from: daemon/main. Goes to: every running part.
"""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Any, Protocol

import structlog

if TYPE_CHECKING:
    from collections.abc import Callable, Coroutine, Iterable, Mapping, Sequence

    from daemon.core.definition import TriggerDefinition
    from daemon.runtime.brokers import Brokers
    from daemon.runtime.changes import Changes
    from daemon.runtime.children import Children
    from daemon.runtime.engine import Engine
    from daemon.runtime.grants import Grants
    from daemon.runtime.leases import Membership
    from daemon.runtime.recovery import Recovery
    from daemon.runtime.steps import Steps
    from daemon.runtime.subscriptions import Subscriptions
    from daemon.runtime.timers import Timers
    from eventstore.writer import Writer
    from triggers.message import ConnectionStatus

CANCEL_AGAIN_S = 1.0

_logger = structlog.get_logger(__name__)


class Follower(Protocol):
    """Reads the log beside the engine, and never holds it up: the exporter of traces, say."""

    async def run(self) -> None:
        """Follow until stopped or cancelled."""

    async def stop(self) -> None:
        """Come to an end soon; harmless before `run` and when repeated."""


class Supervisor:
    """Starts and stops one daemon. `stop` is harmless before `start`, during it, and when repeated."""

    def __init__(
        self,
        *,
        membership: Membership,
        recovery: Recovery,
        writer: Writer,
        engine: Engine,
        steps: Steps,
        children: Children,
        timers: Timers,
        grants: Grants,
        subscriptions: Subscriptions,
        brokers: Brokers,
        changes: Changes,
        grace_s: float,
        spawn: Callable[[Coroutine[Any, Any, None]], asyncio.Task[None]],
        followers: Sequence[Follower] = (),
    ) -> None:
        """`followers` run beside the engine from start to stop, and so does what `steps` hears of remote workers."""
        self._membership = membership
        self._recovery = recovery
        self._writer = writer
        self._engine = engine
        self._steps = steps
        self._children = children
        self._timers = timers
        self._grants = grants
        self._subscriptions = subscriptions
        self._brokers = brokers
        self._changes = changes
        self._grace_s = grace_s
        self._spawn = spawn
        self._followers = followers if steps.calls is None else (*followers, steps.calls)
        self._tasks: list[asyncio.Task[None]] = []
        self._member: list[asyncio.Task[None]] = []
        self._stopped = False
        self.recovered: int | None = None
        """How many executions were taken up at the start; None until that is done."""
        self.receiving = False
        """Whether the triggers have been started: before, nobody can be told that there is no such webhook."""

    async def start(self) -> None:
        """Take up what was left, then begin. Returns when everything runs; brokers may still be connecting."""
        await self._membership.join()
        if self._stopped:
            await self._membership.leave()
            return
        self._membership.log_joined()
        self._member = [self._spawn(self._membership.run())]
        self.recovered = await self._recovery.start()
        if self.recovered:
            _logger.info("executions_resumed", count=self.recovered)
        if self._stopped:
            return
        beside = [follower.run() for follower in self._followers]
        self._tasks = [
            self._spawn(part) for part in (self._recovery.run(), self._timers.run(), self._grants.run(), *beside)
        ]

    async def subscribe(self, triggers: Mapping[str, TriggerDefinition]) -> None:
        """Receive from these triggers, and from no others. Raises Misconfigured, and then nothing has changed."""
        prepared = self._subscriptions.prepare(triggers)
        if not self._stopped:
            await self._subscriptions.replace(prepared)
            self.receiving = True

    async def stop(self) -> None:
        """Stop in order; return when all that was accepted is written. The store stays open."""
        if self._stopped:
            return
        self._stopped = True
        self._changes.wake_all()
        self._engine.take_no_more()
        self._recovery.claim_no_more()
        leaving = asyncio.ensure_future(self._subscriptions.stop())
        await asyncio.wait({leaving}, timeout=self._grace_s)  # longer while the store is away: then the writer ends it
        await self._steps.stop(self._grace_s)
        self._children.stop()
        self._engine.functions.stop()
        self._engine.past.stop()
        await asyncio.gather(*(follower.stop() for follower in self._followers))
        await _end(self._tasks)
        await self._writer.close(grace_s=self._grace_s)
        await _end(self._member)
        await self._membership.leave()
        await leaving
        await self._brokers.close()

    @property
    def stopping(self) -> bool:
        """Whether `stop` has been called: no new work is taken."""
        return self._stopped

    def statuses(self) -> Sequence[ConnectionStatus]:
        """How each connection to a broker is."""
        calls = self._steps.calls.statuses() if self._steps.calls is not None else ()
        return [*self._subscriptions.statuses(), *self._brokers.statuses(), *calls]


async def _end(tasks: Iterable[asyncio.Task[None]]) -> None:
    """Cancel them until they have ended: in Python 3.11 a cancellation is lost where it meets what was waited for."""
    left = set(tasks)
    while left:
        for task in left:
            task.cancel()
        _, left = await asyncio.wait(left, timeout=CANCEL_AGAIN_S)
