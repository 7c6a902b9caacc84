"""One attempt of one step: secrets in, the node type at work within its timeout, and what is to be reported.

Comes from: `steps`. Goes to: daemon/nodes, the handlers.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Coroutine, Mapping
from datetime import timedelta
from typing import TYPE_CHECKING, Any, Protocol
from uuid import UUID, uuid4

import structlog
from msgspec import Struct
from msgspec.structs import replace

from daemon.core.child_events import Parent
from daemon.core.commands import AwaitChild, CompleteStep, FailStep, PostponeStep, ReportProgress, SuspendStep
from daemon.core.decide import refusal
from daemon.core.definition import Limits
from daemon.core.durations import format_duration
from daemon.core.node import Remote
from daemon.core.state import InFlight
from daemon.core.templates import fill
from daemon.core.trace_ids import step_traceparent
from daemon.core.values import Json, from_json, to_json
from daemon.nodes.answers import Child
from daemon.nodes.context import StepFailure
from daemon.runtime.clock import Clock
from daemon.runtime.handler_registry import Handler
from daemon.runtime.logs import bind_task
from daemon.runtime.remote_calls import RemoteCalls
from daemon.runtime.remote_messages import Request
from daemon.runtime.result_cache import Wanted
from daemon.runtime.resuming import pausing_again
from daemon.runtime.secrets import Disclosed, SecretUnknown
from daemon.runtime.step_answers import Paused, Postponed, Returned, read_answer
from daemon.runtime.step_context import ProgressFeed, StepContext
from daemon.runtime.step_errors import describe, without_secrets
from daemon.runtime.streams import StreamHub
from eventstore.streams import StreamId

if TYPE_CHECKING:
    from datetime import datetime

    from daemon.core.effects import RunStep
    from daemon.core.events import StepError, Streamed
    from daemon.core.plan import PlannedNode
    from daemon.nodes.context import Services
    from daemon.runtime.result_cache import Hit
    from daemon.runtime.streams import Outlet

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
    streams: StreamHub | None = None
    """Where chunks go; None where there is no such place, at a remote worker."""
    handlers: Mapping[str, Handler] = {}
    calls: RemoteCalls | None = None
    """The way to remote workers; None when the settings know none."""
    sent_away: Mapping[str, Remote] = {}
    """Handlers that the settings leave to remote workers, by name."""
    heartbeat: timedelta = timedelta(seconds=20)
    """Of remote workers, for nodes that say nothing."""


class Origin(Protocol):
    """What an attempt knows of its execution: its state when the attempt was owed."""

    @property
    def workflow(self) -> str:
        """Name of the workflow."""

    @property
    def traceparent(self) -> str | None:
        """What its trace goes on from."""

    @property
    def parent(self) -> Parent | None:
        """Who has started it."""

    @property
    def subject(self) -> str:
        """Whose data it holds."""

    @property
    def steps(self) -> Mapping[str, Any]:
        """The steps by address."""

    @property
    def keys(self) -> Mapping[str, str]:
        """See `Running.keys`."""


class Attempt:
    """From when it is owed until there is a result."""

    def __init__(
        self,
        execution_id: UUID,
        node: PlannedNode,
        effect: RunStep,
        state: Origin,
        means: Means,
        *,
        max_output_bytes: int = Limits().output_bytes,
    ) -> None:
        self.execution_id = execution_id
        self.max_output_bytes = max_output_bytes
        self.address = effect.address
        self.number = effect.attempt
        self.node = node
        self.handler = node.type.handler(node.config)
        """Name of the handler that it needs."""
        self.remote = node.type.remote(node.config) or means.sent_away.get(self.handler or "")
        """Who runs the handler; None for this process."""
        self.workflow = state.workflow
        self.subject = state.subject
        self.key = state.keys.get(effect.address, "")
        """What its idempotency key has in place of the execution's id; mostly empty."""
        self.state = effect.state
        self.resumed = effect.resumed
        self.context: StepContext | None = None
        """There since the work began."""
        self.streamed: tuple[StreamId, int] | None = None
        """The run of its stream, after the work; None when it had none."""
        self.started_at: datetime | None = None
        self._effect = effect
        self._execution = state
        self._means = means
        self._disclosed: Disclosed | None = None

    @property
    def parent(self) -> Parent:
        """What an execution that it starts has above it."""
        above = self._execution.parent
        depth = above.depth + 1 if above is not None else 1
        return Parent(self.execution_id, self.address, self.number, depth, self.key)

    def wanted(self) -> Wanted | None:
        """Return which cached result would do; None when the step has no key, or its node no cache."""
        cache = self.node.cache
        if cache is None or not self._effect.cache_key:
            return None
        return Wanted(
            cache=cache.name,
            key=self._effect.cache_key,
            ttl=cache.ttl,
            workflow=self.workflow,
            node=self.node.id,
            execution_id=self.execution_id,
            address=self.address,
            patience=self.node.timeout,
        )

    def cached(self, hit: Hit) -> CompleteStep | None:
        """Return the report of a result from the cache; None when the node cannot be left as it says."""
        result = CompleteStep(
            address=self.address,
            attempt=self.number,
            output=hit.output,
            port=hit.port,
            to=hit.to,
            origin=hit.origin,
            at=self.now(),
        )
        return result if refusal(self.node, result) is None else None

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

    def outlet(self) -> Outlet:
        """Return the way for the step's chunks."""
        if self._means.streams is None:
            raise StepFailure("a remote worker has no place for a step's chunks", "no_stream", retryable=False)
        handler = self._means.handlers.get(self.handler or "")
        count = handler.count if handler is not None else None
        stream = StreamId(self.execution_id, self.address)
        return self._means.streams.open(stream, self.number, shown=self._told, count=count)

    async def work(self, services: Services) -> Result:
        """Execute within the timeout and return what is to be reported; a failure is a result too.

        When cancelled, the handler is, and nothing is to be reported.
        """
        self.started_at = self.now()
        context = self.context = StepContext(self, services, self.started_at)
        try:
            result = await self._result(context)
            await context.finish()
            if context.outlet is not None and isinstance(result, FailStep):
                await context.outlet.finish()
        except asyncio.CancelledError:
            context.give_up()
            raise
        finally:
            if context.outlet is not None:
                self.streamed = context.outlet.stream, context.outlet.run
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
            if (again := pausing_again(self.resumed, self.address, self.number, self.state, self.now())) is not None:
                return again
            if self.remote is not None:
                return await self._call(self.remote, context)
            value = self._input()
            if (handler := self._means.handlers.get(self.handler or "")) is not None and handler.streams:
                context.open_stream()
            answer = await execute(context, value)
            is_child = self.node.type.subflow is not None and isinstance(answer, Child)
            read = answer if is_child else read_answer(answer)
            return self._answered(read, None if context.outlet is None else await context.outlet.finish())
        except (Exception, SystemExit) as error:  # noqa: BLE001  every failure of a handler is recorded
            return self._failed(*describe(error, self.number))
        except asyncio.CancelledError as error:
            task = asyncio.current_task()
            if task is None or task.cancelling():
                raise
            return self._failed(*describe(error, self.number))

    async def _call(self, remote: Remote, context: StepContext) -> Result:
        """Have a remote worker do it; the secrets stay places, which the worker fills in."""
        calls, effect = self._means.calls, self._effect
        if calls is None:
            raise StepFailure(
                "the settings know no remote workers: set [workers] broker", "no_workers", retryable=False
            )
        step = self._execution.steps.get(self.address)
        request = Request(
            id=uuid4().hex,
            daemon=calls.id,
            heartbeat_s=(remote.heartbeat or self._means.heartbeat).total_seconds(),
            handler=self.handler or "",
            execution_id=self.execution_id,
            workflow=self.workflow,
            traceparent=self._execution.traceparent,
            address=self.address,
            attempt=self.number,
            input=effect.input,
            secrets=effect.secrets,
            state=effect.state,
            resumed=effect.resumed,
            progress_number=step.progress_number if isinstance(step, InFlight) else 0,
            since=effect.since,
            deadline=context.deadline,
            key=self.key,
        )
        return await calls.call(remote.queue, request, context)

    def _answered(self, answer: Returned | Postponed | Paused | Child, streamed: Streamed | None) -> Result:
        address, attempt, at = self.address, self.number, self._means.clock.now()
        match answer:
            case Returned(output=output, port=port, to=to):
                told = self._told(output)
                return CompleteStep(
                    address=address, attempt=attempt, output=told, port=port, to=to, streamed=streamed, at=at
                )
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
