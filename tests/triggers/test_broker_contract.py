"""What every broker's trigger promises, memory included."""

import asyncio
from collections import Counter
from datetime import timedelta

import pytest

from tests.triggers.brokers import Broker
from tests.triggers.conftest import crash, running
from tests.triggers.sinks import STARTED, RecordingSink, eventually
from triggers.message import DeadLetter, Inbound, Retry, RetryPolicy, Verdict

NOW = timedelta(0)


async def publish(broker: Broker, *bodies: bytes, key: str | None = None) -> None:
    for body in bodies:
        await broker.publisher.publish(broker.outbound(body, key=key, message_id=body.decode()))


async def test_a_message_arrives_as_it_was_sent(broker: Broker) -> None:
    sink = RecordingSink()
    headers = {"Region": "eu", "raw": b"\xff"}
    sent = broker.outbound(b'{"a": 1}', key="k1", headers=headers, content_type="application/json", message_id="m-1")
    async with running(broker.trigger(sink)):
        await broker.publisher.publish(sent)
        await eventually(lambda: sink.seen)
    (message,) = sink.seen
    assert (message.trigger, message.body, message.key) == ("shop/orders", b'{"a": 1}', "k1")
    assert (message.headers["region"], message.headers["raw"]) == ("eu", "/w==")
    assert (message.content_type, message.headers["idempotency-key"]) == ("application/json", "m-1")
    assert message.identity
    assert broker.outbound(b"").destination in message.source


async def test_a_message_is_acknowledged_only_after_its_verdict(broker: Broker) -> None:
    """A consumer that dies while the sink works leaves the message to the next one, with the same identity."""
    first, second = RecordingSink(), RecordingSink()
    first.gate.clear()
    await publish(broker, b"1")
    task = asyncio.create_task(broker.trigger(first).run())
    await eventually(lambda: first.seen)
    await crash(task)
    async with running(broker.trigger(second)):
        await eventually(lambda: second.acked == [b"1"])
    assert second.seen[0].identity == first.seen[0].identity


async def test_settled_messages_do_not_come_again(broker: Broker) -> None:
    first, second = RecordingSink(), RecordingSink()
    await publish(broker, b"1", b"2")
    async with running(broker.trigger(first)):
        await eventually(lambda: len(first.acked) == 2)
    async with running(broker.trigger(second)):
        await publish(broker, b"3")
        await eventually(lambda: second.seen)
    assert second.bodies == [b"3"]


async def test_a_failing_message_is_dead_lettered_after_its_attempts(broker: Broker) -> None:
    sink = RecordingSink(lambda _: Retry("no stock", after=NOW, counted=True))
    await publish(broker, b"1")
    async with running(broker.trigger(sink)):
        await eventually(lambda: len(sink.seen) == 3)
        (letter,) = await broker.dead_letters(1)
    assert (letter.body, letter.headers["sagad-code"], letter.headers["sagad-reason"]) == (
        b"1",
        "exhausted",
        "no stock",
    )


async def test_waiting_for_the_store_uses_up_no_attempt(broker: Broker) -> None:
    sink = RecordingSink()
    sink.decide = lambda _: STARTED if len(sink.batches) > 6 else Retry("store is away", after=NOW, counted=False)
    await publish(broker, b"1")
    async with running(broker.trigger(sink)):
        await eventually(lambda: sink.acked == [b"1"])
    assert len(sink.seen) == 7


async def test_poison_is_set_aside_with_its_reason_while_others_pass(broker: Broker) -> None:
    def decide(message: Inbound) -> Verdict:
        return DeadLetter("not JSON", code="undecodable") if message.body == b"bad" else STARTED

    sink = RecordingSink(decide)
    await publish(broker, b"1", b"bad", b"2", key="k1")
    async with running(broker.trigger(sink)):
        await eventually(lambda: sorted(sink.acked) == [b"1", b"2"])
        (letter,) = await broker.dead_letters(1)
    assert (letter.body, letter.key) == (b"bad", b"k1")
    assert letter.headers["sagad-code"] == "undecodable"
    assert letter.headers["sagad-reason"] == "not JSON"
    assert letter.headers["sagad-trigger"] == "shop/orders"
    assert letter.headers["sagad-source"] == next(m.source for m in sink.seen if m.body == b"bad")
    assert letter.headers["idempotency-key"] == "bad"
    assert sink.times_seen()[b"bad"] == 1


async def test_a_message_that_waits_does_not_hold_up_the_others(broker: Broker) -> None:
    """It is still there for the next consumer, and so is nothing else that was settled before it."""
    first, second = RecordingSink(), RecordingSink()
    first.decide = lambda m: Retry("later", after=timedelta(hours=1), counted=True) if m.body == b"1" else STARTED
    await publish(broker, b"1", b"2", b"3")
    async with running(broker.trigger(first)):
        await eventually(lambda: sorted(first.acked) == [b"2", b"3"])
        assert first.times_seen()[b"1"] == 1
    async with running(broker.trigger(second)):
        await eventually(lambda: b"1" in second.acked)


async def test_messages_of_one_key_reach_the_sink_in_order(broker: Broker) -> None:
    sent = [f"{number}".encode() for number in range(200)]
    await publish(broker, *sent, key="k1")
    sink = RecordingSink()
    async with running(broker.trigger(sink, at_most=37)):
        await eventually(lambda: len(sink.seen) == len(sent))
    assert sink.bodies == sent


async def test_messages_that_wait_together_are_handed_on_together(broker: Broker) -> None:
    sink = RecordingSink()
    sink.gate.clear()
    async with running(broker.trigger(sink)):
        await publish(broker, b"0")
        await eventually(lambda: sink.batches)
        await asyncio.gather(*(publish(broker, f"{number}".encode()) for number in range(1, 101)))
        sink.gate.set()
        await eventually(lambda: len(sink.seen) == 101)
    assert len(sink.batches) < 50


