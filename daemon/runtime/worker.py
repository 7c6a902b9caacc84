"""A remote worker: takes requests from a queue, runs their handlers, and sends what comes of it.

1. A request is taken, and claimed at the daemon that asks. 2. It may begin: the handler runs, as it would in the
daemon. 3. The outcome is sent until the broker has confirmed it. 4. Only then is the request acknowledged. An attempt
that is asked for again meanwhile, by a daemon that has taken over say, is one piece of work; after its end it is
answered from memory. At most `concurrency` requests are taken at a time.

Comes from: daemon/cli, a broker. Goes to: `step_attempt`, and the handlers; `remote_channel`.
"""

from __future__ import annotations

import asyncio
from collections import OrderedDict
from typing import TYPE_CHECKING, Any
from uuid import uuid4

import msgspec
import structlog

from daemon.runtime.remote_channel import AGAIN, control, requests
from daemon.runtime.remote_messages import Alive, AttemptId, Begin, Leave, read_order, read_request
from daemon.runtime.remote_work import Work
from triggers.message import Ack, DeadLetter, Retry

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from daemon.runtime.remote_channel import Channel
    from daemon.runtime.remote_messages import Outcome, Request
    from daemon.runtime.remote_work import Bench
    from triggers.message import ConnectionStatus, Inbound, Trigger, Verdict

REMEMBERED = 1_000
"""Outcomes kept in mind for attempts that are asked for again; also requests that are done."""
SIGNS_IN_LIMIT = 4
"""Signs of life within the time after which a worker counts as lost."""
SLOWEST_SIGN_S = 5.0
CANCEL_S = 5.0
"""How long handlers that were cancelled at the stop may take to end."""

_logger = structlog.get_logger(__name__)


class Worker:
    """One process's work for some queues. `run` works until `stop`."""

    def __init__(
        self,
        channel: Channel,
        queues: Iterable[str],
        bench: Bench,
        *,
        concurrency: int,
    ) -> None:
        """Work for at least one queue."""
        self.id = bench.worker
        self._channel = channel
        self._bench = bench
        self._concurrency = concurrency
        self._at_work: dict[AttemptId, Work] = {}
        self._memory: OrderedDict[AttemptId, Outcome] = OrderedDict()
        self._done: OrderedDict[str, None] = OrderedDict()
        self._draining = False
        self._beating: asyncio.Task[None] | None = None
        self._requests: list[Trigger] = [
            channel.receive(requests(queue), self._take_requests, at_most=concurrency) for queue in queues
        ]
        self._control = channel.receive(control(self.id), self._take_orders)

    @property
    def busy(self) -> int:
        """How many requests are at work."""
        return len(self._at_work)

    def statuses(self) -> Sequence[ConnectionStatus]:
        """How the connections are."""
        return [self._control.status, *(trigger.status for trigger in self._requests)]

    async def run(self) -> None:
        """Work until stopped."""
        self._beating = asyncio.create_task(self._beat())
        try:
            await asyncio.gather(self._control.run(), *(trigger.run() for trigger in self._requests))
        finally:
            self._beating.cancel()

    async def stop(self, grace_s: float) -> None:
        """Begin nothing more; give handlers at work so long, then cancel them and give their attempts back."""
        self._draining = True
        await self._idle(grace_s)
        for work in list(self._at_work.values()):
            work.release()
        await self._idle(CANCEL_S)
        await asyncio.gather(*(trigger.stop() for trigger in self._requests))
        await self._control.stop()

    async def _idle(self, wait_s: float) -> None:
        tasks = [work.task for work in self._at_work.values()]
        if tasks:
            await asyncio.wait(tasks, timeout=wait_s)

    async def _take_requests(self, batch: Sequence[Inbound]) -> Sequence[Verdict]:
        return [self._take_request(message) for message in batch]

    def _take_request(self, message: Inbound) -> Verdict:
        """Settle it when its work is done; begin the work when there is none yet."""
        try:
            request = read_request(message.body)
        except (msgspec.MsgspecError, UnicodeDecodeError) as error:
            return DeadLetter(str(error), "undecodable")
        key = request.attempt_id
        if request.id in self._done:
            return Ack("done", key.execution_id)
        work = self._at_work.get(key)
        if work is not None:
            work.adopt(request)
        elif not self._draining and len(self._at_work) < self._concurrency:
            self._begin(request)
        return Retry("it is at work", AGAIN, counted=False)

    def _begin(self, request: Request) -> None:
        key = request.attempt_id
        work = Work(request, self._channel, self._bench, self._memory.get(key))
        self._at_work[key] = work
        work.task = self._bench.spawn(self._look_after(key, work))

    async def _look_after(self, key: AttemptId, work: Work) -> None:
        try:
            outcome = await work.run()
        except asyncio.CancelledError:
            _logger.warning("worker_cancelled", step=key.address, attempt=key.attempt)
            raise
        finally:
            del self._at_work[key]
        if outcome is not None:
            _remember(self._memory, key, outcome)
        for request_id in work.request_ids:
            _remember(self._done, request_id, None)

    async def _take_orders(self, batch: Sequence[Inbound]) -> Sequence[Verdict]:
        return [self._take_order(message) for message in batch]

    def _take_order(self, message: Inbound) -> Verdict:
        try:
            order = read_order(message.body)
        except (msgspec.MsgspecError, UnicodeDecodeError) as error:
            return DeadLetter(str(error), "undecodable")
        work = self._at_work.get(order.attempt_id)
        match order:
            case Begin(daemon=daemon) if work is not None:
                work.allow(daemon)
            case Leave(daemon=daemon) if work is not None:
                work.leave(daemon)
        return Ack("signalled")

    async def _beat(self) -> None:
        """Tell each daemon which of its attempts are at work, often enough for the most impatient."""
        while True:
            limits = [work.request.heartbeat_s for work in self._at_work.values()]
            await asyncio.sleep(min([SLOWEST_SIGN_S, *(limit / SIGNS_IN_LIMIT for limit in limits)]))
            by_daemon: dict[str, list[AttemptId]] = {}
            for key, work in self._at_work.items():
                if work.began:
                    by_daemon.setdefault(work.request.daemon, []).append(key)
            for daemon, keys in by_daemon.items():
                await self._bench.tell(self._channel, daemon, Alive(self.id, tuple(keys)))


def new_worker_id(name: str) -> str:
    """Return what nobody else is called: a name for people, and a random end."""
    return f"{name}-{uuid4().hex[:8]}"


def _remember(memory: OrderedDict[Any, Any], key: object, value: object) -> None:
    memory[key] = value
    memory.move_to_end(key)
    if len(memory) > REMEMBERED:
        memory.popitem(last=False)
