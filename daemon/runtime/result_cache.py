"""The result cache: what a step gave, for other steps with the same key.

1. Of this daemon's steps that ask for one key at once, the first asks the backend, and the others wait for what comes
of it.  2. On a miss it claims the making, so that other daemons wait too.  3. Its handler runs.  4. When its result is
in the log, the others have it, and it is stored.

Nobody waits twice: when the maker fails, those who have waited run by themselves, as they would without a cache. A
backend that is away, or slow, is as good as none: it costs a step `PATIENCE_S` at most, and fails nothing.

Comes from: `steps`. Goes to: eventstore/results, or another backend.
"""

from __future__ import annotations

import asyncio
from datetime import timedelta
from typing import TYPE_CHECKING, Any
from uuid import UUID, uuid5

import msgspec
import structlog
from msgspec import Struct

from daemon.core.events import Origin, StepSucceeded
from daemon.core.values import Json, size_of
from eventstore.errors import StoreError, Undecodable
from eventstore.results import Claim, Result

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Coroutine
    from datetime import datetime
    from typing import TypeVar

    from daemon.runtime.clock import Clock
    from daemon.runtime.mailbox import Handled
    from eventstore.results import Results

    T = TypeVar("T")

PATIENCE_S = 2.0
"""How long a backend may take to answer."""
CLAIM_TTL = timedelta(seconds=10)
"""After this long without a sign of its maker others take a result up."""
FIRST_PAUSE_S, LONGEST_PAUSE_S = 0.05, 1.0
"""Between two looks for what another daemon makes; each pause is twice the one before."""

_logger = structlog.get_logger(__name__)


class Wanted(Struct, frozen=True, kw_only=True):
    """The result that a step may find."""

    cache: str
    key: str
    ttl: timedelta
    workflow: str
    node: str
    execution_id: UUID
    address: str
    patience: timedelta | None
    """How long to wait for another who makes it; None is as long as that one lives."""

    @property
    def place(self) -> tuple[str, str]:
        """Where it is."""
        return self.cache, self.key


class Hit(Struct, frozen=True, kw_only=True):
    """A result that another step has made."""

    output: Json
    port: str
    to: tuple[str, ...] | None
    origin: Origin


class _Value(Struct, frozen=True, omit_defaults=True):
    """What is stored of a result."""

    output: Json
    port: str = "out"
    to: tuple[str, ...] | None = None


_encode = msgspec.json.Encoder().encode
_decode = msgspec.json.Decoder(_Value).decode


class Making:
    """The making of a result, by the step that has missed it. End it by `made` or `given_up`; the first one counts."""

    def __init__(self, cache: ResultCache, wanted: Wanted) -> None:
        self._cache = cache
        self.wanted = wanted
        self.by = uuid5(wanted.execution_id, wanted.address)
        """The same after a crash: a step takes up its own claim."""
        self.claimed: asyncio.Task[None] | None = None
        """Keeps the claim while there is one."""
        self.ended: asyncio.Future[Hit | None] = asyncio.get_running_loop().create_future()

    def made(self, handled: Handled | None) -> None:
        """Take what became of the step's report: a result that the log has is kept, anything else is none."""
        events, wanted = handled.events if handled is not None else (), self.wanted
        results = (each for each in events if isinstance(each, StepSucceeded) and each.address == wanted.address)
        result = next(results, None)
        if result is None:
            self.given_up()
        elif not self.ended.done():
            origin = Origin(execution_id=wanted.execution_id, address=wanted.address, stored_at=self._cache.now())
            hit = Hit(output=result.output, port=result.port, to=result.to, origin=origin)
            self._cache.end(self, hit)

    def given_up(self) -> None:
        """Let the others go on: there will be no result."""
        if not self.ended.done():
            self._cache.end(self, None)


