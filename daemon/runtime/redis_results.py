"""Results in Redis, values compressed and encrypted as those in the store: for daemons that share one.

A key of Redis holds a result, or the claim of whoever makes one, and goes by itself when that has expired. What changes
depends on what is there, so each change is one script.

Comes from: daemon/main. Goes to: Redis, by the library `redis`.
"""

from __future__ import annotations

from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Any
from uuid import UUID

from redis.asyncio import Redis
from redis.exceptions import RedisError

from eventstore.errors import Unavailable
from eventstore.results import NOTHING, Found, Kept, Result

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable, Iterator, Mapping, Sequence

    from eventstore.results import Claim, Which

PREFIX = "sagad:result:"
TIMEOUT_S = 2.0
PAGE = 500

_CLAIM = """
local at, by = redis.call('HGET', KEYS[1], 'expires_at'), redis.call('HGET', KEYS[1], 'by')
if at and tonumber(at) > tonumber(ARGV[1]) and by ~= ARGV[2] then return 0 end
redis.call('DEL', KEYS[1])
redis.call('HSET', KEYS[1], 'by', ARGV[2], 'workflow', ARGV[3], 'expires_at', ARGV[4])
redis.call('PEXPIRE', KEYS[1], ARGV[5])
return 1
"""
_EXTEND = """
if redis.call('HGET', KEYS[1], 'by') ~= ARGV[1] then return 0 end
local more = math.ceil((tonumber(ARGV[2]) - tonumber(redis.call('HGET', KEYS[1], 'expires_at'))) / 1000)
redis.call('HSET', KEYS[1], 'expires_at', ARGV[2])
redis.call('PEXPIRE', KEYS[1], math.max(1, redis.call('PTTL', KEYS[1]) + more))
return 1
"""
_RELEASE = "if redis.call('HGET', KEYS[1], 'by') == ARGV[1] then redis.call('DEL', KEYS[1]) end"
_PUT = """
if redis.call('HGET', KEYS[1], 'by') ~= ARGV[1] then return 0 end
redis.call('DEL', KEYS[1])
redis.call('HSET', KEYS[1], unpack(ARGV, 3))
redis.call('PEXPIRE', KEYS[1], ARGV[2])
return 1
"""
_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_MICROSECOND = timedelta(microseconds=1)


