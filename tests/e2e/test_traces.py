"""One trace from a message in to messages out, across a crash, as a collector receives it over the wire."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

import aio_pika
import pytest
from aiokafka import AIOKafkaConsumer

from daemon.core.trace_ids import parse_traceparent
from daemon.runtime.codec import codec_of
from daemon.runtime.tracing import CURSOR
from daemon.settings import Settings
from eventstore.store import open_store
from tests.support.crash_orders import Brokers
from tests.support.file_handlers import Gates
from tests.support.http_server import service
from tests.support.otlp_sink import OtlpSink, Received
from triggers.kafka_client import KafkaConnection
from triggers.kafka_publisher import KafkaPublisher
from triggers.publishing import Outbound
from triggers.rabbitmq_client import RabbitConnection
from triggers.rabbitmq_publisher import RabbitPublisher

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence
    from pathlib import Path

    from tests.support.process import SagadProcess

pytestmark = pytest.mark.slow

CALLER = "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01"
TRACE_ID, CALLER_SPAN = CALLER.split("-")[1:3]

WORKFLOW = """
workflow: traced
triggers:
  - {name: kafka, kafka: {topic: NAME, group: NAME}, dedupe: "{{ message.value.id }}"}
  - {name: rabbitmq, rabbitmq: {queue: NAME}, dedupe: "{{ message.value.id }}"}
nodes:
  ask: {http: {url: "URL/ask"}}
  pause: {wait: 50ms}
  hold: {task: gate, with: {name: hold}}
  to_kafka: {publish: {kafka: {topic: NAME.done}, value: 1}}
  to_rabbitmq: {publish: {rabbitmq: {routing_key: NAME.done}, value: 1}}
edges: [ask -> pause, pause -> hold, hold -> to_kafka, hold -> to_rabbitmq]
"""
STEPS = {"ask", "pause", "hold", "to_kafka", "to_rabbitmq"}
BEFORE_HOLD = 3
"""Spans that are closed when the process is killed: of the message and of two steps."""
ALL = len(STEPS) + 2


@pytest.mark.parametrize("broker", ["kafka", "rabbitmq"])
async def test_one_trace_across_a_crash(  # noqa: PLR0917  fixtures
    broker: str,
    tmp_path: Path,
    sagad: Callable[..., SagadProcess],
    kafka_bootstrap: str,
    kafka_kind: str,
    rabbitmq_url: str,
    unique_name: Callable[[str], str],
) -> None:
    """Killed in the middle of a step: one trace, each span once and closed, every parent there, context handed on."""
    name, gates = unique_name("traced"), Gates(tmp_path / "gates")
    store_url = f"sqlite:///{tmp_path}/sagad.db"
    async with Brokers(name, kafka_bootstrap, rabbitmq_url, mocked=kafka_kind == "mock"):
        with OtlpSink() as sink, service() as asked:
            daemon = sagad(
                WORKFLOW.replace("NAME", name).replace("URL", asked.url),
                handlers="tests.support.file_handlers",
                environ=gates.environ,
                store={"url": store_url},
                kafka={"bootstrap": [kafka_bootstrap]},
                rabbitmq={"url": rabbitmq_url},
                outbound={"allow_private": True},
                tracing={"otlp_endpoint": sink.url, "service_name": "shop"},
            )
            daemon.start()
            await daemon.ready()
            await _send(broker, name, kafka_bootstrap, rabbitmq_url)
            await daemon.until(lambda: gates.reached("hold"))
            await asyncio.to_thread(sink.wait_for, BEFORE_HOLD)
            await _export_is_noted(daemon, store_url)  # before, they would be sent once more, as tests of tracing show
            daemon.kill()

            gates.open("hold")
            daemon.start()
            await asyncio.to_thread(sink.wait_for, ALL, timeout_s=30)
            sent_on = [
                asked.asked[0].headers["traceparent"],
                await _from_kafka(f"{name}.done", kafka_bootstrap),
                await _from_rabbitmq(f"{name}.done", rabbitmq_url),
            ]
            assert await daemon.stop() == 0
            spans = sink.spans

    assert gates.began("hold") == 2
    _check(spans)
    by_step = {span.attributes.get("sagad.step"): span.span_id for span in spans}
    contexts = [parse_traceparent(text) for text in sent_on]
    assert [context and context.trace_id for context in contexts] == [TRACE_ID] * 3
    assert [context and context.parent_span_id for context in contexts] == [
        by_step["ask"],
        by_step["to_kafka"],
        by_step["to_rabbitmq"],
    ]


def _check(spans: Sequence[Received]) -> None:
    assert {span.trace_id for span in spans} == {TRACE_ID}
    ids = [span.span_id for span in spans]
    assert len(ids) == len(set(ids)) == ALL, [span.name for span in spans]
    assert {span.parent_id for span in spans} <= {*ids, CALLER_SPAN}
    assert sum(span.parent_id == CALLER_SPAN for span in spans) == 1
    assert all(0 < span.start_ns <= span.end_ns for span in spans)
    assert {span.attributes.get("sagad.step") for span in spans} - {None} == STEPS
    assert not any(span.failed for span in spans)
    assert {span.resource["service.name"] for span in spans} == {"shop"}


async def _export_is_noted(daemon: SagadProcess, store_url: str) -> None:
    """Return when the store knows that the spans of all events have been taken."""
    store = await open_store(store_url, codec_of(Settings()), auto_migrate=False)

    async def noted() -> bool:
        return await store.cursors.load(CURSOR) == await store.log.head()

    try:
        await daemon.until(noted)
    finally:
        await store.close()


async def _send(broker: str, name: str, kafka: str, rabbitmq: str) -> None:
    publisher = (
        KafkaPublisher(KafkaConnection(bootstrap_servers=kafka))
        if broker == "kafka"
        else RabbitPublisher(RabbitConnection(url=rabbitmq))
    )
    async with await aio_pika.connect(rabbitmq) as connection, connection.channel() as channel:
        await channel.declare_queue(f"{name}.done", durable=True)
    message = Outbound(
        destination=name, body=b'{"id": "1"}', content_type="application/json", headers={"traceparent": CALLER}
    )
    await publisher.publish(message)
    await publisher.close()


async def _from_kafka(topic: str, bootstrap: str) -> str:
    """Return the `traceparent` of the topic's only message."""
    consumer = AIOKafkaConsumer(topic, bootstrap_servers=bootstrap, auto_offset_reset="earliest", group_id=None)
    await consumer.start()
    try:
        record = await asyncio.wait_for(consumer.getone(), 20)
    finally:
        await consumer.stop()
    return str(dict(record.headers)["traceparent"], "utf-8")


async def _from_rabbitmq(queue: str, url: str) -> str:
    """Return the `traceparent` of the queue's only message; the queue is removed."""
    async with await aio_pika.connect(url) as connection, connection.channel() as channel:
        found = await channel.get_queue(queue)
        message = await found.get()
        await found.delete(if_unused=False, if_empty=False)
        return str(message.headers["traceparent"])
