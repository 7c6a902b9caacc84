"""One attempt of one step: secrets in, the node type at work within its timeout, and what is to be reported.

Comes from: `steps`. Goes to: daemon/nodes, the handlers.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Coroutine
from datetime import timedelta
from typing import TYPE_CHECKING, Any
from uuid import UUID

import structlog
from msgspec import Struct
from msgspec.structs import replace

from daemon.core.child_events import Parent
from daemon.core.commands import AwaitChild, CompleteStep, FailStep, PostponeStep, ReportProgress, SuspendStep
from daemon.core.durations import format_duration
from daemon.core.errors import InvalidInput
from daemon.core.state import InFlight, Running, depth_of
from daemon.core.templates import fill
from daemon.core.trace_ids import step_traceparent
from daemon.core.values import NULL, Json, from_json, to_json
from daemon.nodes.answers import Child
from daemon.nodes.context import StepFailure
from daemon.runtime.clock import Clock
from daemon.runtime.json_schema import InputSchema
from daemon.runtime.logs import bind_task
from daemon.runtime.secrets import Disclosed, SecretUnknown
from daemon.runtime.step_answers import Paused, Postponed, Returned, read_answer
from daemon.runtime.step_context import ProgressFeed, StepContext
from daemon.runtime.step_errors import describe, without_secrets

if TYPE_CHECKING:
    from datetime import datetime

    from daemon.core.effects import RunStep
    from daemon.core.events import StepError
    from daemon.core.plan import PlannedNode
    from daemon.nodes.context import Services

Result = CompleteStep | PostponeStep | SuspendStep | AwaitChild | FailStep

CLEANUP_S = 5.0
"""How long work that was given up may take to end before nobody waits for it any more."""

_logger = structlog.get_logger(__name__)


class Means(Struct, frozen=True, kw_only=True):
    """What every attempt works with; see `steps.Steps`."""

    clock: Clock
    jitter: Callable[[], float]
    secrets: Callable[[str], str]
    spawn: Callable[[Coroutine[Any, Any, Any]], asyncio.Task[Any]]
    record_progress: Callable[[UUID, ReportProgress], Awaitable[None]]


class Attempt:
    """From when it is owed until there is a result."""

    def __init__(self, execution_id: UUID, node: PlannedNode, effect: RunStep, state: Running, means: Means) -> None:
        self.execution_id = execution_id
        self.address = effect.address
        self.number = effect.attempt
        self.node = node
        self.workflow = state.workflow
        self.state = effect.state
        self.resumed = effect.resumed
        self.context: StepContext | None = None
        """There since the work began."""
        self.started_at: datetime | None = None
        self._effect = effect
        self._execution = state
        self._means = means
        self._disclosed: Disclosed | None = None

    @property
    def handler(self) -> str | None:
        """Name of the handler that it needs."""
        return self.node.type.handler(self.node.config)

    @property
    def parent(self) -> Parent:
        """What an execution that it starts has above it."""
        return Parent(self.execution_id, self.address, self.number, depth_of(self._execution) + 1)

    def traceparent(self) -> str:
        """Return the context that the attempt hands on."""
        return step_traceparent(self.execution_id, self.address, self.number, self._execution.traceparent)

    def now(self) -> datetime:
        """Return the time."""
        return self._means.clock.now()

    def feed(self) -> ProgressFeed:
        """Return the way to record progress."""
        step = self._execution.steps.get(self.address)
        return ProgressFeed(
            self._record_progress,
            clock=self._means.clock,
            spawn=self._means.spawn,
            last_number=step.progress_number if isinstance(step, InFlight) else 0,
        )

    async def work(self, services: Services) -> Result:
        """Execute within the timeout and return what is to be reported; a failure is a result too.

        When cancelled, the handler is, and nothing is to be reported.
        """
        self.started_at = self.now()
        context = self.context = StepContext(self, services, self.started_at)
        try:
            result = await self._result(context)
            await context.finish()
        except asyncio.CancelledError:
            context.give_up()
            raise
        finally:
            self.context = None  # it leads back here, and cycles are costly to collect
        return result

    async def _result(self, context: StepContext) -> Result:
        """Execute; with a timeout in a task of its own, which can be given up."""
        timeout = self.node.timeout
        if timeout is None or self.node.subflow is not None:  # the limit of a subflow is that of the child
            result = await self._execute(context)
            if context.cancelled:
                raise asyncio.CancelledError  # the handler has kept it to itself, or made an error of it
            return result
        executing = self._means.spawn(self._execute(context))
        try:
            in_time = await self._within(timeout, executing)
            if in_time is None:
                context.give_up()
                await self._end(executing)
            return in_time or self._timed_out()
        except asyncio.CancelledError:
            context.give_up()
            await self._end(executing)
            raise

    async def _execute(self, context: StepContext) -> Result:
        """Let the node type work on the input, secrets filled in. What it raises fails the attempt, whatever it is.

        A handler may hand on a cancellation that nobody asked of it: that is a failure too. One that was asked of this
        task passes through.
        """
        execute = self.node.type.execute
        if execute is None:
            raise TypeError(f"nodes of type {self.node.type.name} have nothing to run")
        try:
            traceparent = self._execution.traceparent
            bind_task(self.execution_id, traceparent=traceparent, address=self.address, attempt=self.number)
            if (problem := self._misfit()) is not None:
                return self._suspended_again(problem)
            answer = await execute(context, self._input())
            is_child = self.node.type.subflow is not None and isinstance(answer, Child)
            return self._answered(answer if is_child else read_answer(answer))
        except (Exception, SystemExit) as error:  # noqa: BLE001  every failure of a handler is recorded
            return self._failed(*describe(error, self.number))
        except asyncio.CancelledError as error:
            task = asyncio.current_task()
            if task is None or task.cancelling():
                raise
            return self._failed(*describe(error, self.number))

    def _misfit(self) -> str | None:
        """Return what is wrong with the input that the step goes on with: one that came early nobody has checked."""
        if self.resumed is None or self.resumed.expects == NULL:
            return None
        try:
            InputSchema(from_json(self.resumed.expects)).check(from_json(self.resumed.input))
        except InvalidInput as error:
            return str(error)
        return None

    def _suspended_again(self, problem: str) -> Result:
        asked, at = self.resumed, self._means.clock.now()
        if asked is None:
            raise TypeError("it was not resumed")
        return SuspendStep(
            address=self.address,
            attempt=self.number,
            reason=asked.reason,
            expects=asked.expects,
            state=self.state,
            until=asked.due,
            problem=problem,
            at=at,
        )

    def _answered(self, answer: Returned | Postponed | Paused | Child) -> Result:
        address, attempt, at = self.address, self.number, self._means.clock.now()
        match answer:
            case Returned(output=output, port=port, to=to):
                told = self._told(output)
                return CompleteStep(address=address, attempt=attempt, output=told, port=port, to=to, at=at)
            case Child(execution_id=child, workflow=workflow, definition=pinned):
                return AwaitChild(
                    address=address, attempt=attempt, child=child, workflow=workflow, definition=pinned, at=at
                )
            case Postponed(after=after, state=state):
                return PostponeStep(address=address, attempt=attempt, after=after, state=self._told(state), at=at)
            case Paused(reason=reason, expects=expects, state=state, timeout=timeout):
                until = None if timeout is None else at + timeout
                told = self._told(state)
                return SuspendStep(
                    address=address, attempt=attempt, reason=reason, expects=expects, state=told, until=until, at=at
                )

    def _told(self, value: Json) -> Json:
        """Return the value with the secrets struck out that the step was given: some services echo them."""
        return value if self._disclosed is None else to_json(self._disclosed.hide_in(from_json(value)))

    def _input(self) -> Any:
        """Return a fresh copy of the input, secrets in their places."""
        value = from_json(self._effect.input)
        if not self._effect.secrets:
            return value
        self._disclosed = Disclosed(self._means.secrets)
        try:
            return fill(value, self._effect.secrets, self._disclosed.resolve)
        except (SecretUnknown, ValueError) as error:
            raise StepFailure(str(error), "secret", retryable=False) from error

    def _failed(self, error: StepError, retryable: bool) -> FailStep:  # noqa: FBT001  as `describe` gives them
        error = replace(error, attempt=self.number)
        return FailStep(
            address=self.address,
            attempt=self.number,
            error=error if self._disclosed is None else without_secrets(error, self._disclosed),
            retryable=retryable,
            jitter=self._means.jitter(),
            at=self._means.clock.now(),
        )

    def _timed_out(self) -> FailStep:
        limit = format_duration(self.node.timeout or timedelta())
        return self._failed(*describe(StepFailure(f"not finished within {limit}", "timeout"), self.number))

    async def _within(self, limit: timedelta, executing: asyncio.Task[Result]) -> Result | None:
        """Return the result, or None when the limit comes first."""
        await _first(executing, self._means.clock.sleep(limit.total_seconds()))
        return executing.result() if executing.done() else None

    async def _end(self, executing: asyncio.Task[Result]) -> None:
        """Cancel the work and wait for it, but not for ever: a handler may ignore it."""
        if executing.done():
            return
        executing.cancel()
        await _first(executing, self._means.clock.sleep(CLEANUP_S))
        if not executing.done():
            named = {"execution_id": str(self.execution_id), "step": self.address, "attempt": self.number}
            _logger.warning("handler_ignores_cancellation", **named)

    async def _record_progress(self, number: int, value: Json) -> None:
        shown, at = self._told(value), self._means.clock.now()
        command = ReportProgress(address=self.address, attempt=self.number, number=number, progress=shown, at=at)
        await self._means.record_progress(self.execution_id, command)


async def _first(task: asyncio.Task[Result], or_after: Coroutine[Any, Any, None]) -> None:
    """Wait until the task is done or the other has come; leave the task alone."""
    timer = asyncio.ensure_future(or_after)
    try:
        await asyncio.wait({task, timer}, return_when=asyncio.FIRST_COMPLETED)
    finally:
        timer.cancel()