class RedisResults:
    """`results.Results` in Redis. `kept` and `clear` look at all keys of the prefix, a page at a time."""

    def __init__(self, url: str, *, seal: Callable[[bytes], bytes], unseal: Callable[[bytes], bytes]) -> None:
        """Connect when first asked; `seal` compresses and encrypts."""
        self._redis: Any = Redis.from_url(url, socket_timeout=TIMEOUT_S, socket_connect_timeout=TIMEOUT_S)
        self._seal = seal
        self._unseal = unseal
        self._claim, self._extend, self._release, self._put = (
            self._redis.register_script(script) for script in (_CLAIM, _EXTEND, _RELEASE, _PUT)
        )

    async def find(self, cache: str, key: str, *, now: datetime) -> Found:
        """See `results.Results`. Raises Undecodable when the value cannot be decrypted."""
        with _outside_causes():
            row: Mapping[bytes, bytes] = await self._redis.hgetall(_name(cache, key))
        if not row or _time(row[b"expires_at"]) <= now:
            return NOTHING
        if b"by" in row:
            return Found(None, UUID(row[b"by"].decode()))
        result = Result(
            cache=cache,
            key=key,
            value=self._unseal(row[b"value"]),
            workflow=row[b"workflow"].decode(),
            execution_id=UUID(row[b"execution_id"].decode()),
            address=row[b"address"].decode(),
            stored_at=_time(row[b"stored_at"]),
            expires_at=_time(row[b"expires_at"]),
        )
        return Found(result, None)

    async def claim(self, claim: Claim, *, now: datetime) -> bool:
        """See `results.Results`."""
        until, lasts = _micros(claim.expires_at), _lasts(claim.expires_at, now)
        return await self._ask(
            self._claim, _name(claim.cache, claim.key), _micros(now), claim.by.hex, claim.workflow, until, lasts
        )

    async def extend(self, claim: Claim) -> bool:
        """See `results.Results`."""
        return await self._ask(self._extend, _name(claim.cache, claim.key), claim.by.hex, _micros(claim.expires_at))

    async def release(self, cache: str, key: str, *, by: UUID) -> None:
        """See `results.Results`."""
        await self._ask(self._release, _name(cache, key), by.hex)

    async def put(self, result: Result, *, by: UUID) -> bool:
        """See `results.Results`."""
        row = {
            "value": self._seal(result.value),
            "bytes": len(result.value),
            "workflow": result.workflow,
            "execution_id": result.execution_id.hex,
            "address": result.address,
            "stored_at": _micros(result.stored_at),
            "expires_at": _micros(result.expires_at),
        }
        lasts = _lasts(result.expires_at, result.stored_at)
        values = (part for field in row.items() for part in field)
        return await self._ask(self._put, _name(result.cache, result.key), by.hex, lasts, *values)

    async def kept(self, which: Which, *, now: datetime, limit: int, after: tuple[str, str] | None) -> Sequence[Kept]:
        """See `results.Results`."""
        found = [kept async for kept in self._matching(which) if kept is not None and kept.expires_at > now]
        there = sorted((each for each in found if after is None or (each.cache, each.key) > after), key=_place)
        return there[:limit]

    async def clear(self, which: Which) -> int:
        """See `results.Results`."""
        cleared = 0
        with _outside_causes():
            async for name, kept in self._rows(which):
                cleared += bool(await self._redis.delete(name)) and kept is not None
        return cleared

    async def prune(self, *, now: datetime) -> int:  # noqa: ARG002  Redis drops them by itself
        """Return 0: what has expired goes by itself."""
        return 0

    async def close(self) -> None:
        """Close the connections."""
        await self._redis.aclose()

    async def _ask(self, script: Any, name: str, *values: Any) -> bool:
        """Run a script on one key."""
        with _outside_causes():
            return bool(await script(keys=[name], args=values))

    async def _matching(self, which: Which) -> AsyncIterator[Kept | None]:
        with _outside_causes():
            async for _, kept in self._rows(which):
                yield kept

    async def _rows(self, which: Which) -> AsyncIterator[tuple[bytes, Kept | None]]:
        """Give the keys that match, with what lists show of a result; None for a claim."""
        async for name in self._redis.scan_iter(match=f"{PREFIX}*", count=PAGE):
            cache, _, key = name.decode().removeprefix(PREFIX).rpartition(" ")
            if which.cache not in {None, cache} or which.key not in {None, key}:
                continue
            fields = ("by", "workflow", "bytes", "execution_id", "address", "stored_at", "expires_at")
            by, workflow, size, execution_id, address, stored_at, expires_at = await self._redis.hmget(name, fields)
            if workflow is None or which.workflow not in {None, workflow.decode()}:
                continue
            if by is not None:
                yield name, None
                continue
            yield (
                name,
                Kept(
                    cache=cache,
                    key=key,
                    bytes=int(size),
                    workflow=workflow.decode(),
                    execution_id=UUID(execution_id.decode()),
                    address=address.decode(),
                    stored_at=_time(stored_at),
                    expires_at=_time(expires_at),
                ),
            )


def _place(kept: Kept) -> tuple[str, str]:
    return kept.cache, kept.key


def _name(cache: str, key: str) -> str:
    return f"{PREFIX}{cache} {key}"


def _micros(time: datetime) -> int:
    return (time - _EPOCH) // _MICROSECOND


def _time(micros: bytes) -> datetime:
    return _EPOCH + int(micros) * _MICROSECOND


def _lasts(until: datetime, since: datetime) -> int:
    """Return for how many milliseconds Redis keeps it: at least one."""
    return max(1, -((since - until) // timedelta(milliseconds=1)))


@contextmanager
def _outside_causes() -> Iterator[None]:
    try:
        yield
    except (RedisError, OSError) as error:
        raise Unavailable(f"Redis: {error}") from error
