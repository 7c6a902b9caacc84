"""The contract of `eventstore.log.Cursors`, on every store."""

from eventstore.store import Store


async def test_an_unknown_reader_begins_at_0(store: Store) -> None:
    assert await store.cursors.load("traces") == 0


async def test_a_cursor_is_remembered_for_each_reader(store: Store) -> None:
    await store.cursors.save("traces", 7)
    await store.cursors.save("metrics", 2**40)
    await store.cursors.save("traces", 9)
    assert await store.cursors.load("traces") == 9
    assert await store.cursors.load("metrics") == 2**40


async def test_a_cursor_never_goes_back(store: Store) -> None:
    await store.cursors.save("traces", 9)
    await store.cursors.save("traces", 7)
    assert await store.cursors.load("traces") == 9
