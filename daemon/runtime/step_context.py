"""One attempt of one step: what a node type and a handler see of it, and the way back for what they tell.

Comes from: `steps`. Goes to: daemon/nodes, and the handlers.
"""

from __future__ import annotations

import asyncio
import threading
from functools import cached_property
from typing import TYPE_CHECKING, Any, Protocol

import structlog

from daemon.core.trace_ids import parse_traceparent
from daemon.core.values import Json, bounded_json, from_json

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Coroutine, Generator
    from datetime import datetime
    from uuid import UUID

    from structlog.typing import FilteringBoundLogger

    from daemon.core.child_events import Parent
    from daemon.core.people import Resumption
    from daemon.core.plan import PlannedNode
    from daemon.nodes.context import Services
    from daemon.runtime.clock import Clock
    from daemon.runtime.streams import Outlet

PROGRESS_INTERVAL_S = 1.0
"""Least time between two recorded reports of one step."""


class Told(Protocol):
    """What the context tells of an attempt."""

    execution_id: UUID
    workflow: str
    subject: str
    address: str
    number: int
    key: str
    """What the idempotency key has in place of the execution's id; mostly empty."""
    node: PlannedNode
    state: Json
    """What the last `Again` or `Pause` of the step has left."""
    resumed: Resumption | None
    """What was given to it when it had paused last."""
    max_output_bytes: int

    @property
    def parent(self) -> Parent:
        """What an execution that the step starts has above it."""

    def traceparent(self) -> str:
        """Return the attempt's own trace context."""

    def now(self) -> datetime:
        """Return the time."""

    def feed(self) -> ProgressFeed:
        """Return a new way to record progress."""

    def outlet(self) -> Outlet:
        """Return a new stream."""


class Done:
    """What need not be awaited, and may be: it was waited for already."""

    def __await__(self) -> Generator[Any, None, None]:
        """Return at once."""
        yield from ()


class ProgressFeed:
    """Thins out what a handler reports: the first at once, then at most one a second, and always the last."""

    def __init__(
        self,
        record: Callable[[int, Json], Awaitable[None]],
        *,
        clock: Clock,
        spawn: Callable[[Coroutine[Any, Any, None]], asyncio.Task[None]],
        last_number: int = 0,
    ) -> None:
        """`last_number` is that of the last report which the log has of this attempt."""
        self._record = record
        self._clock = clock
        self._spawn = spawn
        self._number = last_number
        self._waiting: Json | None = None
        self._ending = asyncio.Event()
        self._task: asyncio.Task[None] | None = None

    def put(self, value: Json) -> None:
        """Take a report, instead of one that still waits. After the end it is ignored."""
        if self._ending.is_set():
            return
        self._waiting = value
        if self._task is None:
            self._task = self._spawn(self._pass_on())

    async def finish(self) -> None:
        """Record what still waits, then return."""
        self._ending.set()
        if self._task is not None:
            await self._task

    def drop(self) -> None:
        """Take no more reports, and record none."""
        self._ending.set()
        self._waiting = None

    async def _pass_on(self) -> None:
        while (value := self._waiting) is not None:
            self._waiting = None
            self._number += 1
            await self._record(self._number, value)
            if not self._ending.is_set():
                await self._pause()
        self._task = None

    async def _pause(self) -> None:
        nap = asyncio.ensure_future(self._clock.sleep(PROGRESS_INTERVAL_S))
        end = asyncio.ensure_future(self._ending.wait())
        try:
            await asyncio.wait({nap, end}, return_when=asyncio.FIRST_COMPLETED)
        finally:
            nap.cancel()
            end.cancel()


