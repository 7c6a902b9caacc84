"""Runs the steps that are owed, and brings their results to the engine.

1. a place of the kind that the handler needs  2. one of `max_running`  3. the attempt (`step_attempt`)  4. the result
is reported until the store has taken it. Waiting for 1 and 2 is in order and no part of the attempt's timeout. What
stops before 4 is through leaves the step owed, and it runs again: at least once.

Comes from: `engine` (RunStep). Goes to: `step_attempt`; then `engine` (`Report`).
"""

from __future__ import annotations

import asyncio
from datetime import datetime
from typing import TYPE_CHECKING, Any, TypeAlias
from uuid import UUID

import structlog
from msgspec import Struct

from daemon.core.calls import node_at
from daemon.core.errors import Rejected
from daemon.runtime.services import Lanes, Outgoing, StepServices
from daemon.runtime.step_attempt import CLEANUP_S, Attempt, Means, Result
from eventstore.errors import Conflict, StoreError, Unavailable

if TYPE_CHECKING:
    from collections.abc import Callable, Coroutine, Iterator, Mapping

    from daemon.core.commands import AwaitChild, CompleteStep, FailStep, PostponeStep, ReportProgress
    from daemon.core.effects import RunStep
    from daemon.core.plan import Plan
    from daemon.core.state import Running
    from daemon.runtime.clock import Clock
    from daemon.runtime.handler_registry import Handler
    from daemon.runtime.mailbox import Answer
    from daemon.runtime.ports import ChildStarter

FIRST_PAUSE_S, LONGEST_PAUSE_S = 0.1, 5.0
"""Between two reports of one result while the store is away; each pause is twice the one before."""

_logger = structlog.get_logger(__name__)


Report: TypeAlias = "CompleteStep | PostponeStep | AwaitChild | FailStep | ReportProgress"


class AtWork(Struct, frozen=True):
    """A step whose handler is running now."""

    execution_id: UUID
    address: str
    attempt: int
    started_at: datetime
    last_sign: datetime
    """When it was last known to be alive: its begin, heartbeat or report of progress."""


class _Job:
    """An attempt, from when it is owed until its result is recorded; its task looks after all but the report."""

    __slots__ = ("attempt", "began", "key", "reporting", "result", "running", "task")

    task: asyncio.Task[None]
    result: Result

    def __init__(self, attempt: Attempt) -> None:
        self.attempt = attempt
        self.key = attempt.address, attempt.number
        self.began = False
        """Whether its task has begun: what ends before does not clean up after itself."""
        self.running = False
        """Whether it has one of `max_running`."""
        self.reporting = False


