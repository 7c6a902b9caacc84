"""Hints inside one process that an execution has got new events. The log is the proof; a hint only saves a poll."""

from __future__ import annotations

import asyncio
from contextlib import contextmanager
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterator
    from uuid import UUID


class Changes:
    """Who waits for which execution. Nothing is kept for an execution that nobody watches."""

    def __init__(self) -> None:
        self._watchers: dict[UUID, set[asyncio.Event]] = {}

    @contextmanager
    def watch(self, execution_id: UUID) -> Iterator[asyncio.Event]:
        """Give an event that is set after each commit of this execution, from now until the block ends.

        Enter first, then read the log, then wait, clear and read again: so nothing is missed.
        """
        hint = asyncio.Event()
        watchers = self._watchers.setdefault(execution_id, set())
        watchers.add(hint)
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
