"""The contract of `eventstore.log.Definitions`, on every store."""

from datetime import timedelta

from eventstore.log import StoredDefinition
from eventstore.store import Store
from tests.support.stores import NOW


def definition(name: str, seconds: int = 0, workflow: str = "orders") -> StoredDefinition:
    return StoredDefinition(
        name * 64, workflow, b'{"workflow": "' + name.encode() + b'"}', NOW + timedelta(seconds=seconds)
    )


async def test_none(store: Store) -> None:
    assert await store.definitions.get("0" * 64) is None
    assert await store.definitions.first_seen("orders") is None


async def test_a_definition_comes_back_as_it_was(store: Store) -> None:
    await store.definitions.put(definition("a"))
    assert await store.definitions.get("a" * 64) == definition("a")


async def test_one_that_is_there_keeps_its_first_day(store: Store) -> None:
    await store.definitions.put(definition("a", 0))
    await store.definitions.put(definition("a", 60))
    assert await store.definitions.get("a" * 64) == definition("a", 0)


async def test_all_are_listed_by_hash_in_pages(store: Store) -> None:
    for given in (definition("b"), definition("a"), definition("c", workflow="billing")):
        await store.definitions.put(given)
    assert list(await store.definitions.hashes(limit=2)) == ["a" * 64, "b" * 64]
    assert list(await store.definitions.hashes(after="b" * 64, limit=2)) == ["c" * 64]


async def test_first_seen_is_of_the_oldest_definition_of_the_workflow(store: Store) -> None:
    for given in (definition("b", 20), definition("a", 10), definition("c", 0, workflow="billing")):
        await store.definitions.put(given)
    assert await store.definitions.first_seen("orders") == NOW + timedelta(seconds=10)
