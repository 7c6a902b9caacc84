"""Several daemons in processes of their own on one Postgres, and a client that goes to another when one is away."""

from __future__ import annotations

import asyncio
import random
from typing import TYPE_CHECKING, Any

import httpx

from tests.support.process import LOOK_S, PATIENCE_S

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Iterator, Sequence

    from tests.support.process import SagadProcess


class Fleet:
    """Daemons that a test starts, kills, pauses and stops one by one."""

    def __init__(self, daemons: Sequence[SagadProcess]) -> None:
        self.daemons = daemons

    def __iter__(self) -> Iterator[SagadProcess]:
        return iter(self.daemons)

    async def start(self) -> None:
        """Start all; return when all are ready and each knows of all."""
        for daemon in self.daemons:
            daemon.start()
        for daemon in self.daemons:
            await daemon.ready()

    async def until(self, condition: Callable[[], Awaitable[bool]], *, patience_s: float = PATIENCE_S) -> None:
        """Return when the condition holds, whoever lives."""
        async with asyncio.timeout(patience_s):
            while not await condition():  # noqa: ASYNC110  other processes give no event
                await asyncio.sleep(LOOK_S)

    async def stop(self) -> None:
        """Stop all that live, in order."""
        living = [daemon for daemon in self.daemons if daemon.alive]
        codes = await asyncio.gather(*(daemon.stop() for daemon in living))
        assert set(codes) <= {0}, codes


class Client:
    """Calls any daemon of a fleet, as clients should: 503, or nobody there, means to try again, at another one.

    `errors` has every other answer that is not a success.
    """

    def __init__(self, fleet: Fleet, *, seed: int = 1, pause_s: float = 0.05) -> None:
        self._fleet = fleet
        self._dice = random.Random(seed)  # noqa: S311  the same choices in each run
        self._pause_s = pause_s
        self._http = httpx.AsyncClient(trust_env=False, timeout=30)
        self.errors: list[str] = []
        self.retries = 0

    async def close(self) -> None:
        await self._http.aclose()

    async def call(self, method: str, path: str, **options: Any) -> Any:
        """Return the answer's JSON."""
        async with asyncio.timeout(PATIENCE_S * 2):
            while True:
                daemon = self._dice.choice(list(self._fleet))
                try:
                    answer = await self._http.request(method, f"{daemon.url}{path}", **options)
                except httpx.TransportError:
                    answer = None
                if answer is not None and answer.status_code != httpx.codes.SERVICE_UNAVAILABLE:
                    break
                self.retries += 1
                await asyncio.sleep(self._pause_s)
        if answer.is_error:
            self.errors.append(f"{method} {path}: {answer.status_code} {answer.text}")
        return answer.json()
