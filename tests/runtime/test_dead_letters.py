"""Dead letters: kept when a message cannot be processed, edited, given in again, discarded, dropped in time."""

from __future__ import annotations

import asyncio
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Any
from uuid import uuid4

import pytest

from daemon.core.errors import InvalidInput, Rejected
from daemon.runtime.codec import codec_of
from daemon.runtime.dead_letters import Edit, Letters, UnknownLetter, holds, letter_id, where_of
from daemon.settings import DeadLetters as DeadLetterSettings
from daemon.testing.clock import FakeClock
from eventstore.dead_letters import LetterFilter
from eventstore.errors import Unavailable
from eventstore.index import ExecutionFilter
from eventstore.store import open_store
from tests.support.daemons import PATIENCE_S, finished, running, settings_for
from triggers.errors import BrokerUnavailable
from triggers.message import DeadLetter, Inbound
from triggers.publishing import Outbound

if TYPE_CHECKING:
    from collections.abc import AsyncIterator
    from pathlib import Path

    from daemon.assembled import Daemon
    from eventstore.dead_letters import Letter

NOW = datetime(2026, 1, 1, tzinfo=UTC)
ORDERS = """
workflow: order
input: {type: object, required: [total], properties: {total: {type: number}}}
triggers:
  - {name: queue, memory: {topic: orders}, dedupe: "{{ message.value.id }}"}
  - {name: plain, memory: {topic: plain}}
nodes: {echo: {transform: "{{ input.total }}"}}
output: "{{ echo }}"
"""
BAD = b'{"id": "A7", "total": "many"}'


@pytest.fixture
async def daemon(tmp_path: Path) -> AsyncIterator[Daemon]:
    async with running(settings_for(tmp_path, ORDERS)) as daemon:
        yield daemon


async def letters(daemon: Daemon, count: int, **which: Any) -> list[Letter]:
    """Return the letters once there are so many."""
    async with asyncio.timeout(PATIENCE_S):
        while len(found := await daemon.letters.store.find(LetterFilter(**which))) < count:  # noqa: ASYNC110  rows have no event
            await asyncio.sleep(0)
    return list(found)


async def publish(daemon: Daemon, body: bytes, topic: str = "orders", **more: Any) -> None:
    await daemon.brokers.memory.publish(Outbound(destination=topic, body=body, **more))


async def executions(daemon: Daemon) -> int:
    return len(await daemon.store.index.executions(ExecutionFilter()))


async def test_a_bad_message_is_mended_and_starts_one_execution(daemon: Daemon) -> None:
    """The broker's place has it too; what came stays, what was edited is what starts; nothing starts twice."""
    await publish(daemon, BAD, headers={"traceparent": "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01"})
    [letter] = await letters(daemon, 1)
    assert (letter.trigger, letter.code, letter.state, letter.times) == ("order/queue", "invalid", "waiting", 1)
    assert (letter.place, letter.source) == ("memory:orders.dlq", "memory:orders@0")
    assert len(daemon.brokers.memory.messages("orders.dlq")) == 1

    refused = await daemon.letters.redrive(letter.id, by="ann")
    assert (refused.outcome, "total" in refused.reason) == ("refused", True)
    patch = Edit(patch=[{"op": "replace", "path": "/total", "value": 7}])
    tried = await daemon.letters.redrive(letter.id, by="ann", edit=patch, dry_run=True)
    assert (tried.outcome, await executions(daemon)) == ("would be redriven", 0)
    done = await daemon.letters.redrive(letter.id, by="ann", edit=patch)
    assert done.outcome == "started"
    assert done.execution_id is not None
    state = await finished(daemon, done.execution_id)
    assert bytes(state.output) == b"7"
    assert state.traceparent is not None

    after = await daemon.letters.get(letter.id)
    assert (after.state, after.settled_by, after.execution_id) == ("redriven", "ann", done.execution_id)
    assert (after.content.body, after.edited) == (BAD, b'{"id": "A7", "total": 7}')
    with pytest.raises(Rejected, match="does not wait: it is redriven"):
        await daemon.letters.redrive(letter.id, by="ann")
    assert await executions(daemon) == 1


async def test_a_crash_before_it_is_noted_starts_nothing_twice(daemon: Daemon, monkeypatch: pytest.MonkeyPatch) -> None:
    """It goes on waiting; given in again, it is a duplicate of the execution that it has started."""
    await publish(daemon, BAD)
    [letter] = await letters(daemon, 1)
    edit = Edit(body=b'{"id": "A7", "total": 1}')

    async def lost(*_: object) -> bool:
        raise Unavailable("gone")

    with monkeypatch.context() as patched:
        patched.setattr(daemon.letters.store, "settle", lost)
        with pytest.raises(Unavailable):
            await daemon.letters.redrive(letter.id, by="ann", edit=edit)
    assert await executions(daemon) == 1
    again = await daemon.letters.redrive(letter.id, by="ann")
    assert again.outcome == "duplicate"
    assert (await daemon.letters.get(letter.id)).state == "redriven"
    assert await executions(daemon) == 1