class Steps:
    """Runs handlers of all executions of one daemon; in one event loop."""

    def __init__(
        self,
        *,
        post: Callable[[UUID, Report, Answer], None],
        outgoing: Outgoing,
        handlers: Mapping[str, Handler],
        secrets: Callable[[str], str],
        children: ChildStarter,
        clock: Clock,
        jitter: Callable[[], float],
        spawn: Callable[[Coroutine[Any, Any, Any]], asyncio.Task[Any]],
        max_running: int,
        max_threads: int = 32,
        max_processes: int = 2,
    ) -> None:
        """`post` is the engine's; `spawn` starts a task whose failure stops the daemon; `jitter` gives [0, 1).

        `max_running` bounds the attempts at work or reporting; the other two, handlers that are `def` and `cpu=True`.
        """
        self._post = post
        self._outgoing = outgoing
        self._handlers = handlers
        self._children = children
        self._clock = clock
        self._spawn = spawn
        self._lanes = Lanes(max_threads=max_threads, max_processes=max_processes)
        self._running = asyncio.Semaphore(max_running)
        self._means = Means(
            clock=clock, jitter=jitter, secrets=secrets, spawn=spawn, record_progress=self._record_progress
        )
        self._jobs: dict[UUID, dict[tuple[str, int], _Job]] = {}
        self._none_left = asyncio.Event()
        self._stopped = False
        self._given_up = False
        """Whether nothing is reported again: after a stop's grace."""

    def run(self, execution_id: UUID, plan: Plan, effect: RunStep, state: Running) -> None:
        """Start the attempt in a task of its own. A repeat of one at work is ignored, and so is all after `stop`."""
        jobs = self._jobs.get(execution_id)
        if self._stopped or (jobs is not None and (effect.address, effect.attempt) in jobs):
            return
        job = _Job(Attempt(execution_id, node_at(plan, state, effect.address), effect, state, self._means))
        if jobs is None:
            jobs = self._jobs[execution_id] = {}
        jobs[job.key] = job
        job.task = self._spawn(self._look_after(job))

    def cancel(self, execution_id: UUID, turn: str = "") -> None:
        """Cancel the execution's attempts, or those in one turn; nothing is reported.

        One whose report is under way is left to finish.
        """
        within = f"{turn}." if turn else ""
        for job in list(self._jobs.get(execution_id, {}).values()):
            if not job.reporting and job.attempt.address.startswith(within):
                self._cancel(job)

    def retain(self, execution_id: UUID, owed: Mapping[str, int]) -> None:
        """Cancel the execution's attempts that are not owed; `owed` is the attempt by address. Nothing is reported."""
        for job in list(self._jobs.get(execution_id, {}).values()):
            if not job.reporting and owed.get(job.attempt.address) != job.attempt.number:
                self._cancel(job)

    def abandon(self) -> None:
        """Cancel everything and report nothing more: another daemon has this one's work."""
        for job in self._all():
            self._cancel(job)
            self._forget(job)

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
                self._cancel(job)
        await self._ended(grace_s)
        self._given_up = True
        for job in self._all():
            self._cancel(job)
        await self._ended(CLEANUP_S)
        await self._lanes.close()

    async def _look_after(self, job: _Job) -> None:
        """Take a place and one of `max_running`, which is kept until the result is recorded; then work, and report."""
        job.began = True
        attempt = job.attempt
        services = StepServices(self._outgoing, self._handlers, self._lanes, self._children)
        try:
            await services.reserve(attempt.handler)
            job.running = await self._running.acquire()
            job.result = await attempt.work(services)
            job.reporting = True
        finally:
            services.release()
            if not job.reporting:
                self._over(job)
        self._report(job)

    def _report(self, job: _Job) -> None:
        self._post(job.attempt.execution_id, job.result, lambda _, error: self._reported(job, error))

    def _reported(self, job: _Job, error: BaseException | None) -> None:
        """Take the engine's answer. A store that is away is asked again; what can never be taken stays owed."""
        if not self._given_up and not self._forgotten(job):
            if isinstance(error, Unavailable | Conflict):
                job.began = False
                job.task = self._spawn(self._report_again(job, error))
                return
            if isinstance(error, Rejected | StoreError):
                _logger.error("result_not_recorded", **_named(job.attempt.execution_id, job.result), error=str(error))
        self._over(job)

    async def _report_again(self, job: _Job, error: BaseException) -> None:
        """Report until the answer is another: the operator is told of it, or it is taken."""
        job.began = True
        pause_s = FIRST_PAUSE_S
        answer: BaseException | None = error
        try:
            while isinstance(answer, Unavailable | Conflict):
                execution_id = job.attempt.execution_id
                _logger.warning("result_waits_for_store", **_named(execution_id, job.result), error=str(answer))
                await self._clock.sleep(pause_s)
                pause_s = min(2 * pause_s, LONGEST_PAUSE_S)
                answer = await self._answer_to(execution_id, job.result)
        except asyncio.CancelledError:
            self._over(job)
            raise
        self._reported(job, answer)

    async def _answer_to(self, execution_id: UUID, report: Report) -> BaseException | None:
        answered: asyncio.Future[BaseException | None] = asyncio.get_running_loop().create_future()
        self._post(execution_id, report, lambda _, error: None if answered.done() else answered.set_result(error))
        return await answered

    async def _record_progress(self, execution_id: UUID, progress: ReportProgress) -> None:
        """Report progress once: it is for people, and the next report makes up for a lost one."""
        error = await self._answer_to(execution_id, progress)
        if isinstance(error, Rejected | StoreError):
            _logger.info("progress_not_recorded", **_named(execution_id, progress), error=str(error))

    def _cancel(self, job: _Job) -> None:
        if job.attempt.context is not None:
            job.attempt.context.give_up()
        job.task.cancel()
        if not job.began or job.task.done():
            self._over(job)

    def _over(self, job: _Job) -> None:
        if job.running:
            job.running = False
            self._running.release()
        self._forget(job)

    def _forget(self, job: _Job) -> None:
        execution_id = job.attempt.execution_id
        if not self._forgotten(job):
            jobs = self._jobs[execution_id]
            del jobs[job.key]
            if not jobs:
                del self._jobs[execution_id]
        if not self._jobs:
            self._none_left.set()

    def _forgotten(self, job: _Job) -> bool:
        return self._jobs.get(job.attempt.execution_id, {}).get(job.key) is not job

    async def _ended(self, wait_s: float) -> None:
        """Wait until no attempt is left, but no longer than this."""
        if not self._jobs:
            return
        self._none_left.clear()
        everything = asyncio.ensure_future(self._none_left.wait())
        patience = asyncio.ensure_future(self._clock.sleep(wait_s))
        try:
            await asyncio.wait({everything, patience}, return_when=asyncio.FIRST_COMPLETED)
        finally:
            everything.cancel()
            patience.cancel()

    def _all(self) -> list[_Job]:
        return [job for jobs in self._jobs.values() for job in jobs.values()]


def _named(execution_id: UUID, command: Report) -> dict[str, Any]:
    return {"execution_id": str(execution_id), "step": command.address, "attempt": command.attempt}
