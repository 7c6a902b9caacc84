"""`sagad dead-letters` on real RabbitMQ and Kafka: a bad message is found, edited, and starts an execution."""

from __future__ import annotations

import json
import time
from typing import TYPE_CHECKING, Any

import pytest

from tests.cli.conftest import halt, launch

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

    from tests.cli.conftest import Running, Sagad

FLOW = """
workflow: shipping
input: {{type: object, required: [total], properties: {{total: {{type: number}}}}}}
triggers:
  - {{name: topic, kafka: {{topic: {name}}}, dedupe: "{{{{ message.value.id }}}}"}}
  - {{name: queue, rabbitmq: {{queue: {name}}}, dedupe: "{{{{ message.value.id }}}}"}}
nodes:
  echo: {{transform: "{{{{ input.total }}}}"}}
"""


@pytest.fixture
def place(unique_name: Callable[[str], str]) -> str:
    return unique_name("letters")


@pytest.fixture
def shipping(folder: Path, place: str, *, kafka_bootstrap: str, rabbitmq_url: str) -> Iterator[Running]:
    (folder / "flows" / "order.yaml").write_text(FLOW.format(name=place))
    file = folder / "sagad.toml"
    brokers = f'\n[kafka]\nbootstrap = "{kafka_bootstrap}"\n[rabbitmq]\nurl = "{rabbitmq_url}"\n'
    file.write_text(file.read_text() + brokers)
    daemon = launch(folder)
    try:
        yield daemon
    finally:
        assert halt(daemon) == 0


def publish(sagad: Sagad, trigger: str, message: object) -> None:
    """Publish as soon as the daemon has made the queue."""
    deadline = time.monotonic() + 60
    while sagad("publish", trigger, "--data", json.dumps(message)).code:
        assert time.monotonic() < deadline


def waiting(sagad: Sagad, count: int) -> list[dict[str, Any]]:
    """Return the letters that wait, once there are so many."""
    deadline = time.monotonic() + 60
    while time.monotonic() < deadline:
        rows: list[dict[str, Any]] = sagad("dead-letters", "list", "--json").json
        if len(rows) >= count:
            return rows
    raise AssertionError(f"not {count} letters in time")


def test_a_bad_message_is_edited_and_starts_an_execution(
    sagad: Sagad, folder: Path, shipping: Running, place: str
) -> None:
    """By a patch from RabbitMQ, by a file from Kafka; both brokers have their dead letters too."""
    for via in ("rabbitmq", "kafka"):
        publish(sagad, "queue" if via == "rabbitmq" else "topic", {"id": via, "total": "many"})
    letters = {row["trigger"]: row for row in waiting(sagad, 2)}
    queue, topic = letters["shipping/queue"], letters["shipping/topic"]
    assert (queue["place"], topic["place"]) == (f"rabbitmq:{place}.dlq", f"kafka:{place}.dlq")
    listed = sagad("dead-letters", "list", "--trigger", "shipping/queue", "--reason", "total", "--since", "1h").out
    assert queue["id"][:8] in listed
    assert topic["id"][:8] not in listed
    shown = sagad("dead-letters", "show", queue["id"][:8]).out
    assert "invalid: " in shown
    assert '{"id":"rabbitmq","total":"many"}' in shown

    refused = sagad("dead-letters", "redrive", queue["id"])
    assert (refused.code, "refused" in refused.out) == (1, True)
    patch = '[{"op": "replace", "path": "/total", "value": 7}]'
    dry = sagad("dead-letters", "redrive", "--where", "value.id == 'rabbitmq'", "--edit", patch, "--dry-run")
    assert (dry.code, "would be redriven" in dry.out) == (0, True)
    done = sagad("dead-letters", "redrive", "--where", "value.id == 'rabbitmq'", "--edit", patch, "--json")
    assert done.json[0]["outcome"] == "started"
    body = folder / "body.json"
    body.write_text('{"id": "kafka", "total": "few"}')
    assert sagad("dead-letters", "redrive", topic["id"][:8], "--edit", str(body)).code == 1
    other = sagad("dead-letters", "redrive", topic["id"][:8], "--edit", '{"id": "kafka", "total": 8}', "--json")
    ids = {done.json[0]["execution_id"], other.json[0]["execution_id"]}
    assert {row["execution_id"] for row in sagad("list", "--json").json} == ids
    assert sagad("dead-letters", "list", "--json").json == []
    edited = sagad("dead-letters", "show", topic["id"]).out
    assert "edited:" in edited
    assert '{"id": "kafka", "total": 8}' in edited
    again = sagad("dead-letters", "redrive", topic["id"])
    assert (again.code, "does not wait: it is redriven" in again.out) == (1, True)
    assert shipping.process.poll() is None


def test_letters_are_discarded(sagad: Sagad, shipping: Running) -> None:
    for number in range(2):
        publish(sagad, "queue", {"id": number, "total": "many"})
    ids = [row["id"] for row in waiting(sagad, 2)]
    done = sagad("dead-letters", "discard", *ids)
    assert [line.split()[1] for line in done.out.splitlines()] == ["discarded", "discarded"]
    assert len(sagad("dead-letters", "list", "--state", "discarded", "--json").json) == 2
    assert sagad("dead-letters", "redrive").code == 2
    assert sagad("dead-letters", "redrive", "--where", "true", "--edit", "[x").code == 2
    assert sagad("dead-letters", "redrive", "--where", "true", "--edit", "gone.json").code == 2
    missing = sagad("dead-letters", "show", "zz")
    assert (missing.code, "no dead letter whose id begins" in missing.err) == (3, True)
    [again] = sagad("dead-letters", "discard", ids[0], "--json").json
    assert (again["id"], again["state"]) == (ids[0], "discarded")
    assert sagad("dead-letters", "redrive", "--where", "true").out == "No dead letter matches.\n"
    assert shipping.process.poll() is None
