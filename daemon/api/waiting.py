"""Waiting for what an execution does next: hints wake, the log is the proof, and a daemon that stops ends all waiting.

Comes from: `executions`, `events_stream`. Goes to: daemon/runtime/changes, daemon/runtime/history.
"""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, TypeVar

from daemon.api.errors import Busy
from daemon.core.durations import parse_duration
from daemon.core.events import ExecutionCancelled, ExecutionCompleted, ExecutionFailed

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Awaitable, Sequence
    from uuid import UUID

    from daemon.api.ports import Daemon
    from daemon.core.state import State
    from eventstore.log import Recorded

T = TypeVar("T")

LONGEST_WAIT_S = 600.0
ANSWER_WAIT_S = 15.0
"""How long a commit may take before its request is answered with 503."""
RETRY_LATER_S = 5.0
ROOM_WAIT_S = 5.0
"""How long a request waits for a full daemon before it is answered with 503."""
POLL_S = 2.0
"""The log is read again at least this often: another daemon may have appended."""

ENDINGS = (ExecutionCompleted, ExecutionFailed, ExecutionCancelled)


def read_wait(wait: str | None) -> float:
    """Return the seconds to wait, `LONGEST_WAIT_S` at most."""
    return 0.0 if wait is None else min(parse_duration(wait).total_seconds(), LONGEST_WAIT_S)


async def room(daemon: Daemon) -> None:
    """Return when the engine takes another execution; raise `Busy` when that takes too long or the daemon stops."""
    if daemon.stopping:
        raise Busy("the daemon is stopping")
    if not daemon.receiving:
        raise Busy("the daemon is starting")
    try:
        async with asyncio.timeout(ROOM_WAIT_S):
            taking = await daemon.engine.room()
    except TimeoutError:
        raise Busy("the daemon is at its limit of active executions, or takes up those of another first") from None
    if not taking:
        raise Busy("the daemon is stopping")


async def answered(work: Awaitable[T]) -> T:
    """Return what the engine answers; raise `Busy` when that takes too long: the store is away or overloaded.

    The command is not taken back: it may be carried out later, so the caller should repeat it with the same key.
    """
    try:
        async with asyncio.timeout(ANSWER_WAIT_S):
            return await work
    except TimeoutError:
        message = (
            "the store did not answer in time; the request may still be carried out, so repeat it with the same key"
        )
        raise Busy(message, RETRY_LATER_S) from None


async def finished(daemon: Daemon, execution_id: UUID, wait_s: float) -> State:
    """Return the state at the end, or as it is after `wait_s` seconds, or when the daemon stops."""
    with daemon.changes.watch(execution_id) as hint:
        deadline = asyncio.get_running_loop().time() + wait_s
        while True:
            hint.clear()
            left_s = deadline - asyncio.get_running_loop().time()
            row = await daemon.store.index.execution(execution_id)
            if left_s <= 0 or daemon.stopping or row is None or row.finished_at is not None:
                return await daemon.history.existing(execution_id)
            await hinted(hint, min(left_s, POLL_S))


async def follow(daemon: Daemon, execution_id: UUID, after_version: int) -> AsyncIterator[Sequence[Recorded]]:
    """Yield events as they are recorded, after this version, until the last one or until the daemon stops.

    Yields nothing in between, as an empty page, at least every `POLL_S`: a sign of life. Raises ExecutionNotFound, and
    what the log raises.
    """
    with daemon.changes.watch(execution_id) as hint:
        while True:
            hint.clear()
            stopping = daemon.stopping
            ended = await _ended(daemon, execution_id)
            page = await daemon.history.events(execution_id, after_version=after_version)
            if ended and not page:
                return
            yield page
            if page:
                after_version = page[-1].version
            if stopping or (page and isinstance(page[-1].event, ENDINGS)):
                return
            await hinted(hint, POLL_S)


async def hinted(hint: asyncio.Event, wait_s: float) -> None:
    """Return when the hint comes, or after so many seconds."""
    try:
        async with asyncio.timeout(wait_s):
            await hint.wait()
    except TimeoutError:
        return


async def _ended(daemon: Daemon, execution_id: UUID) -> bool:
    row = await daemon.store.index.execution(execution_id)
    if row is None:
        raise await daemon.history.missing(execution_id)
    return row.finished_at is not None
