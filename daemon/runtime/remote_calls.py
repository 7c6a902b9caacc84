"""The daemon's side of remote workers: an attempt becomes a request, and waits for its outcome.

The attempt belongs to the first worker that claims it. One that was silent for longer than the node's `heartbeat` is
lost: the attempt fails with code `worker_lost`, and it is open whether it took effect. What other workers do for it is
cancelled, and so is what nobody waits for any more.

Outcomes come to any daemon. One that waits for it has it reported as if the handler had run there; any other gives it
to the engine itself, so it is recorded though the daemon that asked has died. It is acknowledged when it is recorded.

Comes from: `step_attempt`. Goes to: `remote_channel`; `engine`.
"""

from __future__ import annotations

import asyncio
from collections import OrderedDict
from contextlib import suppress
from datetime import timedelta
from typing import TYPE_CHECKING, Protocol
from uuid import uuid4

import msgspec
import structlog
from msgspec.structs import replace

from daemon.core.errors import Rejected
from daemon.core.values import from_json
from daemon.nodes.context import StepFailure
from daemon.runtime.remote_channel import AGAIN, RESULTS, control, requests, signs
from daemon.runtime.remote_messages import Alive, Begin, Claim, Leave, Progressed, Released, read_outcome, read_sign
from eventstore.errors import Conflict, StoreError, Unavailable
from triggers.errors import BrokerUnavailable, TooLarge, Unroutable
from triggers.message import Ack, DeadLetter, Retry

if TYPE_CHECKING:
    from collections.abc import Callable, Coroutine, Sequence
    from typing import Any
    from uuid import UUID

    from daemon.runtime.clock import Clock
    from daemon.runtime.mailbox import Handled
    from daemon.runtime.remote_channel import Channel
    from daemon.runtime.remote_messages import AttemptId, Outcome, Request, Result, Sign
    from daemon.runtime.step_context import StepContext
    from triggers.message import ConnectionStatus, Inbound, Verdict

REMEMBERED = 10_000
"""Attempts whose end is kept in mind, to answer those who still work for them."""
SEND_AGAIN_S = 1.0
"""Between two tries to send a request: no worker has made the queue yet, or the broker is away."""
LOOKS_IN_LIMIT = 4
"""How often a worker's silence is looked at, in the time after which it counts as lost."""
LOOK_S = 0.05
"""Between two looks whether this daemon can be reached already."""

_logger = structlog.get_logger(__name__)


class Records(Protocol):
    """What takes outcomes that nobody waits for here; see `engine.Engine`."""

    async def send(self, execution_id: UUID, command: Result) -> Handled:
        """Return when it is durable."""


class _Waiting:
    def __init__(self, request: Request, queue: str, context: StepContext) -> None:
        self.request = request
        self.queue = queue
        self.context = context
        self.answer: asyncio.Future[Result] = asyncio.get_running_loop().create_future()
        self.worker: str | None = None
        self.heard_s = 0.0
        """By the event loop's time."""
        self.wanted = True


