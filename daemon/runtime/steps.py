"""Runs the steps that are owed, and brings their results to the engine.

1. a place of the kind that the handler needs  2. one of `max_running`  3. the attempt (`step_attempt`)  4. the result
is reported until the store has taken it. Waiting for 1 and 2 is in order and no part of the attempt's timeout. What
stops before 4 is through leaves the step owed, and it runs again: at least once.

Comes from: `engine` (RunStep). Goes to: `step_attempt`; then `engine` (CompleteStep, FailStep, ReportProgress).
"""

from __future__ import annotations

import asyncio
from datetime import datetime
from typing import TYPE_CHECKING, Any
from uuid import UUID

import structlog
from msgspec import Struct

from daemon.core.address import node_of
from daemon.core.errors import Rejected
from daemon.runtime.services import Lanes, Outgoing, StepServices
from daemon.runtime.step_attempt import CLEANUP_S, Attempt, Means, Result
from eventstore.errors import Conflict, StoreError, Unavailable

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Coroutine, Iterator, Mapping

    from daemon.core.commands import CompleteStep, FailStep, ReportProgress
    from daemon.core.effects import RunStep
    from daemon.core.plan import Plan
    from daemon.core.state import Running
    from daemon.runtime.clock import Clock
    from daemon.runtime.handler_registry import Handler

FIRST_PAUSE_S, LONGEST_PAUSE_S = 0.1, 5.0
"""Between two reports of one result while the store is away; each pause is twice the one before."""

_logger = structlog.get_logger(__name__)


class AtWork(Struct, frozen=True):
    """A step whose handler is running now."""

    execution_id: UUID
    address: str
    attempt: int
    started_at: datetime
    last_sign: datetime
    """When it was last known to be alive: its begin, heartbeat or report of progress."""


class _Job:
    """An attempt and the task that looks after it."""

    task: asyncio.Task[None]

    def __init__(self, attempt: Attempt) -> None:
        self.attempt = attempt
        self.reporting = False

    def cancel(self) -> None:
        if self.attempt.context is not None:
            self.attempt.context.give_up()
        self.task.cancel()


class Steps:
    """Runs handlers of all executions of one daemon; in one event loop."""

    def __init__(
        self,
        *,
        report: Callable[[UUID, CompleteStep | FailStep | ReportProgress], Awaitable[object]],
        outgoing: Outgoing,
        handlers: Mapping[str, Handler],
        secrets: Callable[[str], str],
        clock: Clock,
        jitter: Callable[[], float],
        spawn: Callable[[Coroutine[Any, Any, Any]], asyncio.Task[Any]],
        max_running: int,
        max_threads: int = 32,
        max_processes: int = 2,
    ) -> None:
        """`report` is the engine's `send`; `spawn` starts a task whose failure stops the daemon; `jitter` gives [0, 1).

        `max_running` bounds the attempts at work or reporting; the other two, handlers that are `def` and `cpu=True`.
        """
        self._report = report
        self._outgoing = outgoing
        self._handlers = handlers
        self._clock = clock
        self._spawn = spawn
        self._lanes = Lanes(max_threads=max_threads, max_processes=max_processes)
        self._running = asyncio.Semaphore(max_running)
        self._means = Means(
            clock=clock, jitter=jitter, secrets=secrets, spawn=spawn, record_progress=self._record_progress
        )
        self._jobs: dict[UUID, dict[tuple[str, int], _Job]] = {}
        self._stopped = False

    def run(self, execution_id: UUID, plan: Plan, effect: RunStep, state: Running) -> None:
        """Start the attempt in a task of its own. A repeat of one at work is ignored, and so is all after `stop`."""
        key = effect.address, effect.attempt
        if self._stopped or key in self._jobs.get(execution_id, ()):
            return
        node = plan.nodes[node_of(effect.address)]
        job = _Job(Attempt(execution_id, node, effect, state, self._means))
        job.task = self._spawn(self._look_after(job))
        self._jobs.setdefault(execution_id, {})[key] = job
        job.task.add_done_callback(lambda _: self._forget(execution_id, key))

    def cancel(self, execution_id: UUID) -> None:
        """Cancel the execution's attempts; nothing is reported. One whose report is under way is left to finish."""
        for job in list(self._jobs.get(execution_id, {}).values()):
            if not job.reporting:
                job.cancel()

    def at_work(self) -> Iterator[AtWork]:
        """Give the steps whose handlers are running now."""
        for job in self._all():
            attempt = job.attempt
            if attempt.started_at is not None and attempt.context is not None and not job.reporting:
                last_sign = attempt.context.last_sign
                yield AtWork(attempt.execution_id, attempt.address, attempt.number, attempt.started_at, last_sign)

    async def stop(self, grace_s: float) -> None:
        """Start nothing more, wait up to `grace_s` for what is at work, then cancel it; those steps stay owed.

        Another call, with less grace, cuts the first one short.
        """
        self._stopped = True
        for job in self._all():
            if job.attempt.started_at is None:
                job.cancel()
        await self._ended(grace_s)
        for job in self._all():
            job.cancel()
        await self._ended(CLEANUP_S)
        await self._lanes.close()

    async def _look_after(self, job: _Job) -> None:
        services = StepServices(self._outgoing, self._handlers, self._lanes)
        try:
            await services.reserve(job.attempt.handler)
            async with self._running:
                result = await job.attempt.work(services)
                services.release()
                job.reporting = True
                await self._deliver(job.attempt.execution_id, result)
        finally:
            services.release()

    async def _deliver(self, execution_id: UUID, result: Result) -> None:
        """Report the result until it is taken. One that can never be is told to the operator; the step stays owed."""
        pause_s = FIRST_PAUSE_S
        while True:
            try:
                await self._report(execution_id, result)
            except (Unavailable, Conflict) as error:
                _logger.warning("result_waits_for_store", **_named(execution_id, result), error=str(error))
            except (Rejected, StoreError) as error:
                _logger.error("result_not_recorded", **_named(execution_id, result), error=str(error))  # noqa: TRY400  a refusal, not a crash
                return
            else:
                return
            await self._clock.sleep(pause_s)
            pause_s = min(2 * pause_s, LONGEST_PAUSE_S)

    async def _record_progress(self, execution_id: UUID, progress: ReportProgress) -> None:
        """Report progress once: it is for people, and the next report makes up for a lost one."""
        try:
            await self._report(execution_id, progress)
        except (Rejected, StoreError) as error:
            _logger.info("progress_not_recorded", **_named(execution_id, progress), error=str(error))

    async def _ended(self, wait_s: float) -> None:
        """Wait until no attempt is left, but no longer than this."""
        everything: asyncio.Future[Any] = asyncio.gather(*(job.task for job in self._all()), return_exceptions=True)
        patience = asyncio.ensure_future(self._clock.sleep(wait_s))
        try:
            await asyncio.wait({everything, patience}, return_when=asyncio.FIRST_COMPLETED)
        finally:
            patience.cancel()

    def _all(self) -> list[_Job]:
        return [job for jobs in self._jobs.values() for job in jobs.values()]

    def _forget(self, execution_id: UUID, key: tuple[str, int]) -> None:
        jobs = self._jobs[execution_id]
        del jobs[key]
        if not jobs:
            del self._jobs[execution_id]


def _named(execution_id: UUID, command: CompleteStep | FailStep | ReportProgress) -> dict[str, Any]:
    return {"execution_id": str(execution_id), "step": command.address, "attempt": command.attempt}
