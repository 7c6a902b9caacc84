"""The walk of one message, from broker to log to steps and back. Read this second, after `daemon/core/events`.

triggers/memory -> triggers/routing -> runtime/intake -> runtime/engine -> core/decide -> core/evolve
-> eventstore/writer -> eventstore/sqlite; then core/effects -> runtime/steps -> nodes/task -> back to the engine
"""

from __future__ import annotations

import asyncio
import json
from typing import TYPE_CHECKING

from daemon.core.values import from_json
from daemon.main import open_daemon
from daemon.settings import Settings, Store, Workflows
from eventstore.index import ExecutionFilter
from triggers.publishing import Outbound
from triggers.routing import execution_id

if TYPE_CHECKING:
    from pathlib import Path

WORKFLOW = """
workflow: order
triggers:
  - name: orders
    memory: {topic: orders}
    filter: "{{ message.value.total > 0 }}"
    dedupe: "{{ message.value.order_id }}"
nodes:
  reserve: {task: inventory.reserve, with: {order: "{{ input }}"}}
  charge: {task: payments.charge, with: {amount: "{{ input.total }}", reservation: "{{ reserve.id }}"}}
  notify: {publish: {memory: {topic: orders.done}, value: "{{ charge }}"}}
  sorry: {task: mail.apologise, with: {error: "{{ charge.error }}"}}
edges: [reserve -> charge, charge -> notify, charge.error -> sorry]
output: "{{ charge }}"
"""


async def test_one_message_becomes_one_finished_execution(tmp_path: Path) -> None:
    """A message is received, recorded, worked on step by step, and its result is published and recorded."""
    (tmp_path / "order.yaml").write_text(WORKFLOW)
    settings = Settings(
        store=Store(url=f"sqlite:///{tmp_path}/sagad.db"),
        workflows=Workflows(paths=(tmp_path / "order.yaml",), handlers=("tests.support.order_handlers",)),
    )
    async with open_daemon(settings) as daemon:
        await daemon.start()

        # The same order is published twice, as brokers do.
        order = Outbound(destination="orders", body=b'{"order_id": "A7", "total": 20}')
        await daemon.brokers.memory.publish(order)
        await daemon.brokers.memory.publish(order)

        # Its execution has the id that its trigger and its dedupe key give.
        target = execution_id("order/orders", "A7")
        with daemon.changes.watch(target) as changed:
            while (row := await daemon.store.index.execution(target)) is None or row.finished_at is None:
                await asyncio.wait_for(changed.wait(), 10)
                changed.clear()
        assert (row.status, row.cause) == ("completed", "")

        # The log has every step, each result with what it makes ready.
        recorded = await daemon.history.events(target)
        assert [f"{r.event.NAME} {getattr(r.event, 'address', '')}".strip() for r in recorded] == [
            "ExecutionStarted",
            "StepStarted reserve",
            "StepSucceeded reserve",
            "StepStarted charge",
            "StepSucceeded charge",
            "StepStarted notify",
            "StepSkipped sorry",
            "StepSucceeded notify",
            "ExecutionCompleted",
        ]
        assert [r.version for r in recorded] == list(range(1, 10))

        # What a step was really sent is on record, and so is what it gave.
        assert from_json(recorded[3].event.input) == {"amount": 20, "reservation": "res-A7"}
        assert from_json(recorded[-1].event.output) == {"charged": 20, "reservation": "res-A7"}

        # The result went out as a message, with the key that makes the send idempotent.
        (sent,) = daemon.brokers.memory.messages("orders.done")
        assert json.loads(sent.message.body) == {"charged": 20, "reservation": "res-A7"}
        assert sent.message.message_id == f"{target}/notify"

        # Two deliveries, one execution.
        assert len(await daemon.store.index.executions(ExecutionFilter())) == 1