async def test_what_is_taken_and_not_settled_is_bounded(broker: Broker) -> None:
    """While everything must wait, intake stops at the bound (Kafka: of the bound and one batch)."""
    away = Retry("store is away", after=timedelta(milliseconds=10), counted=False)
    sink = RecordingSink(lambda _: away)
    bodies = [f"{number}".encode() for number in range(60)]
    await publish(broker, *bodies, key="k1")
    async with running(broker.trigger(sink, at_most=10)):
        await eventually(lambda: max(sink.times_seen().values(), default=0) > 5)
        assert len(set(sink.bodies)) <= 20
        sink.decide = lambda _: STARTED
        await eventually(lambda: set(sink.acked) == set(bodies))
    assert Counter(sink.acked).most_common(1)[0][1] == 1


async def test_stop_waits_for_the_verdicts_in_flight(broker: Broker) -> None:
    first, second = RecordingSink(), RecordingSink()
    first.gate.clear()
    trigger = broker.trigger(first)
    await publish(broker, b"1")
    async with running(trigger) as task:
        await eventually(lambda: first.seen)
        stopping = asyncio.create_task(trigger.stop())
        await publish(broker, b"2")
        done, _ = await asyncio.wait({stopping, task}, timeout=0.2)
        assert not done
        first.gate.set()
        await stopping
    assert first.bodies == [b"1"]
    async with running(broker.trigger(second)):
        await eventually(lambda: second.seen)
    assert second.bodies == [b"2"]


async def test_start_and_stop_are_safe_in_any_order(broker: Broker) -> None:
    trigger = broker.trigger(RecordingSink())
    await trigger.stop()
    await trigger.run()
    await trigger.stop()
    hasty = broker.trigger(RecordingSink())
    async with running(hasty):
        await asyncio.gather(hasty.stop(), hasty.stop())
    assert not hasty.status.connected


async def test_a_bug_in_the_sink_ends_the_run(broker: Broker) -> None:
    def broken(_message: Inbound) -> Verdict:
        raise ZeroDivisionError

    await publish(broker, b"1")
    trigger = broker.trigger(RecordingSink(broken))
    with pytest.raises(ZeroDivisionError):
        await trigger.run()
    sink = RecordingSink()
    async with running(broker.trigger(sink)):
        await eventually(lambda: sink.acked == [b"1"])


async def test_each_message_ends_in_exactly_one_verdict(broker: Broker) -> None:
    def decide(message: Inbound) -> Verdict:
        number = int(message.body)
        if number % 7 == 0:
            return DeadLetter("sevens are refused", code="refused")
        if number % 5 == 0 and sink.times_seen()[message.body] < 2:
            return Retry("later", after=NOW, counted=True)
        if number % 11 == 0:
            return Retry("never", after=NOW, counted=True)
        return STARTED

    sink, after = RecordingSink(decide), RecordingSink()
    bodies = {f"{number}".encode() for number in range(1, 121)}
    dead = {body for body in bodies if int(body) % 7 == 0 or int(body) % 11 == 0}
    await publish(broker, *sorted(bodies), key="k1")
    once = RetryPolicy(max_attempts=2, backoff="fixed", initial=timedelta(milliseconds=1))
    async with running(broker.trigger(sink, retry=once, at_most=25)):
        await eventually(lambda: len(sink.acked) >= len(bodies - dead))
        letters = await broker.dead_letters(len(dead))
    assert Counter(sink.acked) == Counter(bodies - dead)
    assert {letter.body for letter in letters} == dead
    async with running(broker.trigger(after)):
        await publish(broker, b"last")
        await eventually(lambda: after.seen)
    assert after.bodies == [b"last"]


async def test_it_reconnects_when_the_broker_comes_back(fallible_broker: Broker) -> None:
    broker, sink = fallible_broker, RecordingSink()
    trigger = broker.trigger(sink)
    async with running(trigger):
        await publish(broker, b"1")
        await eventually(lambda: sink.acked == [b"1"])
        assert trigger.status.connected
        await broker.down()
        await eventually(lambda: not trigger.status.connected)
        assert trigger.status.detail
        await broker.up()
        await publish(broker, b"2")
        await eventually(lambda: b"2" in sink.acked)
        assert trigger.status.connected


async def test_a_verdict_that_comes_after_the_connection_broke_does_no_harm(fallible_broker: Broker) -> None:
    broker, sink = fallible_broker, RecordingSink()
    await publish(broker, b"1")
    sink.gate.clear()
    async with running(broker.trigger(sink)):
        await eventually(lambda: sink.seen)
        await broker.down()
        sink.gate.set()
        await broker.up()
        await publish(broker, b"2")
        await eventually(lambda: {b"1", b"2"} <= set(sink.acked))


async def test_it_waits_for_a_broker_that_is_away_at_the_start(fallible_broker: Broker) -> None:
    broker, sink = fallible_broker, RecordingSink()
    await publish(broker, b"1")
    await broker.down()
    trigger = broker.trigger(sink)
    async with running(trigger):
        await eventually(lambda: trigger.status.detail not in ("", "not connected yet"))
        assert not trigger.status.connected
        await broker.up()
        await eventually(lambda: sink.acked == [b"1"])


async def test_stop_does_not_wait_for_a_broker_that_is_away(fallible_broker: Broker) -> None:
    trigger = fallible_broker.trigger(RecordingSink())
    async with running(trigger):
        await eventually(lambda: trigger.status.connected)
        await fallible_broker.down()
        await eventually(lambda: not trigger.status.connected)
        async with asyncio.timeout(15):
            await trigger.stop()
    await fallible_broker.up()
