"""A log that is exported to a collector, for tests of tracing."""

from __future__ import annotations

import asyncio
from contextlib import asynccontextmanager
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING
from uuid import UUID

from daemon.core import events as e
from daemon.core.spans import Span
from daemon.core.values import NULL, to_json
from daemon.runtime.history import History
from daemon.runtime.otlp import OtlpCollector
from daemon.runtime.tracing import CURSOR, Tracing
from daemon.testing.clock import FakeClock
from eventstore.codec import Codec
from eventstore.errors import Undecodable
from eventstore.log import Append
from eventstore.store import open_store

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable, Mapping, Sequence
    from pathlib import Path

    from eventstore.log import Cursors, EventLog, Recorded
    from eventstore.store import Store
    from tests.support.otlp_sink import Received

EXECUTION = UUID("0c0ffee0-0000-5000-8000-000000000001")
OTHER = UUID("0c0ffee0-0000-5000-8000-000000000002")
NOON = datetime(2026, 3, 1, 12, tzinfo=UTC)
NOON_NS = 1_772_366_400 * 10**9
MINUTE_NS = 60 * 10**9
TRACE = "0af7651916cd43dd8448eb211c80319c"
CALLER = "b7ad6b7169203331"
CODEC = Codec(e.EVENT_TYPES, e.UPCASTERS)
PATIENCE_S = 10


def minute(number: int) -> datetime:
    return NOON + timedelta(minutes=number)


def started(execution_id: UUID = EXECUTION) -> e.ExecutionStarted:
    return e.ExecutionStarted(
        execution_id=execution_id,
        workflow="orders",
        definition="d1",
        input=NULL,
        trigger=to_json({"name": "orders/in", "source": "kafka:orders/3@42", "key": None, "headers": {}}),
        trigger_name="orders/in",
        traceparent=f"00-{TRACE}-{CALLER}-01",
        actor="test",
        at=NOON,
    )


BEGUN = e.StepStarted(address="charge", input=NULL, at=minute(1))
FAILED = e.StepFailed(address="charge", error=e.StepError("declined", "http_402", "Declined"), at=minute(3))
DONE = e.StepSucceeded(address="charge", output=NULL, at=minute(3))
COMPLETED = e.ExecutionCompleted(output=NULL, at=minute(4))


@asynccontextmanager
async def opened(folder: Path) -> AsyncIterator[Store]:
    """Open the test's store, as a new process would."""
    store = await open_store(f"sqlite:///{folder}/log.db", CODEC)
    try:
        yield store
    finally:
        await store.close()


async def commit(store: Store, *events: e.Event, execution_id: UUID = EXECUTION) -> None:
    version = len(await store.log.read(execution_id))
    await store.log.insert([Append(execution_id, version, events)])


@asynccontextmanager
async def collector_at(url: str) -> AsyncIterator[OtlpCollector]:
    collector = OtlpCollector(url, service_name="test", timeout_s=0.5)
    try:
        yield collector
    finally:
        collector.close()


def history_of(store: Store) -> History:
    return History(store.log, store.snapshots)


@asynccontextmanager
async def exporting(
    store: Store, url: str, *, clock: FakeClock | None = None, leads: Callable[[], bool] = lambda: True
) -> AsyncIterator[Tracing]:
    """Export in the background; at the end of the block the process is killed, not stopped."""
    async with collector_at(url) as collector:
        tracing = Tracing(store, history_of(store), collector, clock or FakeClock(), leads=leads)
        task = asyncio.create_task(tracing.run())
        try:
            yield tracing
        finally:
            task.cancel()
            await asyncio.wait({task})
            assert task.cancelled() or task.exception() is None


async def until(condition: Callable[[], bool]) -> None:
    async with asyncio.timeout(PATIENCE_S):
        while not condition():  # noqa: ASYNC110  what is watched has no event
            await asyncio.sleep(0.002)


async def until_exported(store: Store) -> None:
    """Return when the cursor stands at the end of the log."""
    async with asyncio.timeout(PATIENCE_S):
        while await store.cursors.load(CURSOR) < await store.log.head():  # noqa: ASYNC110  the store has no event
            await asyncio.sleep(0.002)


def ids(spans: Sequence[Received]) -> list[str]:
    return [span.span_id for span in spans]


class Forgetful:
    """Cursors that a process is killed at: what it wants to save is not saved."""

    def __init__(self, inner: Cursors) -> None:
        self._inner = inner
        self.reached = asyncio.Event()

    async def load(self, name: str) -> int:
        return await self._inner.load(name)

    async def save(self, _name: str, _position: int) -> None:
        self.reached.set()
        await asyncio.Event().wait()


class Broken:
    """A log that answers with these errors first, and of which one event can never be read."""

    def __init__(self, inner: EventLog, *errors: Exception, unreadable: int = 0) -> None:
        self._inner = inner
        self._errors = list(errors)
        self._unreadable = unreadable

    async def insert(self, batch: Sequence[Append]) -> None:
        await self._inner.insert(batch)

    async def read(
        self, execution_id: UUID, *, after_version: int = 0, up_to_version: int | None = None
    ) -> Sequence[Recorded]:
        return self._readable(
            await self._inner.read(execution_id, after_version=after_version, up_to_version=up_to_version)
        )

    async def read_many(self, execution_ids: Sequence[UUID], *, limit: int) -> Mapping[UUID, Sequence[Recorded]]:
        found = await self._inner.read_many(execution_ids, limit=limit)
        return {key: self._readable(events) for key, events in found.items()}

    async def read_all(self, *, after_position: int = 0, limit: int = 1000) -> Sequence[Recorded]:
        if self._errors:
            raise self._errors.pop(0)
        return self._readable(await self._inner.read_all(after_position=after_position, limit=limit))

    async def head(self) -> int:
        return await self._inner.head()

    def _readable(self, events: Sequence[Recorded]) -> Sequence[Recorded]:
        if any(recorded.position == self._unreadable for recorded in events):
            raise Undecodable(f"event at {self._unreadable}")
        return events


def span(name: str) -> Span:
    return Span(
        trace_id=TRACE, span_id=CALLER, parent_id=None, name=name, start=NOON, end=minute(1), attributes={"n": 1}
    )
