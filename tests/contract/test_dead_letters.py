"""The contract of `eventstore.dead_letters.DeadLetters`, on every store."""

from __future__ import annotations

from datetime import datetime, timedelta
from typing import TYPE_CHECKING, Any
from uuid import UUID, uuid4

import pytest

from eventstore.dead_letters import Content, Letter, LetterFilter, Settled
from tests.support.stores import NOW

if TYPE_CHECKING:
    from eventstore.dead_letters import DeadLetters
    from eventstore.store import Store

CONTENT = Content(
    body=b'{"total": "many"}\x00\xff',
    headers={"content-type": "application/json", "traceparent": "00-1-2-01"},
    key="A7",
    identity="orders/3/42",
    content_type="application/json",
    received_at=NOW,
)


def later(seconds: float) -> datetime:
    return NOW + timedelta(seconds=seconds)


def letter(number: int = 0, **changes: Any) -> Letter:
    fields = {
        "id": UUID(int=number + 1),
        "trigger": "orders/queue",
        "source": f"kafka:orders/3@{number}",
        "place": "kafka:orders.dlq",
        "code": "invalid",
        "reason": "total: 'many' is not a number",
        "first_at": later(number),
        "last_at": later(number),
        "content": CONTENT,
    }
    return Letter(**{**fields, **changes})


@pytest.fixture
def letters(store: Store) -> DeadLetters:
    return store.dead_letters


async def test_a_letter_is_kept_as_it_came(letters: DeadLetters) -> None:
    await letters.put(letter())
    assert await letters.get(letter().id) == letter()
    assert await letters.get(uuid4()) is None


async def test_one_that_comes_again_waits_again(letters: DeadLetters) -> None:
    """With the newer reason, and one time more; its content and when it came first stay."""
    await letters.put(letter())
    await letters.settle(letter().id, Settled(state="discarded", at=NOW, by="ann"))
    other = Content(body=b"other", received_at=later(9))
    await letters.put(letter(first_at=later(9), last_at=later(9), reason="why", code="refused", content=other))
    found = await letters.get(letter().id)
    assert found is not None
    assert (found.times, found.state, found.reason, found.code) == (2, "waiting", "why", "refused")
    assert (found.first_at, found.last_at, found.content) == (NOW, later(9), CONTENT)


async def test_letters_are_found_newest_first_page_by_page(letters: DeadLetters) -> None:
    for number in range(5):
        await letters.put(letter(number))
    first = await letters.find(LetterFilter(limit=2))
    assert [each.source for each in first] == ["kafka:orders/3@4", "kafka:orders/3@3"]
    second = await letters.find(LetterFilter(limit=9, after=(first[-1].last_at, first[-1].id)))
    assert [each.source for each in second] == [f"kafka:orders/3@{number}" for number in (2, 1, 0)]


async def test_letters_are_found_by_what_is_known_of_them(letters: DeadLetters) -> None:
    """A reason is found by any part of it, or of its code; signs that databases use for patterns are letters."""
    await letters.put(letter(0))
    await letters.put(letter(1, trigger="mail/in", reason="100% wrong_ly", code="undecodable"))
    await letters.settle(letter(0).id, Settled(state="redriven", at=NOW, by="ann"))

    async def numbers(**which: Any) -> list[int]:
        return [each.id.int - 1 for each in await letters.find(LetterFilter(**which))]

    assert await numbers() == [1, 0]
    assert await numbers(trigger="mail/in") == [1]
    assert await numbers(state="redriven") == [0]
    assert await numbers(since=later(1)) == [1]
    assert await numbers(reason="NOT A NUMBER") == [0]
    assert await numbers(reason="decod") == [1]
    assert await numbers(reason="0% wrong_") == [1]
    assert await numbers(reason="1%wrong") == []
    assert await numbers(reason="wrongxly") == []


async def test_a_letter_is_settled_once(letters: DeadLetters) -> None:
    await letters.put(letter())
    execution_id = uuid4()
    again = Settled(state="waiting", at=later(1), by="ann", outcome="refused")
    done = Settled(state="redriven", at=later(2), by="bo", outcome="started", execution_id=execution_id)
    assert await letters.settle(letter().id, again)
    assert await letters.settle(letter().id, done)
    assert not await letters.settle(letter().id, Settled(state="discarded", at=later(3), by="cy"))
    found = await letters.get(letter().id)
    assert found is not None
    assert (found.state, found.settled_by, found.settled_at) == ("redriven", "bo", later(2))
    assert (found.outcome, found.execution_id) == ("started", execution_id)


async def test_an_edit_leaves_the_message_as_it_came(letters: DeadLetters) -> None:
    await letters.put(letter())
    assert await letters.edit(letter().id, b'{"total": 7}')
    found = await letters.get(letter().id)
    assert found is not None
    assert (found.edited, found.content) == (b'{"total": 7}', CONTENT)
    assert await letters.edit(letter().id, None)
    await letters.settle(letter().id, Settled(state="discarded", at=NOW, by="ann"))
    assert not await letters.edit(letter().id, b"x")
    assert not await letters.edit(uuid4(), b"x")


async def test_what_is_old_goes_and_the_oldest_of_too_many(letters: DeadLetters) -> None:
    assert await letters.oldest() is None
    for number in range(6):
        await letters.put(letter(number))
    assert await letters.oldest() == NOW
    assert await letters.prune(before=later(2), keep=100) == 2
    assert await letters.prune(before=NOW, keep=3) == 1
    assert await letters.oldest() == later(3)
    assert await letters.prune(before=NOW, keep=3) == 0
