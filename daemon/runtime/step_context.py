"""One attempt of one step: what a node type and a handler see of it, and the way back for what they tell.

Comes from: `steps`. Goes to: daemon/nodes, and the handlers.
"""

from __future__ import annotations

import asyncio
from functools import cached_property
from typing import TYPE_CHECKING, Any

import structlog

from daemon.core.trace_ids import parse_traceparent
from daemon.core.values import Json, bounded_json

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Coroutine
    from datetime import datetime

    from structlog.typing import FilteringBoundLogger

    from daemon.nodes.context import Services
    from daemon.runtime.clock import Clock

PROGRESS_INTERVAL_S = 1.0
"""Least time between two recorded reports of one step."""


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
        self._posted = False
        self._waiting: Json | None = None
        self._ending = asyncio.Event()
        self._task: asyncio.Task[None] | None = None

    def post(self, loop: asyncio.AbstractEventLoop, value: Json) -> None:
        """Have the loop `put` it; safe in threads."""
        self._posted = True
        loop.call_soon_threadsafe(self.put, value)

    def put(self, value: Json) -> None:
        """Take a report, instead of one that still waits. After the end it is ignored."""
        if self._ending.is_set():
            return
        self._waiting = value
        if self._task is None:
            self._task = self._spawn(self._pass_on())

    async def finish(self) -> None:
        """Record what still waits, then return."""
        if self._posted:
            await asyncio.sleep(0)  # what was posted last may still be on its way
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
    """Implements `daemon.nodes.context.NodeContext` and `daemon.handlers.Context`."""

    def __init__(
        self,
        *,
        execution_id: str,
        workflow: str,
        address: str,
        attempt: int,
        deadline: datetime | None,
        traceparent: str,
        config: Any,
        services: Services,
        clock: Clock,
        feed: ProgressFeed,
    ) -> None:
        self.execution_id = execution_id
        self.workflow = workflow
        self.address = address
        self.attempt = attempt
        self.idempotency_key = f"{execution_id}/{address}"
        self.deadline = deadline
        self.traceparent: str | None = traceparent
        self.config = config
        self.services = services
        self.last_sign = clock.now()
        """When the attempt was last known to be alive: its begin, heartbeat or report of progress."""
        self._clock = clock
        self._feed = feed
        self._loop = asyncio.get_running_loop()
        self._given_up = False

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
        """Let the handler see that nobody waits for it any more."""
        self._given_up = True

    def heartbeat(self) -> None:
        """Tell that the attempt is alive. Safe in threads."""
        self.last_sign = self._clock.now()

    def progress(self, value: object) -> None:
        """Record how far the attempt is. Safe in threads. Raises TypeError or ValueError for what has no JSON form."""
        report = bounded_json(value)
        self.heartbeat()
        self._feed.post(self._loop, report)
