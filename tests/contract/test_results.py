"""The contract of `eventstore.results.Results`, on every store."""

from __future__ import annotations

from datetime import datetime, timedelta
from typing import TYPE_CHECKING, Any
from uuid import UUID, uuid4

import pytest
from msgspec.structs import replace

from eventstore.memory_results import MemoryResults
from eventstore.results import NOTHING, Claim, Found, Result, Which
from tests.support.stores import NOW

if TYPE_CHECKING:
    from collections.abc import Callable

    from eventstore.results import Results
    from eventstore.store import Store

ANN, BOB = UUID(int=1), UUID(int=2)
HOUR = timedelta(hours=1)


def later(seconds: float) -> datetime:
    return NOW + timedelta(seconds=seconds)


def claim(key: str = "k", by: UUID = ANN, *, cache: str = "w/a", workflow: str = "w", seconds: float = 30) -> Claim:
    return Claim(cache=cache, key=key, workflow=workflow, by=by, expires_at=later(seconds))


def result(key: str = "k", value: bytes = b"7", **changes: Any) -> Result:
    made = Result(
        cache="w/a",
        key=key,
        value=value,
        workflow="w",
        execution_id=UUID(int=9),
        address="each[3].a",
        stored_at=NOW,
        expires_at=NOW + HOUR,
    )
    return replace(made, **changes)


async def stored(results: Results, *wanted: Result) -> None:
    for each in wanted:
        claimed = claim(each.key, cache=each.cache, workflow=each.workflow)
        assert await results.claim(claimed, now=NOW)
        assert await results.put(each, by=ANN)


@pytest.fixture
def results(store: Store) -> Results:
    return store.results


async def test_what_is_stored_is_found_until_it_expires(results: Results) -> None:
    assert await results.find("w/a", "k", now=NOW) == NOTHING
    await stored(results, result())
    assert await results.find("w/a", "k", now=later(3599)) == Found(result(), None)
    assert await results.find("w/a", "k", now=later(3600)) == NOTHING
    assert await results.find("w/b", "k", now=NOW) == NOTHING


async def test_one_has_the_claim_and_the_others_see_who(results: Results) -> None:
    assert await results.claim(claim(by=ANN), now=NOW)
    assert not await results.claim(claim(by=BOB), now=NOW)
    assert await results.find("w/a", "k", now=NOW) == Found(None, ANN)


async def test_a_claim_is_extended_by_who_has_it_and_lapses_else(results: Results) -> None:
    await results.claim(claim(by=ANN, seconds=30), now=NOW)
    assert await results.claim(claim(by=ANN, seconds=60), now=later(20))
    assert not await results.claim(claim(by=BOB, seconds=90), now=later(59))
    assert await results.find("w/a", "k", now=later(60)) == NOTHING
    assert await results.claim(claim(by=BOB, seconds=90), now=later(60))


async def test_a_claim_that_was_cleared_cannot_be_extended(results: Results) -> None:
    await results.claim(claim(by=ANN), now=NOW)
    assert await results.extend(claim(by=ANN, seconds=60))
    assert not await results.extend(claim(by=BOB, seconds=60))
    assert (await results.find("w/a", "k", now=later(59))).claimed_by == ANN
    await results.clear(Which())
    assert not await results.extend(claim(by=ANN, seconds=90))
    assert await results.find("w/a", "k", now=NOW) == NOTHING


async def test_a_result_needs_no_making(results: Results) -> None:
    """Nobody can claim what is there; what has expired can be made anew."""
    await stored(results, result())
    assert not await results.claim(claim(by=BOB), now=NOW)
    assert await results.claim(claim(by=BOB, seconds=4000), now=later(3600))
    assert await results.find("w/a", "k", now=later(3600)) == Found(None, BOB)


async def test_only_who_has_the_claim_stores(results: Results) -> None:
    assert not await results.put(result(), by=ANN)
    await results.claim(claim(by=ANN), now=NOW)
    assert not await results.put(result(value=b"8"), by=BOB)
    assert await results.put(result(), by=ANN)
    assert not await results.put(result(value=b"9"), by=ANN)
    assert (await results.find("w/a", "k", now=NOW)).result == result()


async def test_a_claim_that_lapsed_still_stores_if_nobody_else_has_it(results: Results) -> None:
    await results.claim(claim(by=ANN, seconds=1), now=NOW)
    assert await results.put(result(), by=ANN)


