"""Broken daemons, brokers and stores: what the simulation must find, so that its silence means something.

Each breaks one promise by a part that is wrapped or derived in the test; the product has no switch for it.
"""

from __future__ import annotations

import asyncio
from contextlib import contextmanager
from dataclasses import replace
from typing import TYPE_CHECKING, Any
from unittest.mock import patch

from daemon import main
from daemon.runtime.engine import Engine
from daemon.runtime.intake import Intake
from daemon.runtime.leases import Membership
from daemon.runtime.steps import Steps
from eventstore.errors import Conflict, Fenced, Unavailable
from eventstore.log import Append
from eventstore.memory_leases import MemoryLeases
from eventstore.memory_slots import MemorySlots
from eventstore.writer import Writer
from triggers.message import Ack

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence
    from contextlib import AbstractContextManager
    from uuid import UUID

    from eventstore.memory import MemoryLog
    from eventstore.store import Store
    from tests.faults.simulation.world import World

    Mutation = Callable[[World], AbstractContextManager[None]]


class _AnswersEarly(Writer):
    """Says that an append is durable when it is only queued."""

    def submit(self, append: Append, answer: Callable[[BaseException | None], None]) -> None:
        asyncio.get_running_loop().call_soon(answer, None)
        super().submit(append, lambda _: None)


class _TrustsSilence(Writer):
    """Takes an append for written when the store has not answered."""

    def __init__(self, log: Any, **options: Any) -> None:
        super().__init__(_NeverUnavailable(log), **options)


class _NeverUnavailable:
    def __init__(self, log: Any) -> None:
        self._log = log

    def __getattr__(self, name: str) -> Any:
        return getattr(self._log, name)

    async def insert(self, batch: Sequence[Append]) -> None:
        try:
            await self._log.insert(batch)
        except Unavailable:
            return


class _AcksFirst(Intake):
    """Acknowledges messages, and takes them in afterwards."""

    async def __call__(self, batch: Any) -> Any:
        task = asyncio.ensure_future(super().__call__(batch))
        task.add_done_callback(lambda done: done.cancelled() or done.exception())
        return [Ack("started") for _ in batch]


class _ForgetsAfterConflict(Engine):
    """Does not decide anew when another writer was first."""

    def _appended(self, round_: Any, error: BaseException | None) -> None:
        if not isinstance(error, Conflict):
            super()._appended(round_, error)


class _WorksOnWhenFenced(Membership):
    """Joins anew, and goes on with what is no longer its own."""

    async def _begin_anew(self) -> None:
        await self.join()


class _ReportsOnce(Steps):
    """Gives up a result that the store has not taken at once."""

    async def _report_again(self, job: Any, error: BaseException) -> None:
        self._over(job)


class _Log:
    """The store's log, to be broken."""

    def __init__(self, log: MemoryLog) -> None:
        self._log = log

    def __getattr__(self, name: str) -> Any:
        return getattr(self._log, name)


class _Unversioned(_Log):
    """Appends at the end, whatever version the writer has read."""

    async def insert(self, batch: Sequence[Append]) -> None:
        versions = await self._log.versions([append.execution_id for append in batch])
        at_the_end = [
            Append(each.execution_id, versions.get(each.execution_id, 0), each.events, each.index, each.by)
            for each in batch
        ]
        await self._log.insert(at_the_end)


class _WithoutFence(_Log):
    """Takes what fenced daemons send."""

    async def insert(self, batch: Sequence[Append]) -> None:
        try:
            await self._log.insert(batch)
        except Fenced:
            await self._log.insert([Append(a.execution_id, a.after_version, a.events, a.index) for a in batch])


class _ForgetsIndex(_Log):
    """Writes the events of a batch, and of the index only what the first of them changes."""

    async def insert(self, batch: Sequence[Append]) -> None:
        rest = [Append(a.execution_id, a.after_version, a.events, by=a.by) for a in batch[1:]]
        await self._log.insert([*batch[:1], *rest])


class _TwoHolders(MemoryLeases):
    """Gives leases to whoever asks for orphans, whether they are or not."""

    async def claim(self, daemon_id: UUID, *, limit: int) -> Sequence[UUID]:
        await super().claim(daemon_id, limit=limit)
        return list(self._index.leases)[:limit]


class _NeverHints(MemoryLeases):
    """Loses what others ask a holder to look at."""

    async def hinted(self, daemon_id: UUID) -> Sequence[UUID]:
        await super().hinted(daemon_id)
        return ()


def _part(name: str, broken: type[Any]) -> Mutation:
    """Let the composition root use the broken part in place of the product's."""

    @contextmanager
    def break_it(_: World) -> Iterator[None]:
        with patch.object(main, name, broken):
            yield

    return break_it


def _port(broken: Callable[[Store], dict[str, Any]]) -> Mutation:
    """Break a port of the store."""

    @contextmanager
    def break_it(world: World) -> Iterator[None]:
        world.store = replace(world.store, **broken(world.store))
        yield

    return break_it


def _log(broken: type[_Log]) -> Mutation:
    return _port(lambda store: {"log": broken(store.log)})  # type: ignore[arg-type]  # the store is in memory


def _leases(broken: type[MemoryLeases]) -> Mutation:
    def with_leases(store: Store) -> dict[str, Any]:
        leases: Any = store.leases
        leases.__class__ = broken
        return {"leases": leases}

    return _port(with_leases)


@contextmanager
def _forgets_the_dead(world: World) -> Iterator[None]:
    """Let the broker forget the messages of consumers that have died."""
    with patch.object(world.broker, "lost", lambda _: None):
        yield


@contextmanager
def _slots_without_end(_: World) -> Iterator[None]:
    """Let every take find a slot free."""
    with patch.object(MemorySlots, "_free", lambda *_: True):
        yield


@contextmanager
def _looks_at_nothing(_: World) -> Iterator[None]:
    """Let nobody look at the queues of limits."""
    with patch.object(MemorySlots, "heads", _nobody):
        yield


async def _nobody(*_: object, **__: object) -> Sequence[Any]:
    return ()


MUTANTS: dict[str, Mutation] = {
    "the writer answers before the commit": _part("Writer", _AnswersEarly),
    "the writer takes silence for success": _part("Writer", _TrustsSilence),
    "messages are acknowledged before the append": _part("Intake", _AcksFirst),
    "the engine forgets what met a conflict": _part("Engine", _ForgetsAfterConflict),
    "a fenced daemon works on": _part("Membership", _WorksOnWhenFenced),
    "a result is reported only once": _part("Steps", _ReportsOnce),
    "the log does not check versions": _log(_Unversioned),
    "the log has no fence": _log(_WithoutFence),
    "the index misses changes": _log(_ForgetsIndex),
    "a lease has two holders": _leases(_TwoHolders),
    "hints are lost": _leases(_NeverHints),
    "slots are given without end": _slots_without_end,
    "nobody is granted a slot": _looks_at_nothing,
    "the broker forgets what a dead consumer had": _forgets_the_dead,
}
"""What is broken -> how."""
