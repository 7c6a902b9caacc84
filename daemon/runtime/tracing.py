"""Traces, exported from the log: spans follow from events, so they are sent after the commit, and can be sent again.

The position of the last event whose spans the collector has acknowledged is kept in the store. So a crash loses no
span: those that were under way are sent a second time, with the same ids. The engine never waits for a collector; while
one is away this reader stands still and holds one page of events.

`export_traces` does the same once, for any part of the log.

Comes from: eventstore/log, `history`. Goes to: daemon/core/spans, `otlp`.
"""

from __future__ import annotations

import asyncio
from collections import OrderedDict
from functools import partial
from typing import TYPE_CHECKING, Any, Protocol, TypeVar

import structlog
from immutables import Map
from msgspec.structs import replace

from daemon.core.events import ExecutionForked, ExecutionRewound
from daemon.core.spans import Span, Trace, spans_of, trace_of
from eventstore.errors import Unavailable, Undecodable
from triggers.message import ConnectionStatus

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Coroutine, Sequence
    from uuid import UUID

    from daemon.runtime.clock import Clock
    from daemon.runtime.history import History
    from eventstore.log import EventLog, Recorded
    from eventstore.store import Store

CURSOR = "traces"
"""Name under which the store keeps how far the export has come."""

PAGE = 1000
"""Events read at a time."""

MAX_SPANS = 512
"""Spans sent at a time."""

REMEMBERED = 10_000
"""Executions whose open spans are kept in memory; the others are read from the log again when they go on."""

_T = TypeVar("_T")

_logger = structlog.get_logger(__name__)


class Away(Exception):
    """The collector did not take the spans. Safe to repeat after a pause; some may have arrived."""


class Collector(Protocol):
    """Where spans go."""

    async def send(self, spans: Sequence[Span]) -> None:
        """Return when the spans are acknowledged, or refused for good and logged. Raises Away."""


class Traces:
    """Makes spans of events that come in the order of the log, beginning anywhere."""

    def __init__(self, history: History, *, remembered: int = REMEMBERED) -> None:
        self._history = history
        self._remembered = remembered
        self._traces: OrderedDict[UUID, tuple[int, Trace]] = OrderedDict()

    async def read(self, events: Sequence[Recorded]) -> list[Span]:
        """Return the spans that the events close. Raises Unavailable; harmless to repeat."""
        spans: list[Span] = []
        for recorded in events:
            if isinstance(recorded.event, ExecutionForked | ExecutionRewound):
                trace = await self._taken_up(recorded)
            else:
                trace, closed = spans_of(await self._before(recorded), recorded.event)
                spans += closed
            self._remember(recorded, trace)
        return spans

    async def _before(self, recorded: Recorded) -> Trace | None:
        version = recorded.version - 1
        known, trace = self._traces.get(recorded.execution_id, (0, None))
        if known == version or not version:
            return trace if version else None
        return await self._loaded(recorded, version)

    async def _taken_up(self, recorded: Recorded) -> Trace | None:
        """Return the trace of an execution that goes on from a past: what is open there is open from now on."""
        trace = await self._loaded(recorded, recorded.version)
        if trace is None:
            return None
        at = recorded.event.at
        return replace(trace, open=Map({address: replace(step, since=at) for address, step in trace.open.items()}))

    async def _loaded(self, recorded: Recorded, version: int) -> Trace | None:
        try:
            return trace_of(await self._history.load(recorded.execution_id, up_to_version=version))
        except Undecodable as error:
            _logger.warning("trace_incomplete", execution_id=str(recorded.execution_id), error=str(error))
            return None

    def _remember(self, recorded: Recorded, trace: Trace | None) -> None:
        if trace is None:
            self._traces.pop(recorded.execution_id, None)
            return
        self._traces[recorded.execution_id] = (recorded.version, trace)
        self._traces.move_to_end(recorded.execution_id)
        if len(self._traces) > self._remembered:
            self._traces.popitem(last=False)


async def _once(action: Callable[[], Awaitable[_T]]) -> _T:
    return await action()


class Insist(Protocol):
    """How an action is carried out that may find the store or the collector away."""

    async def __call__(self, action: Callable[[], Awaitable[_T]]) -> _T:
        """Return what the action returns."""


async def export_traces(
    log: EventLog,
    traces: Traces,
    collector: Collector,
    *,
    after_position: int = 0,
    up_to: int | None = None,
    insist: Insist = _once,
    exported: Callable[[int, int], Awaitable[None]] | None = None,
) -> int:
    """Send the spans that the events after a position, up to another or to the newest, close; return where it ended.

    `exported` is called after each page with the position reached and the number of spans sent. Events that cannot be
    read are logged and left out. Raises Away and Unavailable, unless `insist` deals with them.
    """
    position = after_position
    while up_to is None or position < up_to:
        events, reached = await insist(partial(_page, log, position))
        if reached == position:
            break
        if up_to is not None and reached > up_to:
            events, reached = [recorded for recorded in events if recorded.position <= up_to], up_to
        spans = await insist(partial(traces.read, events))
        for start in range(0, len(spans), MAX_SPANS):
            await insist(partial(collector.send, spans[start : start + MAX_SPANS]))
        position = reached
        if exported is not None:
            await exported(position, len(spans))
    return position


