"""The executing halves of `publish` and `task`."""

from __future__ import annotations

from typing import Any

import pytest

from daemon.nodes.context import ChildStart, Publication, StepFailure
from daemon.nodes.publish import execute
from tests.support.nodes import FakeContext, FakeServices, executed, type_and_config

TRACE = {"traceparent": "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01"}


async def published(text: str, **scope: Any) -> Publication:
    services = FakeServices()
    await executed(text, services, **scope)
    [publication] = services.published
    return publication


async def test_a_message_goes_to_kafka() -> None:
    text = """
publish:
  kafka: {topic: "orders.{{ input.region }}", key: "{{ input.id }}", partition: 2}
  value: "{{ input }}"
  headers: {X-Kind: 7}
"""
    assert await published(text, input={"region": "eu", "id": 7}) == Publication(
        broker="kafka",
        destination="orders.eu",
        key="7",
        partition=2,
        body=b'{"region":"eu","id":7}',
        content_type="application/json",
        message_id="execution/b",
        headers={**TRACE, "X-Kind": "7"},
    )


async def test_a_message_goes_to_rabbitmq() -> None:
    text = "{publish: {rabbitmq: {exchange: events, routing_key: order.done}, value: hello, content_type: text/plain}}"
    assert await published(text) == Publication(
        broker="rabbitmq",
        destination="order.done",
        exchange="events",
        body=b"hello",
        content_type="text/plain",
        message_id="execution/b",
        headers=TRACE,
    )


async def test_a_message_goes_to_the_in_process_broker() -> None:
    publication = await published("{publish: {memory: {topic: done}, value: null}}")
    assert (publication.broker, publication.destination, publication.body) == ("memory", "done", b"null")


async def test_a_message_may_be_a_cloudevent() -> None:
    text = """
publish:
  kafka: {topic: done}
  value: {id: 7}
  content_type: application/vnd.order+json
  cloudevent: {type: com.example.done, source: /orders, subject: "{{ input }}", mode: structured}
"""
    publication = await published(text, input=7)
    assert publication.cloudevent == {
        "id": "execution/b",
        "type": "com.example.done",
        "source": "/orders",
        "subject": "7",
    }
    assert publication.cloudevent_mode == "structured"
    assert publication.body == b'{"id":7}'


async def test_the_output_says_where_it_went() -> None:
    assert await executed("{publish: {memory: {topic: done}, value: 1}}") == {"sent_to": "memory:done"}


async def test_a_trace_of_the_node_wins_and_none_is_none() -> None:
    publication = await published("{publish: {memory: {topic: t}, value: 1, headers: {traceparent: mine}}}")
    assert publication.headers == {"traceparent": "mine"}
    _, config = type_and_config("{publish: {memory: {topic: t}, value: 1}}")
    services = FakeServices()
    await execute(FakeContext(config, services, traceparent=None), {"memory": {"topic": "t"}, "value": 1})
    assert services.published[0].headers == {}


@pytest.mark.parametrize(
    ("text", "message"),
    [
        (
            "{publish: {kafka: {topic: '{{ input }}'}, value: 1}}",
            "the destination must be text, and is a list or a mapping",
        ),
        (
            "{publish: {kafka: {topic: t, key: '{{ input }}'}, value: 1}}",
            "key must be text, and is a list or a mapping",
        ),
        (
            "{publish: {kafka: {topic: t, partition: '{{ true }}'}, value: 1}}",
            "partition must be a whole number from 0, and is True",
        ),
        (
            "{publish: {kafka: {topic: t, partition: '{{ -1 }}'}, value: 1}}",
            "partition must be a whole number from 0, and is -1",
        ),
        (
            "{publish: {memory: {topic: t}, value: '{{ input }}', content_type: text/plain}}",
            "value, which is sent as text/plain, must be text, and is a list or a mapping",
        ),
        (
            "{publish: {memory: {topic: t}, value: 1, headers: {x: '{{ none }}'}}}",
            "header x must be text, and is nothing",
        ),
    ],
)
async def test_a_message_that_cannot_be_sent_is_not_tried_again(text: str, message: str) -> None:
    with pytest.raises(StepFailure) as failed:
        await executed(text, input=[])
    assert (failed.value.code, failed.value.message, failed.value.retryable) == ("publish", message, False)


async def test_a_key_that_is_null_is_no_key() -> None:
    assert (await published("{publish: {kafka: {topic: t, key: '{{ none }}'}, value: 1}}")).key is None


async def test_a_task_calls_its_handler() -> None:
    services = FakeServices(handlers={"math.double": lambda value: value["n"] * 2})
    assert await executed("{task: math.double, with: {n: '{{ input }}'}}", services, input=21) == 42


async def test_a_subflow_starts_what_its_templates_say() -> None:
    services = FakeServices()
    text = 'subflow: "{{ input.kind }}-shipping"\nwith: {n: "{{ input.n }}"}\nversion: "3f2a"'
    answer = await executed(text, services, input={"kind": "fast", "n": 1})
    assert answer.workflow == "fast-shipping"
    assert services.started == [ChildStart(workflow="fast-shipping", version="3f2a", input={"n": 1})]


async def test_a_subflow_needs_the_name_of_a_workflow() -> None:
    with pytest.raises(StepFailure, match="takes a workflow's name") as failed:
        await executed('subflow: "{{ input }}"', input=7)
    assert (failed.value.code, failed.value.retryable) == ("unknown_workflow", False)
