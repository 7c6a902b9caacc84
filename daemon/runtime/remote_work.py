"""One attempt at a remote worker: from its request to its outcome.

Comes from: `worker`. Goes to: `step_attempt`, and the handlers; `remote_channel`.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Coroutine, Mapping
from datetime import timedelta
from typing import TYPE_CHECKING, Any

import structlog
from msgspec import Struct

from daemon.core.commands import FailStep
from daemon.core.effects import RunStep
from daemon.core.events import StepError
from daemon.core.plan import PlannedNode
from daemon.core.retry import RetryPolicy
from daemon.core.state import InFlight
from daemon.core.templates import compile_template
from daemon.nodes import task
from daemon.nodes.task import Task
from daemon.runtime.clock import Clock
from daemon.runtime.handler_registry import Handler
from daemon.runtime.remote_channel import RESULTS, signs
from daemon.runtime.remote_messages import Claim, Outcome, Progressed, Released, outcome_of
from daemon.runtime.services import Lanes, Outgoing, StepServices
from daemon.runtime.step_attempt import Attempt, Means
from triggers.errors import BrokerUnavailable, TooLarge, Unroutable

if TYPE_CHECKING:
    from uuid import UUID

    from daemon.core.child_events import Parent
    from daemon.core.commands import ReportProgress
    from daemon.nodes.answers import Child
    from daemon.runtime.children import Starting
    from daemon.runtime.remote_channel import Channel
    from daemon.runtime.remote_messages import Request, Result, Sign

CLAIM_S = 60.0
"""How long a worker asks whether it may begin: a daemon that does not answer for so long has died, and another asks."""
CLAIM_AGAIN_S = 2.0
FIRST_PAUSE_S, LONGEST_PAUSE_S = 0.1, 5.0
"""Between two tries to send an outcome while the broker is away; each pause is twice the one before."""

_NOTHING = compile_template(None)

_logger = structlog.get_logger(__name__)


class Origin(Struct, frozen=True):
    """What an attempt knows of its execution."""

    workflow: str
    traceparent: str | None
    steps: Mapping[str, InFlight]
    keys: Mapping[str, str]
    parent: None = None
    subject: str = ""


class Bench(Struct, frozen=True, kw_only=True):
    """What all work of one worker is done with."""

    worker: str
    """Its id."""
    handlers: Mapping[str, Handler]
    outgoing: Outgoing
    lanes: Lanes
    clock: Clock
    secrets: Callable[[str], str]
    jitter: Callable[[], float]
    spawn: Callable[[Coroutine[Any, Any, Any]], asyncio.Task[Any]]

    async def tell(self, channel: Channel, daemon: str, sign: Sign) -> bool:
        """Send a sign, once; tell whether the daemon can still be reached."""
        try:
            await channel.send(signs(daemon), sign, key=daemon)
        except Unroutable:
            return False
        except BrokerUnavailable as error:
            _logger.info("sign_not_sent", daemon=daemon, error=str(error))
        return True


class Work:
    """What is done for one attempt, for however many requests."""

    task: asyncio.Task[None]

    def __init__(self, request: Request, channel: Channel, bench: Bench, known: Outcome | None) -> None:
        """`known` is how the attempt has ended here before, if it has."""
        self.request = request
        """The newest: its daemon is told."""
        self.request_ids = {request.id}
        self.began = False
        self._channel = channel
        self._bench = bench
        self._known = known
        self._allowed: asyncio.Future[bool] = asyncio.get_running_loop().create_future()
        self._result: asyncio.Task[Result] | None = None
        self._left = False
        self._released = False

    async def run(self) -> Outcome | None:
        """Return the outcome when the broker has confirmed it; None when there is none to be known."""
        if self._known is None and not await self._may_begin():
            if self._released:
                await self._give_back()
            return None
        outcome = self._known or await self._work()
        if outcome is None:
            return None
        return await self._send(outcome)

    def adopt(self, request: Request) -> None:
        """Do the work for this request too; a daemon that has taken over is told from now on."""
        if request.id in self.request_ids:
            return
        self.request_ids.add(request.id)
        self.request = request
        if self.began:
            claim = Claim(self._bench.worker, request.attempt_id)
            self._bench.spawn(self._bench.tell(self._channel, request.daemon, claim))

    def allow(self, daemon: str) -> None:
        """Begin: the daemon wants it from this worker."""
        if daemon == self.request.daemon and not self._allowed.done():
            self._allowed.set_result(True)

    def leave(self, daemon: str) -> None:
        """Give it up, unless another daemon has asked since."""
        if daemon != self.request.daemon or self._left:
            return
        self._left = True
        self._end()

    def release(self) -> None:
        """Give it up and back, so that another worker does it."""
        if not self._left:
            self._left = self._released = True
            self._end()

    def _end(self) -> None:
        if not self._allowed.done():
            self._allowed.set_result(False)
        if self._result is not None:
            self._result.cancel()

    async def _may_begin(self) -> bool:
        """Ask the daemon until it answers; one that is gone is not waited for."""
        ends_at = asyncio.get_running_loop().time() + CLAIM_S
        while not self._allowed.done():
            claim = Claim(self._bench.worker, self.request.attempt_id)
            reachable = await self._bench.tell(self._channel, self.request.daemon, claim)
            if not reachable or asyncio.get_running_loop().time() > ends_at:
                return False
            await asyncio.wait({self._allowed}, timeout=CLAIM_AGAIN_S)
        return self._allowed.result()

    async def _work(self) -> Outcome | None:
        """Run the handler; None when the attempt was given up meanwhile."""
        request = self.request
        services = StepServices(self._bench.outgoing, self._bench.handlers, self._bench.lanes, NoChildren())
        self.began = True
        try:
            await services.reserve(request.handler)
            self._result = self._bench.spawn(self._attempt(request).work(services))
            if self._left:
                self._result.cancel()
            await asyncio.wait({self._result})
            if self._released:
                await self._give_back()
            if self._left or self._result.cancelled():
                return None
            return outcome_of(self._bench.worker, request.execution_id, self._result.result())
        finally:
            services.release()
            if self._result is not None:
                self._result.cancel()

    async def _give_back(self) -> None:
        sign = Released(self._bench.worker, self.request.attempt_id)
        await self._bench.tell(self._channel, self.request.daemon, sign)

    def _attempt(self, request: Request) -> Attempt:
        node = PlannedNode(
            id=request.address,
            type=task.NODE_TYPE,
            config=Task(request.handler, _NOTHING),
            ports=(),
            incoming=(),
            outgoing=(),
            retry=RetryPolicy(),
            timeout=self._time_left(request),
            on_error="stop",
            default=None,
        )
        effect = RunStep(
            request.address,
            request.attempt,
            request.input,
            request.secrets,
            request.since,
            request.state,
            resumed=request.resumed,
        )
        means = Means(
            clock=self._bench.clock,
            jitter=self._bench.jitter,
            secrets=self._bench.secrets,
            spawn=self._bench.spawn,
            record_progress=self._progress,
        )
        keys = {request.address: request.key}
        origin = Origin(request.workflow, request.traceparent, {request.address: _in_flight(request)}, keys)
        return Attempt(request.execution_id, node, effect, origin, means)

    def _time_left(self, request: Request) -> timedelta | None:
        if request.deadline is None:
            return None
        return max(request.deadline - self._bench.clock.now(), timedelta(milliseconds=1))

    async def _progress(self, _: UUID, report: ReportProgress) -> None:
        sign = Progressed(self._bench.worker, self.request.attempt_id, report.progress)
        await self._bench.tell(self._channel, self.request.daemon, sign)

    async def _send(self, outcome: Outcome) -> Outcome:
        """Send until the broker has confirmed. What is too large for it is an outcome of its own."""
        pause_s = FIRST_PAUSE_S
        while True:
            try:
                await self._channel.send(RESULTS, outcome, key=str(outcome.execution_id))
            except TooLarge as error:
                outcome = _too_large(outcome, str(error))
            except (BrokerUnavailable, Unroutable) as error:
                _logger.warning("outcome_waits_for_broker", step=outcome.result.address, error=str(error))
                await asyncio.sleep(pause_s)
                pause_s = min(2 * pause_s, LONGEST_PAUSE_S)
            else:
                return outcome


class NoChildren:
    """A remote worker runs handlers, which start no executions."""

    async def start(self, wanted: Starting) -> Child:
        """Raise TypeError."""
        raise TypeError(f"a remote worker was asked to start {wanted.workflow}")

    async def undo(self, child: UUID, parent: Parent) -> Child:
        """Raise TypeError."""
        raise TypeError(f"a remote worker was asked to undo {child} for {parent.address}")


def _in_flight(request: Request) -> InFlight:
    return InFlight(
        attempt=request.attempt,
        input=request.input,
        secrets=request.secrets,
        since=request.since,
        progress_number=request.progress_number,
    )


def _too_large(outcome: Outcome, reason: str) -> Outcome:
    result = outcome.result
    error = StepError(f"the outcome cannot be sent: {reason}", "output_too_large", "", result.attempt)
    failed = FailStep(
        address=result.address, attempt=result.attempt, error=error, retryable=False, jitter=0.0, at=result.at
    )
    return outcome_of(outcome.worker, outcome.execution_id, failed)
