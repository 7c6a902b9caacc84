"""Runs the steps that are owed, and brings their results to the engine.

0. a result in the cache, where the step may have one (`result_cache`): then 4.  1. a place of the kind that the handler
needs  2. one of `max_running`  3. the attempt (`step_attempt`)  4. the result is reported until the store has taken it.
Waiting for 0, 1 and 2 is no part of the attempt's timeout. What stops before 4 is through leaves the step owed, and it
runs again: at least once.

Comes from: `engine` (RunStep). Goes to: `step_attempt`; then `engine` (`Report`).
"""

from __future__ import annotations

import asyncio
from datetime import datetime, timedelta
from typing import TYPE_CHECKING, Any, TypeAlias
from uuid import UUID

import structlog
from msgspec import Struct

from daemon.core import events as e
from daemon.core.calls import node_at
from daemon.core.errors import Rejected
from daemon.runtime.remote_messages import AttemptId
from daemon.runtime.result_cache import Hit, Making
from daemon.runtime.services import Lanes, Outgoing, StepServices
from daemon.runtime.step_attempt import CLEANUP_S, Attempt, Means, Result
from eventstore.errors import Conflict, StoreError, Unavailable

if TYPE_CHECKING:
    from collections.abc import Callable, Coroutine, Iterator, Mapping, Sequence

    from daemon.core.commands import (
        AwaitChild,
        CompleteStep,
        FailStep,
        PostponeStep,
        ReportProgress,
        SuspendStep,
    )
    from daemon.core.effects import RunStep
    from daemon.core.node import Remote
    from daemon.core.plan import Plan
    from daemon.core.state import Running
    from daemon.nodes.gates import GateStatus
    from daemon.runtime.clock import Clock
    from daemon.runtime.handler_registry import Handler
    from daemon.runtime.mailbox import Answer, Handled
    from daemon.runtime.ports import ChildStarter
    from daemon.runtime.remote_calls import RemoteCalls
    from daemon.runtime.result_cache import ResultCache
    from daemon.runtime.streams import StreamHub

FIRST_PAUSE_S, LONGEST_PAUSE_S = 0.1, 5.0
"""Between two reports of one result while the store is away; each pause is twice the one before."""

_logger = structlog.get_logger(__name__)