class RemoteCalls:
    """All attempts of this daemon that workers have. `run` receives what workers tell, until `stop`."""

    def __init__(
        self,
        channel: Channel,
        records: Records,
        *,
        clock: Clock,
        spawn: Callable[[Coroutine[Any, Any, None]], asyncio.Task[None]],
    ) -> None:
        """`spawn` starts a task whose failure stops the daemon."""
        self.id = uuid4().hex[:12]
        self._records = records
        self._channel = channel
        self._clock = clock
        self._spawn = spawn
        self._waiting: dict[AttemptId, _Waiting] = {}
        self._reporting: set[AttemptId] = set()
        self._ended: OrderedDict[AttemptId, None] = OrderedDict()
        self._recorded: OrderedDict[AttemptId, None] = OrderedDict()
        self._signs = channel.receive(signs(self.id), self._take_signs)
        self._results = channel.receive(RESULTS, self._take_results)

    async def call(self, queue: str, request: Request, context: StepContext) -> Result:
        """Return what is to be reported when a worker has done it; cancelling this cancels the worker's handler.

        A broker that is away is waited for, as is the first worker; the node's `timeout` ends that.
        Raises `StepFailure` with code `worker_lost` or `request_too_large`.
        """
        while not self._signs.status.connected:  # noqa: ASYNC110  a trigger has no event for it
            await asyncio.sleep(LOOK_S)
        key, waiting = request.attempt_id, _Waiting(request, queue, context)
        self._waiting[key] = waiting
        try:
            await self._request(waiting)
            return await self._outcome(waiting)
        finally:
            if waiting.answer.done():
                self._reporting.add(key)
            if self._waiting.get(key) is waiting:
                del self._waiting[key]
            if waiting.wanted and not waiting.answer.done():
                _remember(self._ended, key)
                if waiting.worker is not None:
                    self._spawn(self._order(waiting.worker, Leave(self.id, key)))

    def over(self, attempt_id: AttemptId, *, recorded: bool) -> None:
        """Take note that nothing more is reported of the attempt here, and whether its result is in the log."""
        self._reporting.discard(attempt_id)
        if recorded:
            _remember(self._recorded, attempt_id)

    def let_go(self) -> None:
        """Leave the workers at work, though nobody here will wait for them: the daemon stops, or was taken for dead."""
        for waiting in self._waiting.values():
            waiting.wanted = False

    async def run(self) -> None:
        """Receive until stopped."""
        await asyncio.gather(self._signs.run(), self._results.run())

    async def stop(self) -> None:
        """Receive no more; what was not recorded goes back to the broker."""
        await asyncio.gather(self._signs.stop(), self._results.stop())

    def statuses(self) -> Sequence[ConnectionStatus]:
        """How the connections are."""
        return [self._signs.status, self._results.status]

    async def _request(self, waiting: _Waiting) -> None:
        """Send the request until the broker has confirmed it; or a worker tells that it has come without that."""
        request, told = waiting.request, ""
        while waiting.worker is None and not waiting.answer.done():
            try:
                place, key = requests(waiting.queue), str(request.execution_id)
                traceparent = waiting.context.traceparent
                await self._channel.send(place, request, key=key, traceparent=traceparent)
            except TooLarge as error:
                raise StepFailure(str(error), "request_too_large", retryable=False) from error
            except (Unroutable, BrokerUnavailable) as error:
                reason = "no_worker_yet" if isinstance(error, Unroutable) else "request_waits_for_broker"
                if told != reason:
                    _logger.warning(reason, queue=waiting.queue, handler=request.handler, reason=str(error))
                told = reason
                await asyncio.sleep(SEND_AGAIN_S)
            else:
                return

    async def _outcome(self, waiting: _Waiting) -> Result:
        """Wait for it, and for signs of life; silence counts when it is found twice: it may be we who were held up."""
        limit_s = waiting.request.heartbeat_s
        loop = asyncio.get_running_loop()
        suspected = False
        while not waiting.answer.done():
            await asyncio.wait({waiting.answer}, timeout=limit_s / LOOKS_IN_LIMIT)
            silent_s = loop.time() - waiting.heard_s
            silent = waiting.worker is not None and silent_s > limit_s and not waiting.answer.done()
            if silent and suspected:
                message = f"the worker {waiting.worker} has given no sign of life for {silent_s:.1f} s"
                raise StepFailure(message, "worker_lost", details={"worker": waiting.worker})
            suspected = silent
        return waiting.answer.result()

    async def _take_signs(self, batch: Sequence[Inbound]) -> Sequence[Verdict]:
        return await asyncio.gather(*map(self._take_message, batch))

    async def _take_message(self, message: Inbound) -> Verdict:
        try:
            await self._take_sign(read_sign(message.body))
        except (msgspec.MsgspecError, UnicodeDecodeError) as error:
            return DeadLetter(str(error), "undecodable")
        except BrokerUnavailable as error:
            return Retry(str(error), AGAIN, counted=False)
        return Ack("signalled")

    async def _take_sign(self, sign: Sign) -> None:
        match sign:
            case Claim(worker=worker, attempt_id=key):
                ours = self._heard(worker, key, claims=True)
                await self._order(worker, Begin(self.id, key) if ours else Leave(self.id, key))
            case Alive(worker=worker, attempt_ids=keys):
                for key in keys:
                    if not self._heard(worker, key) and key in self._ended:
                        await self._order(worker, Leave(self.id, key))
            case Progressed(worker=worker, attempt_id=key, value=value):
                if self._heard(worker, key):
                    self._waiting[key].context.progress(from_json(value))
            case Released(worker=worker, attempt_id=key):
                await self._released(worker, key)

    def _heard(self, worker: str, key: AttemptId, *, claims: bool = False) -> bool:
        """Note a sign; tell whether the attempt is waited for, and is the worker's."""
        waiting = self._waiting.get(key)
        if waiting is None or waiting.answer.done():
            return False
        if waiting.worker is None:
            waiting.worker = worker
            _logger.debug("worker_has_attempt", worker=worker, step=key.address, attempt=key.attempt, claims=claims)
        if waiting.worker != worker:
            return False
        waiting.heard_s = asyncio.get_running_loop().time()
        waiting.context.heartbeat()
        return True

    async def _released(self, worker: str, key: AttemptId) -> None:
        """Ask anew: the worker that had the attempt goes."""
        waiting = self._waiting.get(key)
        if waiting is not None and waiting.worker == worker:
            waiting.worker = None
            waiting.request = replace(waiting.request, id=uuid4().hex)
            with suppress(Unroutable):
                await self._channel.send(requests(waiting.queue), waiting.request, key=str(key.execution_id))

    async def _order(self, worker: str, order: Begin | Leave) -> None:
        """Tell a worker; one that is gone is told nothing."""
        try:
            await self._channel.send(control(worker), order, key=worker)
        except Unroutable:
            return
        except BrokerUnavailable:
            if isinstance(order, Begin):
                raise

    async def _take_results(self, batch: Sequence[Inbound]) -> Sequence[Verdict]:
        return await asyncio.gather(*map(self._take_result, batch))

    async def _take_result(self, message: Inbound) -> Verdict:
        try:
            outcome = read_outcome(message.body)
            key = outcome.attempt_id
        except (msgspec.MsgspecError, UnicodeDecodeError, ValueError) as error:
            return DeadLetter(str(error), "undecodable")
        if key in self._recorded:
            return Ack("duplicate", key.execution_id)
        if key in self._reporting:
            return Retry("it is being recorded", AGAIN, counted=False)
        if (waiting := self._waiting.get(key)) is not None:
            if not waiting.answer.done():
                waiting.answer.set_result(self._dated(outcome))
            return Retry("it is being recorded", AGAIN, counted=False)
        return await self._record(outcome)

    async def _record(self, outcome: Outcome) -> Verdict:
        """Record an outcome that nobody waits for here; of a superseded attempt nothing is."""
        execution_id = outcome.execution_id
        try:
            handled = await self._records.send(execution_id, self._dated(outcome))
        except Rejected as error:
            return Ack(f"late: {error}", execution_id)
        except (Unavailable, Conflict) as error:
            return Retry(str(error), timedelta(seconds=1), counted=False)
        except StoreError as error:
            return DeadLetter(str(error), "refused")
        _remember(self._recorded, outcome.attempt_id)
        return Ack("signalled" if handled.events else "duplicate", execution_id)

    def _dated(self, outcome: Outcome) -> Result:
        """Have the daemon's time count, not the worker's."""
        return replace(outcome.result, at=self._clock.now())


def _remember(memory: OrderedDict[AttemptId, None], key: AttemptId) -> None:
    memory[key] = None
    memory.move_to_end(key)
    if len(memory) > REMEMBERED:
        memory.popitem(last=False)
