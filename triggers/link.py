"""Start, stop, reconnect and status: what every running trigger shares.

Comes from: the adapters' `run`, `stop` and `status`.
"""

from __future__ import annotations

import asyncio
import random
import time
from typing import TYPE_CHECKING, TypeVar

import structlog
from msgspec import Struct

from triggers.message import ConnectionStatus

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

T = TypeVar("T")
log = structlog.get_logger(__name__)


class Reconnect(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Pauses between tries to connect; each is twice the one before, give or take a quarter."""

    initial_s: float = 0.5
    max_s: float = 15.0


class Link:
    """One connection that is used in sessions: when a session breaks, it is reported and another begins."""

    def __init__(self, name: str, reconnect: Reconnect) -> None:
        self.name = name
        self.stopping = asyncio.Event()
        self.trouble = ""
        """What hinders it although it is connected; empty for nothing."""
        self._reconnect = reconnect
        self._failures = 0
        self._connected = False
        self._detail = "not connected yet"
        self._finished: asyncio.Event | None = None

    @property
    def status(self) -> ConnectionStatus:
        """How the connection is now."""
        return ConnectionStatus(self.name, self._connected, self.trouble if self._connected else self._detail)

    def up(self) -> None:
        """Report that the connection works."""
        if not self._connected:
            log.info("trigger.connected", trigger=self.name)
        self._connected, self._detail = True, ""

    def down(self, detail: str) -> None:
        """Report why it does not."""
        if self._connected or detail != self._detail:
            log.warning("trigger.disconnected", trigger=self.name, detail=detail)
        self._connected, self._detail = False, detail

    async def run(self, session: Callable[[], Awaitable[None]], lost: tuple[type[Exception], ...]) -> None:
        """Run sessions until stopped. Errors of the kinds in `lost` end a session; others end the run.

        Pauses begin anew only after a session longer than the longest pause: one that connects, and breaks at the
        first thing it reads, is no success.
        """
        self._finished = asyncio.Event()
        try:
            while not self.stopping.is_set():
                began_s = time.monotonic()
                try:
                    await session()
                except lost as error:
                    if time.monotonic() - began_s > self._reconnect.max_s:
                        self._failures = 0
                    self.down(explain(error))
                    await self.unless_stopped(asyncio.sleep(self._pause_s()))
        finally:
            self._connected, self._detail = False, "stopped"
            self._finished.set()

    async def stop(self) -> None:
        """Ask the session to end and wait until `run` has returned; without a run, keep it from starting."""
        self.stopping.set()
        if self._finished is not None:
            await self._finished.wait()

    async def unless_stopped(self, work: Awaitable[T]) -> T | None:
        """Wait for this, or until stopped: then it is cancelled, and None is returned."""
        doing = asyncio.ensure_future(work)
        stop = asyncio.ensure_future(self.stopping.wait())
        try:
            await asyncio.wait({doing, stop}, return_when=asyncio.FIRST_COMPLETED)
            if doing.done():
                return doing.result()
            return None
        finally:
            stop.cancel()
            if not doing.done():
                doing.cancel()
                await asyncio.gather(doing, return_exceptions=True)

    def _pause_s(self) -> float:
        pause_s = min(self._reconnect.initial_s * 2.0 ** min(self._failures, 30), self._reconnect.max_s)
        self._failures += 1
        return pause_s * random.uniform(0.75, 1.25)  # noqa: S311  spreads out reconnecting daemons, guards nothing


def explain(error: BaseException) -> str:
    """Return an error in words: its text, or its name when it has none."""
    return str(error) or type(error).__name__


async def set_within(event: asyncio.Event, wait_s: float | None) -> None:
    """Wait for the event, but no longer than this; None waits for as long as it takes."""
    try:
        async with asyncio.timeout(wait_s):
            await event.wait()
    except TimeoutError:
        return
