"""Hints that an execution has got new events. The log is the proof; a hint only saves a poll.

What this daemon appends is told at once. What others append is found out while somebody watches: the store says that
something was committed, and one query tells which of the watched executions it was.

Comes from: `engine`, eventstore/store. Goes to: daemon/api/waiting.
"""

from __future__ import annotations

import asyncio
from contextlib import contextmanager
from typing import TYPE_CHECKING

import structlog

from daemon.runtime.leases import first_of
from eventstore.errors import Unavailable

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Collection, Iterator, Mapping, Sequence
    from contextlib import AbstractAsyncContextManager
    from uuid import UUID

    from daemon.runtime.clock import Clock

GATHER_S = 0.02
"""The least pause between two looks at what others have appended."""
LINGER_S = 10.0
"""How long to go on listening when nobody watches any more: somebody else may come soon."""

_logger = structlog.get_logger(__name__)


class Changes:
    """Who waits for which execution. Nothing is kept for an execution that nobody watches."""

    def __init__(self) -> None:
        self._watchers: dict[UUID, set[asyncio.Event]] = {}
        self.come = asyncio.Event()
        """Set when somebody begins to watch."""

    @property
    def watched(self) -> Collection[UUID]:
        """The executions that are watched now."""
        return self._watchers.keys()

    @contextmanager
    def watch(self, execution_id: UUID) -> Iterator[asyncio.Event]:
        """Give an event that is set after each commit of this execution, from now until the block ends.

        Enter first, then read the log, then wait, clear and read again: so nothing is missed.
        """
        hint = asyncio.Event()
        watchers = self._watchers.setdefault(execution_id, set())
        watchers.add(hint)
        self.come.set()
        try:
            yield hint
        finally:
            watchers.discard(hint)
            if not watchers:
                self._watchers.pop(execution_id, None)

    def notify(self, execution_id: UUID) -> None:
        """Set the hints of those who watch it."""
        for hint in self._watchers.get(execution_id, ()):
            hint.set()

    def wake_all(self) -> None:
        """Set every hint: the daemon stops, or appends of another daemon may have been missed."""
        for watchers in self._watchers.values():
            for hint in watchers:
                hint.set()


class ForeignChanges:
    """Tells `Changes` what other daemons append; asks the store nothing while nobody watches or there are no others."""

    def __init__(
        self,
        changes: Changes,
        versions: Callable[[Sequence[UUID]], Awaitable[Mapping[UUID, int]]],
        hints: Callable[[], AbstractAsyncContextManager[asyncio.Event]],
        clock: Clock,
        *,
        alone: Callable[[], bool],
    ) -> None:
        """`versions` and `hints` are the store's; `alone` tells whether no other daemon appends."""
        self._changes = changes
        self._versions = versions
        self._hints = hints
        self._clock = clock
        self._alone = alone

    async def run(self) -> None:
        """Follow until cancelled."""
        while True:
            await self._changes.come.wait()
            self._changes.come.clear()
            if not self._alone():
                async with self._hints() as committed:
                    await self._follow(committed)

    async def stop(self) -> None:
        """Nothing is left to do at a stop."""

    async def _follow(self, committed: asyncio.Event) -> None:
        """Look after each commit, until nobody has watched for a while."""
        known: Mapping[UUID, int] = {}
        while not self._alone():
            committed.clear()
            self._changes.come.clear()
            try:
                known = await self._tell_moved(known)
            except Unavailable as error:
                _logger.info("changes_wait_for_store", error=str(error))
            await self._clock.sleep(GATHER_S)
            if self._changes.watched:
                await first_of(committed.wait(), self._changes.come.wait())
                continue
            await first_of(self._changes.come.wait(), self._clock.sleep(LINGER_S))
            if not self._changes.watched:
                return

    async def _tell_moved(self, known: Mapping[UUID, int]) -> Mapping[UUID, int]:
        """Tell who watches one that is at another version than known, or was not known; return the versions."""
        watched = list(self._changes.watched)
        if not watched:
            return {}
        found = await self._versions(watched)
        for execution_id, version in found.items():
            if known.get(execution_id) != version:
                self._changes.notify(execution_id)
        return found
