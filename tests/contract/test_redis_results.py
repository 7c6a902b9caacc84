"""The contract of `eventstore.results.Results`, on a real Redis: the same tests, but for what Redis does by itself."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from daemon.runtime.redis_results import PREFIX, RedisResults
from eventstore.errors import Unavailable
from eventstore.results import Which
from tests.contract import test_results as contract
from tests.support.stores import NOW

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    from tests.support.services import OwnService

ELSEWHERE = {"test_what_has_expired_is_pruned", "test_another_opening_of_the_store_finds_them"}
globals().update(
    {
        name: test
        for name, test in vars(contract).items()
        if name.startswith("test_") and not name.startswith("test_memory") and name not in ELSEWHERE
    }
)


def rot(data: bytes) -> bytes:
    """Stand for a cipher: its own inverse."""
    return bytes(byte ^ 0x5A for byte in data)


@pytest.fixture
async def results(redis_server: OwnService) -> AsyncIterator[RedisResults]:
    made = RedisResults(redis_server.url, seal=rot, unseal=rot)
    await made._redis.flushdb()
    yield made
    await made.close()


async def test_values_are_sealed_and_keys_go_by_themselves(results: RedisResults) -> None:
    await contract.stored(results, contract.result(value=b"secret"))
    name = f"{PREFIX}w/a k"
    assert await results._redis.hget(name, "value") == rot(b"secret")
    assert 0 < await results._redis.pttl(name) <= 3_600_000
    await results.claim(contract.claim("other", seconds=10), now=NOW)
    await results.extend(contract.claim("other", seconds=30))
    assert 20_000 < await results._redis.pttl(f"{PREFIX}w/a other") <= 30_000


async def test_a_redis_that_is_away_is_unavailable() -> None:
    away = RedisResults("redis://127.0.0.1:1/0", seal=bytes, unseal=bytes)
    with pytest.raises(Unavailable, match="Redis"):
        await away.find("w/a", "k", now=NOW)
    with pytest.raises(Unavailable, match="Redis"):
        await away.clear(Which())
    await away.close()