async def test_a_claim_is_given_up_by_who_has_it(results: Results) -> None:
    await results.claim(claim(by=ANN), now=NOW)
    await results.release("w/a", "k", by=BOB)
    assert await results.find("w/a", "k", now=NOW) == Found(None, ANN)
    await results.release("w/a", "k", by=ANN)
    assert await results.find("w/a", "k", now=NOW) == NOTHING


async def test_a_release_leaves_a_result_alone(results: Results) -> None:
    await stored(results, result())
    await results.release("w/a", "k", by=ANN)
    assert (await results.find("w/a", "k", now=NOW)).result is not None


async def test_results_are_listed_page_by_page(results: Results) -> None:
    ours = [result(key) for key in ("c", "a", "b")]
    await stored(results, *ours, result(cache="w/b", key="a"), result("old", expires_at=NOW))
    await results.claim(claim("claimed"), now=NOW)
    first = await results.kept(Which(), now=NOW, limit=3, after=None)
    assert [(each.cache, each.key) for each in first] == [("w/a", "a"), ("w/a", "b"), ("w/a", "c")]
    rest = await results.kept(Which(), now=NOW, limit=3, after=("w/a", "c"))
    assert [(each.cache, each.key) for each in rest] == [("w/b", "a")]
    assert (first[0].workflow, first[0].execution_id, first[0].address) == ("w", UUID(int=9), "each[3].a")
    assert (first[0].stored_at, first[0].expires_at) == (NOW, NOW + HOUR)
    assert first[0].bytes == 1


@pytest.mark.parametrize(
    ("which", "left"),
    [
        (Which(), []),
        (Which(cache="w/a"), [("v/a", "a")]),
        (Which(key="a"), [("w/a", "b")]),
        (Which(workflow="v"), [("w/a", "a"), ("w/a", "b")]),
        (Which(workflow="v", cache="w/a"), [("v/a", "a"), ("w/a", "a"), ("w/a", "b")]),
    ],
)
async def test_some_are_cleared(results: Results, which: Which, left: list[tuple[str, str]]) -> None:
    await stored(results, result("a"), result("b"), result("a", cache="v/a", workflow="v"))
    assert await results.clear(which) == 3 - len(left)
    kept = await results.kept(Which(), now=NOW, limit=10, after=None)
    assert [(each.cache, each.key) for each in kept] == left


@pytest.mark.parametrize("which", [Which(), Which(workflow="w"), Which(cache="w/a", key="k")])
async def test_what_was_cleared_while_it_was_made_does_not_come_back(results: Results, which: Which) -> None:
    await results.claim(claim(), now=NOW)
    assert await results.clear(which) == 0
    assert not await results.put(result(), by=ANN)
    assert await results.find("w/a", "k", now=NOW) == NOTHING


async def test_what_has_expired_is_pruned(results: Results) -> None:
    await stored(results, *(result(f"old {number}", expires_at=later(number)) for number in range(5)), result("new"))
    await results.claim(claim("lapsed", seconds=1), now=NOW)
    assert await results.prune(now=later(3)) == 5
    assert await results.prune(now=later(3)) == 0
    assert [each.key for each in await results.kept(Which(), now=NOW, limit=9, after=None)] == ["new", "old 4"]


async def test_another_opening_of_the_store_finds_them(
    store: Store, store_url: str, reopen: Callable[..., Any]
) -> None:
    await stored(store.results, result(value=bytes(range(256)), execution_id=uuid4()))
    again = (await reopen()).results if not store_url.startswith("memory") else store.results
    found = await again.find("w/a", "k", now=NOW)
    assert found.result is not None
    assert found.result.value == bytes(range(256))


async def test_memory_drops_what_was_not_used_for_longest() -> None:
    """The one in memory is bounded; claims are no results and stay."""
    results = MemoryResults(max_bytes=20)
    await results.claim(claim("claimed", BOB), now=NOW)
    await stored(results, result("a", b"x" * 9), result("b", b"x" * 9))
    await results.find("w/a", "a", now=NOW)
    await stored(results, result("c", b"x" * 9))
    assert [each.key for each in await results.kept(Which(), now=NOW, limit=9, after=None)] == ["a", "c"]
    assert (await results.find("w/a", "claimed", now=NOW)).claimed_by == BOB
    await results.claim(claim("large"), now=NOW)
    assert not await results.put(result("large", b"x" * 21), by=ANN)
