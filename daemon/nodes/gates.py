"""Gates before services that many steps call: how often, how many at once, and not at all while they are down.

A circuit that is closed lets everybody through. After so many failures without a success between them it opens, and
every call fails at once. When it has been open for long enough, one call at a time may try: its success closes the
circuit, its failure opens it again.

Comes from: `outbound`, daemon/runtime/databases.
"""

from __future__ import annotations

import asyncio
import time
from contextlib import AsyncExitStack, asynccontextmanager
from typing import TYPE_CHECKING, Literal

from aiolimiter import AsyncLimiter
from msgspec import Struct

from daemon.nodes.context import StepFailure

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable

State = Literal["closed", "half-open", "open"]


class GateRule(Struct, frozen=True, kw_only=True):
    """What a gate lets through, in this process; None is no limit."""

    calls: float | None = None
    """So many may begin within `per_s`, at once or spread."""
    per_s: float = 1.0
    at_once: int | None = None
    failures: int | None = None
    """So many in a row open the circuit; None: it never opens."""
    open_s: float = 30.0
    """How long it stays open before one call may try."""


class GateStatus(Struct, frozen=True):
    """A gate as it is now, and what it has done since the process began."""

    name: str
    state: State
    failures: int
    """In a row."""
    rejected: int
    waits: int
    """Calls that had to wait for the rate, or for others to end."""
    waited_s: float


class CircuitOpen(StepFailure):
    """The call was not made: the service has failed too often just now. Repeat later."""

    def __init__(self, name: str, after_s: float) -> None:
        message = f"{name} has failed too often; it is not called for another {after_s:.1f} s"
        super().__init__(message, "circuit_open", details={"client": name, "after_s": round(after_s, 1)})


class Gate:
    """One service's gate, in one event loop."""

    def __init__(self, name: str, rule: GateRule, *, now_s: Callable[[], float] = time.monotonic) -> None:
        self.name = name
        self._rule = rule
        self._now_s = now_s
        self._rate = AsyncLimiter(rule.calls, rule.per_s) if rule.calls is not None else None
        self._places = asyncio.Semaphore(rule.at_once) if rule.at_once is not None else None
        self._failures = 0
        self._opened_at_s: float | None = None
        self._probing = False
        self._rejected = self._waits = 0
        self._waited_s = 0.0

    @property
    def status(self) -> GateStatus:
        """How it is now."""
        return GateStatus(self.name, self.state, self._failures, self._rejected, self._waits, self._waited_s)

    @property
    def state(self) -> State:
        """Whether calls are let through: all, one that tries, or none."""
        if self._opened_at_s is None:
            return "closed"
        return "half-open" if self._left_s() <= 0 else "open"

    @asynccontextmanager
    async def passed(self) -> AsyncIterator[Call]:
        """Let one call through; it says by `Call` how it went. Waits for the rate and for a place.

        Raises `CircuitOpen`, before the wait or after it. A call that says nothing counts neither way.
        """
        self._refuse_if_open()
        async with AsyncExitStack() as stack:
            await self._wait(stack)
            self._refuse_if_open()
            call = Call(self, probes=self._opened_at_s is not None)
            self._probing = self._probing or call.probes
            stack.callback(call.end)
            yield call

    def settle(self, *, good: bool) -> None:
        """Take note of how a call went."""
        if good:
            self._failures, self._opened_at_s = 0, None
            return
        self._failures += 1
        limit = self._rule.failures
        if limit is not None and (self._failures >= limit or self._opened_at_s is not None):
            self._opened_at_s = self._now_s()

    def tried(self) -> None:
        """Let the next call try."""
        self._probing = False

    def _refuse_if_open(self) -> None:
        if self._opened_at_s is not None and (self._probing or self._left_s() > 0):
            self._rejected += 1
            raise CircuitOpen(self.name, max(self._left_s(), 0.0))

    def _left_s(self) -> float:
        return (self._opened_at_s or 0.0) + self._rule.open_s - self._now_s()

    async def _wait(self, stack: AsyncExitStack) -> None:
        free = (self._places is None or not self._places.locked()) and (self._rate is None or self._rate.has_capacity())
        began_s = self._now_s()
        try:
            if self._places is not None:
                await stack.enter_async_context(self._places)
            if self._rate is not None:
                await self._rate.acquire()
        finally:
            if not free:
                self._waits += 1
                self._waited_s += self._now_s() - began_s


class Call:
    """One call that was let through."""

    def __init__(self, gate: Gate, *, probes: bool) -> None:
        self.probes = probes
        self._gate = gate
        self._told = False

    def went(self, *, good: bool) -> None:
        """Say how the service did: whether it answered, not whether the answer was welcome. The first word counts."""
        if not self._told:
            self._told = True
            self._gate.settle(good=good)

    def end(self) -> None:
        """Make way for another that tries, if this one did."""
        if self.probes:
            self._gate.tried()