Report: TypeAlias = "CompleteStep | PostponeStep | SuspendStep | AwaitChild | FailStep | ReportProgress"


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

    __slots__ = ("attempt", "began", "key", "making", "reporting", "result", "running", "task")

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
        self.making: Making | None = None
        """There when others may wait for its result."""


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
        cache: ResultCache | None = None,
        streams: StreamHub,
        calls: RemoteCalls | None = None,
        sent_away: Mapping[str, Remote] | None = None,
        heartbeat: timedelta = timedelta(seconds=20),
    ) -> None:
        """`post` is the engine's; `spawn` starts a task whose failure stops the daemon; `jitter` gives [0, 1).

        `max_running` bounds the attempts at work or reporting; the other two, handlers that are `def` and `cpu=True`.
        `calls` is the way to remote workers, `sent_away` are handlers that are theirs by the settings, `heartbeat` is
        how long they may be silent.
        """
        self._post = post
        self._outgoing = outgoing
        self._handlers = handlers
        self._children = children
        self._clock = clock
        self._spawn = spawn
        self._cache = cache
        self._lanes = Lanes(max_threads=max_threads, max_processes=max_processes)
        self._running = asyncio.Semaphore(max_running)
        self._streams = streams
        self._means = Means(
            clock=clock,
            jitter=jitter,
            secrets=secrets,
            spawn=spawn,
            record_progress=self._record_progress,
            streams=streams,
            handlers=handlers,
            calls=calls,
            sent_away=sent_away or {},
            heartbeat=heartbeat,
        )
        self.calls = calls
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
        node, most = node_at(plan, state, effect.address), plan.definition.limits.output_bytes
        job = _Job(Attempt(execution_id, node, effect, state, self._means, max_output_bytes=most))
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
        if self.calls is not None:
            self.calls.let_go()
        for job in self._all():
            self._cancel(job)
            self._forget(job)

    def clients(self) -> Sequence[GateStatus]:
        """How the hosts and databases are that handlers share."""
        return self._outgoing.clients()

    def at_work(self) -> Iterator[AtWork]:
        """Give the steps whose handlers are running now."""
        for job in self._all():
            attempt = job.attempt
            if attempt.started_at is not None and attempt.context is not None and not job.reporting:
                last_sign = attempt.context.last_sign
                yield AtWork(attempt.execution_id, attempt.address, attempt.number, attempt.started_at, last_sign)

    async def stop(self, grace_s: float) -> None:
        """Start nothing more, wait up to `grace_s` for what is at work here, then cancel it; those steps stay owed.

        Another call, with less grace, cuts the first one short.
        """
        self._stopped = True
        if self.calls is not None:
            self.calls.let_go()
        for job in self._all():
            if job.attempt.started_at is None or (job.attempt.remote is not None and not job.reporting):
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
            if not await self._from_cache(job):
                await services.reserve(attempt.handler if attempt.remote is None else None)
                job.running = await self._running.acquire()
                job.result = await attempt.work(services)
            job.reporting = True
        finally:
            services.release()
            if not job.reporting:
                self._over(job)
        self._report(job)

    async def _from_cache(self, job: _Job) -> bool:
        """Take the result from the cache; False when the handler is to make it."""
        wanted = job.attempt.wanted()
        if self._cache is None or wanted is None:
            return False
        found = await self._cache.ask(wanted)
        if isinstance(found, Hit):
            result = job.attempt.cached(found)
            if result is None:
                return False
            job.result = result
            return True
        job.making = found
        return False

    def _report(self, job: _Job) -> None:
        self._post(job.attempt.execution_id, job.result, lambda handled, error: self._reported(job, handled, error))

    def _reported(self, job: _Job, handled: Handled | None, error: BaseException | None) -> None:
        """Take the engine's answer. A store that is away is asked again; what can never be taken stays owed."""
        if not self._given_up and not self._forgotten(job):
            if isinstance(error, Unavailable | Conflict):
                job.began = False
                job.task = self._spawn(self._report_again(job, error))
                return
            if isinstance(error, Rejected | StoreError):
                _logger.error("result_not_recorded", **_named(job.attempt.execution_id, job.result), error=str(error))
            if job.making is not None:
                job.making.made(handled)
            if job.attempt.streamed is not None and _settles(job.attempt.address, handled):
                self._streams.settled(*job.attempt.streamed)
            if self.calls is not None and error is None and job.attempt.remote is not None:
                self.calls.over(AttemptId(job.attempt.execution_id, *job.key), recorded=True)
        self._over(job)

    async def _report_again(self, job: _Job, error: BaseException) -> None:
        """Report until the answer is another: the operator is told of it, or it is taken."""
        job.began = True
        pause_s = FIRST_PAUSE_S
        handled: Handled | None = None
        answer: BaseException | None = error
        try:
            while isinstance(answer, Unavailable | Conflict):
                execution_id = job.attempt.execution_id
                _logger.warning("result_waits_for_store", **_named(execution_id, job.result), error=str(answer))
                await self._clock.sleep(pause_s)
                pause_s = min(2 * pause_s, LONGEST_PAUSE_S)
                handled, answer = await self._answer_to(execution_id, job.result)
        except asyncio.CancelledError:
            self._over(job)
            raise
        self._reported(job, handled, answer)

    async def _answer_to(self, execution_id: UUID, report: Report) -> tuple[Handled | None, BaseException | None]:
        answered: asyncio.Future[tuple[Handled | None, BaseException | None]]
        answered = asyncio.get_running_loop().create_future()
        self._post(
            execution_id,
            report,
            lambda handled, error: None if answered.done() else answered.set_result((handled, error)),
        )
        return await answered

    async def _record_progress(self, execution_id: UUID, progress: ReportProgress) -> None:
        """Report progress once: it is for people, and the next report makes up for a lost one."""
        _, error = await self._answer_to(execution_id, progress)
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
        if job.making is not None:
            job.making.given_up()
        self._forget(job)

    def _forget(self, job: _Job) -> None:
        execution_id = job.attempt.execution_id
        if self.calls is not None:
            self.calls.over(AttemptId(execution_id, *job.key), recorded=False)
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


def _settles(address: str, handled: Handled | None) -> bool:
    """Tell whether the step's report has settled it."""
    settling = (e.StepSucceeded, e.StepFailed)
    events = [each for each in (handled.events if handled else ()) if isinstance(each, settling)]
    return any(each.address == address and getattr(each, "retry_at", None) is None for each in events)


def _named(execution_id: UUID, command: Report) -> dict[str, Any]:
    return {"execution_id": str(execution_id), "step": command.address, "attempt": command.attempt}
