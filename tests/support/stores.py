"""What tests of the event store share: event types, builders, a store of each kind, a log that fails on demand."""

import asyncio
from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from contextlib import AsyncExitStack, asynccontextmanager
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import ClassVar
from uuid import UUID, uuid4

import pytest
from msgspec import Raw, Struct

from eventstore.codec import Codec
from eventstore.errors import Unavailable
from eventstore.index import ExecutionRow, IndexChange, TimerRow
from eventstore.log import Append, EventLog, Recorded
from eventstore.outside import Outside
from eventstore.store import Store, open_store
from eventstore.writer import Writer

NOW = datetime(2026, 3, 29, 1, 30, 0, 123456, tzinfo=UTC)
KINDS = ("memory", "sqlite", "postgres")


class Noted(Struct, frozen=True, omit_defaults=True):
    """An event with everything the codec treats in its own way."""

    NAME: ClassVar[str] = "Noted"
    VERSION: ClassVar[int] = 1

    text: str
    value: Raw = Raw(b"null")
    maybe: Raw | None = None
    at: datetime = NOW


CODEC = Codec([Noted], payload_threshold_bytes=1000)


def noted(count: int, *, start: int = 1) -> tuple[Noted, ...]:
    return tuple(Noted(f"event {number}") for number in range(start, start + count))


def append(
    execution_id: UUID | None = None,
    after_version: int = 0,
    count: int = 1,
    index: IndexChange | None = None,
    by: UUID | None = None,
) -> Append:
    events = noted(count, start=after_version + 1)
    return Append(execution_id or uuid4(), after_version, events, index or IndexChange(), by)


def submit(writer: Writer, append: Append) -> asyncio.Future[None]:
    """Submit, and return a future that is answered as `Writer.append` is."""
    done = asyncio.get_running_loop().create_future()

    def answer(error: BaseException | None) -> None:
        assert not done.done(), "answered twice"
        done.set_result(None) if error is None else done.set_exception(error)

    writer.submit(append, answer)
    return done


def row(execution_id: UUID, **changes: object) -> ExecutionRow:
    fields: dict[str, object] = {
        "execution_id": execution_id,
        "workflow": "orders",
        "definition": "d1",
        "status": "running",
        "cause": "step",
        "started_at": NOW,
        "updated_at": NOW,
    }
    return ExecutionRow(**{**fields, **changes})  # type: ignore[arg-type]  # tests name the fields they change


def timer(timer_id: str, seconds: int) -> TimerRow:
    return TimerRow(timer_id, NOW + timedelta(seconds=seconds))


@asynccontextmanager
async def opened(
    url: str, codec: Codec = CODEC, *, outside: Outside | None = None, memory_now: Callable[[], datetime] = lambda: NOW
) -> AsyncIterator[Store]:
    store = await open_store(url, codec, outside=outside, memory_now=memory_now)
    try:
        yield store
    finally:
        await store.close()


@pytest.fixture(params=KINDS)
def store_url(request: pytest.FixtureRequest, tmp_path: Path) -> str:
    """Give the URL of a new, empty store of each kind."""
    match request.param:
        case "sqlite":
            return f"sqlite:///{tmp_path}/log.db"
        case "postgres":
            return str(request.getfixturevalue("fresh_postgres_url"))
    return "memory://"


class Time:
    """The clock of a store in memory; it moves when told to."""

    def __init__(self) -> None:
        self.now = NOW

    def __call__(self) -> datetime:
        return self.now


@pytest.fixture
def memory_time() -> Time:
    """Give the clock of `store`, where it is in memory."""
    return Time()


@pytest.fixture
async def store(store_url: str, memory_time: Time) -> AsyncIterator[Store]:
    """Give a new store of each kind."""
    async with opened(store_url, memory_now=memory_time) as store:
        yield store


class Shelf:
    """A place for payloads outside of a database, in a dict; away when told to."""

    def __init__(self) -> None:
        self.there: dict[str, bytes] = {}
        self.away = False

    async def put(self, name: str, data: bytes) -> None:
        self._ask()
        self.there[name] = data

    async def get(self, name: str) -> bytes | None:
        self._ask()
        return self.there.get(name)

    async def remove(self, name: str) -> None:
        self._ask()
        self.there.pop(name, None)

    def _ask(self) -> None:
        if self.away:
            raise Unavailable("the shelf is away")


@pytest.fixture
async def reopen(store_url: str) -> AsyncIterator[Callable[..., object]]:
    """Give a function that opens the store of `store_url` once more, with its own connections."""
    async with AsyncExitStack() as stack:

        async def again(codec: Codec = CODEC) -> Store:
            return await stack.enter_async_context(opened(store_url, codec))

        yield again


class FaultyLog:
    """A log that calls what stands in `faults`, in turn, around each insert of the real one.

    A fault is an exception to raise, with `after` to carry the insert out first: the answer is lost.
    """

    def __init__(self, inner: EventLog) -> None:
        self.inner = inner
        self.batches: list[Sequence[Append]] = []
        self.faults: list[tuple[str, Exception]] = []
        self.read_faults: list[Exception] = []

    async def insert(self, batch: Sequence[Append]) -> None:
        self.batches.append(tuple(batch))
        when, error = self.faults.pop(0) if self.faults else ("never", None)
        if when == "before" and error is not None:
            raise error
        await self.inner.insert(batch)
        if when == "after" and error is not None:
            raise error

    async def read(
        self, execution_id: UUID, *, after_version: int = 0, up_to_version: int | None = None
    ) -> Sequence[Recorded]:
        if self.read_faults:
            raise self.read_faults.pop(0)
        return await self.inner.read(execution_id, after_version=after_version, up_to_version=up_to_version)

    async def read_many(self, execution_ids: Sequence[UUID], *, limit: int) -> Mapping[UUID, Sequence[Recorded]]:
        return await self.inner.read_many(execution_ids, limit=limit)

    async def read_all(self, *, after_position: int = 0, limit: int = 1000) -> Sequence[Recorded]:
        if self.read_faults:
            raise self.read_faults.pop(0)
        return await self.inner.read_all(after_position=after_position, limit=limit)

    async def head(self) -> int:
        return await self.inner.head()