async def _page(log: EventLog, position: int, limit: int = PAGE) -> tuple[Sequence[Recorded], int]:
    """Return the next events that can be read, and the position up to which they reach."""
    try:
        events = await log.read_all(after_position=position, limit=limit)
    except Undecodable as error:
        if limit > 1:
            return await _page(log, position, limit // 2)
        _logger.error("event_not_traced", after_position=position, error=str(error))  # noqa: TRY400  foreseen: the message says all
        return (), position + 1
    return events, events[-1].position if events else position


class _GaveUp(Exception):
    """Somebody did not answer and the daemon stops: the rest is for the next start."""


class Tracing:
    """Exports the traces of one store, from the saved position on."""

    def __init__(
        self,
        store: Store,
        history: History,
        collector: Collector,
        clock: Clock,
        *,
        leads: Callable[[], bool] = lambda: True,
        linger_s: float = 1.0,
        poll_interval_s: float = 10.0,
        first_pause_s: float = 1.0,
        max_pause_s: float = 60.0,
    ) -> None:
        """`leads` tells whether, of several daemons, this is the one that exports.

        `linger_s` is the pause after a commit in which more may gather; the last two are those while one is away.
        """
        self._store = store
        self._traces = Traces(history)
        self._collector = collector
        self._clock = clock
        self._leads = leads
        self._linger_s = linger_s
        self._poll_interval_s = poll_interval_s
        self._first_pause_s = first_pause_s
        self._max_pause_s = max_pause_s
        self._stopping = asyncio.Event()
        self._idle = asyncio.Event()
        self._idle.set()
        self.status = ConnectionStatus("traces", connected=True)
        """Whether the collector took the last spans that were sent."""

    async def run(self) -> None:
        """Export until stopped or cancelled. Waits for a store or a collector that is away."""
        self._idle.clear()
        try:
            position: int | None = None
            async with self._store.hints() as wake:
                while True:
                    last = self._stopping.is_set()
                    wake.clear()
                    position = await self._export(position) if self._leads() else None
                    if last:
                        return
                    await self._wait(self._poll_interval_s, wake.wait())
                    await self._wait(self._linger_s)
        except _GaveUp:
            _logger.warning("traces_left_for_next_start", reason=self.status.detail)
        finally:
            self._idle.set()

    async def stop(self, *, grace_s: float = 5.0) -> None:
        """Export what is committed by now, for at most so long. What is left follows at the next start.

        `run` then ends by itself, unless the time was too short. Harmless before `run` and when repeated.
        """
        self._stopping.set()
        try:
            await asyncio.wait_for(self._idle.wait(), grace_s)
        except TimeoutError:
            _logger.warning("traces_left_for_next_start", reason=f"not done in {grace_s:g} s")

    async def _export(self, after_position: int | None) -> int:
        """Export what there is; after the position that is saved, where another daemon may have come further."""
        if after_position is None:
            after_position = await self._insist(partial(self._store.cursors.load, CURSOR))
        return await export_traces(
            self._store.log,
            self._traces,
            self._collector,
            after_position=after_position,
            insist=self._insist,
            exported=self._save,
        )

    async def _save(self, position: int, _spans: int) -> None:
        await self._insist(partial(self._store.cursors.save, CURSOR, position))

    async def _insist(self, action: Callable[[], Awaitable[_T]]) -> _T:
        """Repeat the action, with longer and longer pauses, until it is answered or the daemon stops."""
        pause_s = self._first_pause_s
        while True:
            try:
                result = await action()
            except (Away, Unavailable) as error:
                self.status = ConnectionStatus("traces", connected=False, detail=str(error))
                if self._stopping.is_set():
                    raise _GaveUp from error
                _logger.warning("traces_wait", error=str(error), pause_s=pause_s)
                await self._wait(pause_s)
                pause_s = min(2 * pause_s, self._max_pause_s)
            else:
                self.status = ConnectionStatus("traces", connected=True)
                return result

    async def _wait(self, seconds: float, *events: Coroutine[Any, Any, object]) -> None:
        """Return after so many seconds, when one of the events comes, or when the daemon stops."""
        waits = [asyncio.ensure_future(wait) for wait in (self._clock.sleep(seconds), self._stopping.wait(), *events)]
        try:
            await asyncio.wait(waits, return_when=asyncio.FIRST_COMPLETED)
        finally:
            for wait in waits:
                wait.cancel()