class ResultCache:
    """Looks results up and keeps them; one for a daemon, in one event loop."""

    def __init__(
        self,
        backend: Results,
        clock: Clock,
        *,
        spawn: Callable[[Coroutine[Any, Any, Any]], asyncio.Task[Any]],
        max_bytes: int,
        missed: Callable[[str, str, str], None],
    ) -> None:
        """`max_bytes` bounds one output; `missed` is told workflow, node, and `miss` or `away`."""
        self.backend = backend
        self._clock = clock
        self._spawn = spawn
        self._max_bytes = max_bytes
        self._missed = missed
        self._making: dict[tuple[str, str], Making] = {}

    def now(self) -> datetime:
        """Return the time."""
        return self._clock.now()

    async def ask(self, wanted: Wanted) -> Hit | Making:
        """Return the result; or, when there is none, what the step that makes it now tells how that went."""
        other = self._making.get(wanted.place)
        if other is None:
            return await self._look(wanted)
        hit = await self._waited(other, wanted)
        if hit is not None:
            return hit
        self._missed(wanted.workflow, wanted.node, "miss")
        making = Making(self, wanted)
        if await self._quietly(self._claim(making)):
            making.claimed = self._spawn(self._keep_claim(making))
        return making

    async def _look(self, wanted: Wanted) -> Hit | Making:
        """Look for all who ask from now on, until the making has ended."""
        making = self._making[wanted.place] = Making(self, wanted)
        try:
            hit = await self._found_or_claimed(making)
        except (StoreError, TimeoutError) as error:
            _logger.warning("cache_away", cache=wanted.cache, error=str(error) or "no answer in time")
            self._missed(wanted.workflow, wanted.node, "away")
            return making
        except BaseException:
            making.given_up()
            raise
        if hit is None:
            self._missed(wanted.workflow, wanted.node, "miss")
            return making
        self.end(making, hit)
        return hit

    async def _found_or_claimed(self, making: Making) -> Hit | None:
        """Return the result; or None, with the claim on it where that can be had, and at the latest after one wait."""
        wanted, pause_s, maker = making.wanted, FIRST_PAUSE_S, None
        begun = self._clock.now()
        while True:
            found = await self._answer(self.backend.find(*wanted.place, now=self._clock.now()))
            if found.result is not None:
                return _hit(found.result)
            if found.claimed_by in {None, making.by}:
                if await self._claim(making):
                    making.claimed = self._spawn(self._keep_claim(making))
                    return None
                if maker is not None:
                    return None
                continue
            maker = maker or found.claimed_by
            late = wanted.patience is not None and self._clock.now() - begun >= wanted.patience
            if late or found.claimed_by != maker:
                return None
            await self._clock.sleep(pause_s)
            pause_s = min(2 * pause_s, LONGEST_PAUSE_S)

    async def _claim(self, making: Making) -> bool:
        return await self._answer(self.backend.claim(self._claim_of(making), now=self._clock.now()))

    def _claim_of(self, making: Making) -> Claim:
        wanted, until = making.wanted, self._clock.now() + CLAIM_TTL
        return Claim(cache=wanted.cache, key=wanted.key, workflow=wanted.workflow, by=making.by, expires_at=until)

    async def _keep_claim(self, making: Making) -> None:
        """Extend the claim until the making has ended. One that is lost, as by `clear`, stays lost."""
        try:
            while True:
                await self._clock.sleep(CLAIM_TTL.total_seconds() / 3)
                if not await self._answer(self.backend.extend(self._claim_of(making))):
                    return
        except (StoreError, TimeoutError) as error:
            _logger.warning("cache_away", cache=making.wanted.cache, error=str(error) or "no answer in time")

    async def _waited(self, other: Making, wanted: Wanted) -> Hit | None:
        """Wait for what another step makes here, but no longer than this one may take."""
        patience = wanted.patience
        if patience is None:
            return await asyncio.shield(other.ended)
        nap: asyncio.Future[None] = asyncio.ensure_future(self._clock.sleep(patience.total_seconds()))
        either: set[asyncio.Future[Any]] = {nap, other.ended}
        try:
            await asyncio.wait(either, return_when=asyncio.FIRST_COMPLETED)
        finally:
            nap.cancel()
        return other.ended.result() if other.ended.done() else None

    def end(self, making: Making, hit: Hit | None) -> None:
        """Tell those who wait; then store or release, beside whatever follows. Without the claim nothing is stored."""
        wanted = making.wanted
        making.ended.set_result(hit)
        if self._making.get(wanted.place) is making:
            del self._making[wanted.place]
        if making.claimed is not None:
            making.claimed.cancel()
            rest = self._release(making) if hit is None else self._store(making, hit)
            try:
                self._spawn(rest)
            except RuntimeError:
                rest.close()  # the daemon ends at once: the claim runs out by itself

    async def _release(self, making: Making) -> None:
        await self._quietly(self.backend.release(*making.wanted.place, by=making.by))

    async def _store(self, making: Making, hit: Hit) -> None:
        wanted, now = making.wanted, self._clock.now()
        if size_of(hit.output) > self._max_bytes:
            sizes = {"bytes": size_of(hit.output), "max_bytes": self._max_bytes}
            _logger.info("result_too_large_to_keep", cache=wanted.cache, step=wanted.address, **sizes)
            await self._release(making)
            return
        result = Result(
            cache=wanted.cache,
            key=wanted.key,
            value=_encode(_Value(hit.output, hit.port, hit.to)),
            workflow=wanted.workflow,
            execution_id=wanted.execution_id,
            address=wanted.address,
            stored_at=now,
            expires_at=now + wanted.ttl,
        )
        if await self._quietly(self.backend.put(result, by=making.by)) is None:
            await self._release(making)

    async def _quietly(self, asked: Awaitable[T]) -> T | None:
        """Return the answer; None where there is none: what is not kept is made again."""
        try:
            return await self._answer(asked)
        except (StoreError, TimeoutError) as error:
            _logger.warning("cache_away", error=str(error) or "no answer in time")
            return None

    async def _answer(self, asked: Awaitable[T]) -> T:
        async with asyncio.timeout(PATIENCE_S):
            return await asked


def _hit(result: Result) -> Hit:
    try:
        value = _decode(result.value)
    except msgspec.MsgspecError as error:
        raise Undecodable(f"the result {result.key} in the cache {result.cache}: {error}") from error
    origin = Origin(execution_id=result.execution_id, address=result.address, stored_at=result.stored_at)
    return Hit(output=value.output, port=value.port, to=value.to, origin=origin)
