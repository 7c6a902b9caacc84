"""The command line on real services: Kafka, RabbitMQ and Postgres."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING

import httpx

from tests.cli.conftest import Sagad, halt, launch

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

FLOW = """
workflow: shipping
triggers:
  - {{name: topic, kafka: {{topic: {name}}}, dedupe: "{{{{ message.value }}}}"}}
  - {{name: queue, rabbitmq: {{queue: {name}}}, dedupe: "{{{{ message.headers['x-order'] }}}}"}}
nodes:
  echo: {{transform: "{{{{ input }}}}"}}
"""


def test_published_messages_become_executions(
    sagad: Sagad,
    folder: Path,
    *,
    kafka_bootstrap: str,
    rabbitmq_url: str,
    fresh_postgres_url: str,
    unique_name: Callable[[str], str],
) -> None:
    """Messages sent by `publish` go through the broker into a daemon, and show up in the store that `list` reads."""
    (folder / "flows" / "order.yaml").write_text(FLOW.format(name=unique_name("shipping")))
    file = folder / "sagad.toml"
    file.write_text(file.read_text().replace("sqlite:///sagad.db", fresh_postgres_url))
    file.write_text(
        f'{file.read_text()}\n[kafka]\nbootstrap = "{kafka_bootstrap}"\n[rabbitmq]\nurl = "{rabbitmq_url}"\n'
    )
    daemon = launch(folder)
    try:
        kafka = sagad("publish", "topic", "--data", '"k1"', "--key", "one")
        assert (kafka.code, kafka.out.startswith("shipping/topic: kafka:")) == (0, True)
        rabbitmq = sagad("publish", "shipping", "--via", "rabbitmq", "--data", '"r1"', "--header", "X-Order=7")
        assert (rabbitmq.code, rabbitmq.out.startswith("shipping/queue: rabbitmq:")) == (0, True)
        rows = completed(sagad, 2)
        assert {(row["trigger"], row["dedupe_key"]) for row in rows} == {
            ("shipping/topic", "k1"),
            ("shipping/queue", "7"),
        }
        doctor = sagad("doctor")
        assert doctor.code == 0, doctor.out
        assert "broken" not in doctor.out
    finally:
        assert halt(daemon) == 0


def test_with_a_dead_broker_http_stays_up_and_readiness_names_it(sagad: Sagad, folder: Path) -> None:
    """At the start too: executions by HTTP go on, and `doctor` says what to mend."""
    (folder / "flows" / "order.yaml").write_text(FLOW.format(name="shipping"))
    file = folder / "sagad.toml"
    dead = '\n[kafka]\nbootstrap = "127.0.0.1:1"\n[rabbitmq]\nurl = "amqp://guest:secret@127.0.0.1:1"\n'
    file.write_text(file.read_text() + dead)
    daemon = launch(folder)
    try:
        answer = httpx.get(f"{daemon.address}/readyz", trust_env=False)
        down = {one["name"] for one in answer.json()["connections"] if not one["connected"]}
        assert (answer.status_code, down) == (503, {"shipping/topic", "shipping/queue"})
        assert "secret" not in answer.text
        assert sagad("start", "shipping", "-i", '"x"', "--wait").json == {"echo": "x"}
        doctor = sagad("doctor", "--json").json["findings"]
        broken = {finding["about"] for finding in doctor if finding["status"] == "broken"}
        assert broken == {"kafka", "rabbitmq", "http"}
    finally:
        assert halt(daemon) == 0


def completed(sagad: Sagad, count: int) -> list[dict[str, str]]:
    """Return the completed executions once there are so many."""
    deadline = time.monotonic() + 60
    while time.monotonic() < deadline:
        rows: list[dict[str, str]] = sagad("list", "--status", "completed", "--json").json
        if len(rows) >= count:
            return rows
    raise AssertionError(f"not {count} executions in time")