class StepContext:
    """Implements `daemon.nodes.context.NodeContext` and `daemon.handlers.Context`.

    One is made for every step, so what most handlers never look at is made when they do.
    """

    def __init__(self, attempt: Told, services: Services, started_at: datetime) -> None:
        """`started_at` also counts as the first sign of life."""
        self.services = services
        self.last_sign = started_at
        """When the attempt was last known to be alive: its begin, heartbeat or report of progress."""
        self._attempt = attempt
        self._loop = asyncio.get_running_loop()
        self._feed: ProgressFeed | None = None
        self._thread = threading.get_ident()
        self.outlet: Outlet | None = None
        """Its stream, once there is one."""
        self._posted = False
        self._given_up = False
        self.workflow = attempt.workflow
        self.address = attempt.address
        self.attempt = attempt.number
        self.config = attempt.node.config
        self.max_output_bytes = attempt.max_output_bytes
        timeout = attempt.node.timeout
        self.deadline = None if timeout is None else started_at + timeout

    @cached_property
    def execution_id(self) -> str:
        """Id of the execution, as text."""
        return str(self._attempt.execution_id)

    @cached_property
    def idempotency_key(self) -> str:
        """The same at each attempt of this step, and for no other step."""
        return f"{self._attempt.key or self.execution_id}/{self.address}"

    @cached_property
    def state(self) -> Any:
        """What the last `Again` or `Pause` of this step has left; None before the first."""
        return from_json(self._attempt.state)

    @property
    def parent(self) -> Parent:
        """What an execution that the step starts has above it."""
        return self._attempt.parent

    @property
    def subject(self) -> str:
        """Whose data the execution holds; empty for nobody's in particular."""
        return self._attempt.subject

    @cached_property
    def resumed(self) -> Any:
        """What was given to this step when it had paused last; None before the first."""
        return None if self._attempt.resumed is None else from_json(self._attempt.resumed.input)

    @cached_property
    def traceparent(self) -> str | None:
        """W3C trace context of the attempt."""
        return self._attempt.traceparent()

    @cached_property
    def logger(self) -> FilteringBoundLogger:
        """Bound to the execution, step, attempt and trace."""
        trace = parse_traceparent(self.traceparent or "")
        logger: FilteringBoundLogger = structlog.get_logger("sagad.handler").bind(
            execution_id=self.execution_id,
            workflow=self.workflow,
            step=self.address,
            attempt=self.attempt,
            **({"trace_id": trace.trace_id, "span_id": trace.parent_span_id} if trace is not None else {}),
        )
        return logger

    @property
    def cancelled(self) -> bool:
        """Tell whether the execution has ended or the attempt is given up."""
        return self._given_up

    def give_up(self) -> None:
        """Let the handler see that nobody waits for it any more; take no more reports, and record none."""
        self._given_up = True
        if self._feed is not None:
            self._feed.drop()
        if self.outlet is not None:
            self.outlet.drop()

    def heartbeat(self) -> None:
        """Tell that the attempt is alive. Safe in threads."""
        self.last_sign = self._attempt.now()

    def progress(self, value: object) -> None:
        """Record how far the attempt is. Safe in threads. Raises TypeError or ValueError for what has no JSON form."""
        report = bounded_json(value)
        self.heartbeat()
        self._posted = True
        self._loop.call_soon_threadsafe(self._put, report)

    def stream(self, chunk: object) -> Awaitable[None]:
        """Give readers another chunk; see `daemon.handlers.Context.stream`."""
        self.heartbeat()
        if threading.get_ident() == self._thread:
            outlet = self.open_stream()
            outlet.put(chunk)
            return outlet.room()
        if self.outlet is None:
            asyncio.run_coroutine_threadsafe(self._opened(), self._loop).result()
        if self.outlet is not None:
            self.outlet.put(chunk)
            self.outlet.wait_for_room()
        return Done()

    def open_stream(self) -> Outlet:
        """Begin a new run of the step's stream, unless this attempt has done so."""
        if self.outlet is None:
            self.outlet = self._attempt.outlet()
            if self._given_up:
                self.outlet.drop()
        return self.outlet

    async def _opened(self) -> None:
        self.open_stream()

    async def finish(self) -> None:
        """Record the last report, if there was any, then return."""
        if self._posted:
            await asyncio.sleep(0)  # what was posted last may still be on its way
        if self._feed is not None:
            await self._feed.finish()

    def _put(self, report: Json) -> None:
        if self._feed is None and not self._given_up:
            self._feed = self._attempt.feed()
        if self._feed is not None:
            self._feed.put(report)