async def test_a_message_without_an_id_gets_that_of_its_letter(daemon: Daemon) -> None:
    """So it, too, starts one execution."""
    inbound = Inbound(
        trigger="order/plain",
        source="rabbitmq:plain",
        identity=None,
        body=b'{"total": 1}',
        content_type="application/json",
        headers={"authorization": "Bearer x", "x-team": "a"},
        received_at=NOW,
    )
    [verdict] = await daemon.intake([inbound])
    assert isinstance(verdict, DeadLetter)
    assert verdict.code == "unidentified"
    for _ in range(2):
        await daemon.letters.keep(inbound, verdict, "rabbitmq:plain.dlq")
    [letter] = await letters(daemon, 1)
    assert (letter.times, letter.content.headers) == (2, {"x-team": "a"})
    assert (await daemon.letters.redrive(letter.id, by="ann")).outcome == "started"
    await daemon.letters.keep(inbound, verdict, "rabbitmq:plain.dlq")
    assert (await daemon.letters.redrive(letter.id, by="ann")).outcome == "duplicate"


async def test_an_edit_that_does_not_fit_changes_nothing(daemon: Daemon) -> None:
    await publish(daemon, BAD)
    await publish(daemon, b"\xff\xfe", topic="plain", content_type="application/json")
    found = {each.trigger: each for each in await letters(daemon, 2)}
    queue, plain = found["order/queue"].id, found["order/plain"].id
    for letter, patch in (
        (queue, [{"op": "replace", "path": "/gone/x", "value": 1}]),
        (queue, [{"op": "test", "path": "/id", "value": "B"}]),
        (plain, [{"op": "add", "path": "/x", "value": 1}]),
    ):
        with pytest.raises(InvalidInput):
            await daemon.letters.redrive(letter, by="ann", edit=Edit(patch=patch))
    assert {each.edited for each in await letters(daemon, 2)} == {None}
    with pytest.raises(UnknownLetter):
        await daemon.letters.redrive(uuid4(), by="ann")


async def test_a_discarded_letter_waits_no_longer(daemon: Daemon) -> None:
    await publish(daemon, BAD)
    [letter] = await letters(daemon, 1)
    for _ in range(2):
        assert (await daemon.letters.discard(letter.id, by="ann")).settled_by == "ann"
    with pytest.raises(Rejected, match="discarded"):
        await daemon.letters.redrive(letter.id, by="bo")
    with pytest.raises(UnknownLetter):
        await daemon.letters.discard(uuid4(), by="bo")


async def test_letters_are_chosen_by_what_they_hold(daemon: Daemon) -> None:
    await publish(daemon, BAD)
    await publish(daemon, b"{broken", content_type="application/json")
    by_code = {each.code: each for each in await letters(daemon, 2)}
    assert set(by_code) == {"invalid", "undecodable"}
    where = where_of("value.total == 'many' and code == 'invalid'")
    assert [code for code, each in by_code.items() if holds(where, each)] == ["invalid"]
    for wrong in ("value ==", "body == 1"):
        with pytest.raises(InvalidInput, match="where"):
            where_of(wrong)


async def test_what_the_store_cannot_keep_now_is_tried_again(daemon: Daemon, monkeypatch: pytest.MonkeyPatch) -> None:
    """The message is not acknowledged before; the broker's place gets it then."""
    put, asked = daemon.letters.store.put, asyncio.Event()

    async def away(letter: Letter) -> None:
        if not asked.is_set():
            asked.set()
            raise Unavailable("gone")
        await put(letter)

    monkeypatch.setattr(daemon.letters.store, "put", away)
    await publish(daemon, BAD)
    async with asyncio.timeout(PATIENCE_S):
        await asked.wait()
        assert not daemon.brokers.memory.messages("orders.dlq")
        await letters(daemon, 1)


async def test_a_letter_is_the_same_at_each_delivery() -> None:
    inbound = Inbound(trigger="t/q", source="kafka:o/1@2", identity="o/1/2", body=b"1", received_at=NOW)
    other = Inbound(trigger="t/q", source="kafka:o/1@3", identity="o/1/3", body=b"1", received_at=NOW)
    assert letter_id(inbound) == letter_id(inbound)
    assert letter_id(inbound) != letter_id(other)


async def test_letters_are_dropped_in_time(tmp_path: Path) -> None:
    """Those that were set aside long ago, and the oldest of too many."""
    settings = settings_for(tmp_path, ORDERS, dead_letters=DeadLetterSettings(keep_s=3600, keep_most=2))
    store, clock = await open_store("memory://", codec_of(settings)), FakeClock(NOW)
    kept = Letters(store.dead_letters, _nobody, clock, keep_s=7200, most=2)
    for number in range(3):
        inbound = Inbound(trigger="t/q", source="s", identity=str(number), body=b"1", received_at=NOW)
        await kept.keep(inbound, DeadLetter("why", "invalid"), "")
        await clock.advance(1)
    dropping = asyncio.create_task(kept.run())
    await clock.until_sleeping()
    assert [each.content.identity for each in await store.dead_letters.find(LetterFilter())] == ["2", "1"]
    await clock.advance(timedelta(hours=3).total_seconds())
    assert await store.dead_letters.find(LetterFilter()) == []
    await kept.stop()
    await dropping


async def test_a_store_that_is_away_is_told_to_the_adapter() -> None:
    class Away:
        async def put(self, letter: Letter) -> None:
            raise Unavailable("gone")

    kept = Letters(Away(), _nobody, FakeClock(NOW), keep_s=60, most=1)  # type: ignore[arg-type]  # the one call that is made
    inbound = Inbound(trigger="t/q", source="s", identity="1", body=b"1", received_at=NOW)
    with pytest.raises(BrokerUnavailable):
        await kept.keep(inbound, DeadLetter("why", "invalid"), "")


async def _nobody(batch: Any) -> Any:
    raise AssertionError(f"nobody asks: {batch}")
