"""Group reading, the twin of group commit: what is asked for while one reading is under way is read together next.

An idle daemon reads each execution at once. One that fires thousands of timers, wakes sleepers or takes up what another
has left reads hundreds by one statement: a statement and a round trip for each would cost more than all else.

Comes from: `history`. Goes to: eventstore/log.
"""

from __future__ import annotations

import asyncio
from contextvars import Context
from typing import TYPE_CHECKING

from eventstore.errors import Undecodable

if TYPE_CHECKING:
    from collections.abc import Sequence
    from typing import TypeAlias
    from uuid import UUID

    from eventstore.log import EventLog, Recorded

    Found: TypeAlias = Sequence[Recorded] | None
    Waiting: TypeAlias = tuple[UUID, asyncio.Future[Found]]

MOST = 100
"""Executions read together: even if all are nearly `LONG`, not too much for one turn of the loop."""
LONG = 200
"""An execution with more events is not read so: it has snapshots, which spare most of them."""


class Loads:
    """Reads executions of one log for many tasks of one event loop, one reading at a time."""

    def __init__(self, log: EventLog) -> None:
        self._log = log
        self._reading = False
        self._waiting: list[Waiting] = []
        self._rest: asyncio.Task[None] | None = None

    async def events(self, execution_id: UUID) -> Found:
        """Return all its events in order, none when the log does not know it; None itself when it is long.

        Sees every append that was answered before the call. Raises Unavailable; Undecodable for its own events only.
        """
        if self._reading:
            answer: asyncio.Future[Found] = asyncio.get_running_loop().create_future()
            self._waiting.append((execution_id, answer))
            return await answer
        self._reading = True
        try:
            return await self._alone(execution_id)
        finally:
            if self._waiting:
                self._rest = asyncio.create_task(self._read_waiting(), name="group-reading", context=Context())
            else:
                self._reading = False

    async def _alone(self, execution_id: UUID) -> Found:
        found = await self._log.read_many([execution_id], limit=LONG + 1)
        return _whole(found.get(execution_id, ()))

    async def _read_waiting(self) -> None:
        batch: list[Waiting] = []
        try:
            while self._waiting:
                batch, self._waiting = self._waiting[:MOST], self._waiting[MOST:]
                await self._read(batch)
        finally:
            self._reading = False
            for _, answer in [*batch, *self._waiting]:
                answer.cancel()  # has an effect only when this task was cancelled: the loop ends
            self._waiting.clear()

    async def _read(self, batch: Sequence[Waiting]) -> None:
        """Answer a batch; where an event cannot be read, each alone, so that only its execution is told."""
        try:
            found = await self._log.read_many(list(dict.fromkeys(key for key, _ in batch)), limit=LONG + 1)
        except Undecodable:
            for key, answer in batch:
                try:
                    events = await self._alone(key)
                except Exception as error:  # noqa: BLE001  it is handed to the waiter
                    _fail(answer, error)
                else:
                    _answer(answer, events)
        except Exception as error:  # noqa: BLE001  as above
            for _, answer in batch:
                _fail(answer, error)
        else:
            for key, answer in batch:
                _answer(answer, _whole(found.get(key, ())))


def _whole(events: Sequence[Recorded]) -> Found:
    return events if len(events) <= LONG else None


def _answer(answer: asyncio.Future[Found], events: Found) -> None:
    if not answer.done():
        answer.set_result(events)


def _fail(answer: asyncio.Future[Found], error: Exception) -> None:
    if not answer.done():
        answer.set_exception(error)
