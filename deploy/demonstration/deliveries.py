"""Those around the daemon: customers who order by webhook and by message, and somebody who reviews large orders.

They behave as good senders do: what was not accepted is sent again. An order counts as accepted when the webhook has
answered 2xx, when Kafka or RabbitMQ has confirmed the message, or, for the in-process broker, which dies with the
daemon, when the event log has it.
"""

from __future__ import annotations

import asyncio
import json
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any, Self

import httpx

from daemon.cli.signing import signed_headers
from daemon.runtime.brokers import Brokers
from triggers.publishing import Outbound
from triggers.signatures import StandardWebhooks

if TYPE_CHECKING:
    from collections.abc import Mapping
    from uuid import UUID

    from deploy.demonstration.orders import Order
    from deploy.demonstration.stage import Stage
    from deploy.demonstration.watching import Progress, Watcher

SPREAD_S = 3.0
"""Over how long the orders come."""
SLOWEST_S = 0.1
"""The longest pause between two orders."""
AGAIN_S = 0.2
TAKEN_S = 2.0
"""After so long a message to the in-process broker is sent again."""
REVIEW_S = 0.3


class Senders:
    """Send this run's orders. Use as `async with`."""

    def __init__(self, stage: Stage, watcher: Watcher, progress: Progress) -> None:
        self._stage = stage
        self._watcher = watcher
        self._progress = progress
        self._scheme = StandardWebhooks(secret=stage.secret)
        self._client = httpx.AsyncClient(base_url=stage.url, trust_env=False, timeout=5.0)
        self._brokers = Brokers(stage.settings, now=lambda: datetime.now(UTC))
        self.accepted: set[str] = set()
        self.deliveries = 0
        """Accepted ones."""
        self.sent_again = 0
        """Deliveries that nobody answered, because nobody was there."""

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, *_: object) -> None:
        await self._client.aclose()
        await self._brokers.close()

    async def send_all(self) -> None:
        """Send every order, webhook and brokers in turn; return when all are accepted."""
        ways = ["webhook", *self._stage.brokers]
        pause_s = min(SLOWEST_S, SPREAD_S / len(self._stage.orders))
        async with asyncio.TaskGroup() as tasks:
            for number, order in enumerate(self._stage.orders):
                for repeat in range(order.deliveries):
                    # A repeated order comes by another way the second time: it is the same order all the same.
                    tasks.create_task(self._send(order, ways[(number + repeat) % len(ways)]))
                await asyncio.sleep(pause_s)

    async def review_all(self) -> None:
        """Approve every order that waits for it, once each; until cancelled."""
        reviewed: set[UUID] = set()
        async with asyncio.TaskGroup() as tasks:
            while True:
                for execution_id in self._progress.waiting_for_review - reviewed:
                    reviewed.add(execution_id)
                    tasks.create_task(self._review(execution_id))
                await asyncio.sleep(AGAIN_S)

    async def _send(self, order: Order, way: str) -> None:
        body = json.dumps(order.body()).encode()
        match way:
            case "webhook":
                await self._deliver(order, body)
            case "memory":
                while order.order_id not in self._progress.order_of.values():
                    headers = {"content-type": "application/json", "idempotency-key": order.order_id}
                    await self._post(f"/topics/{self._stage.source}/messages", body, headers)
                    await self._watcher.until(lambda seen: order.order_id in seen.order_of.values(), TAKEN_S)
            case broker:
                message = Outbound(
                    destination=self._stage.source,
                    body=body,
                    content_type="application/json",
                    message_id=order.order_id,
                )
                await self._brokers.publishers[broker].publish(message)
        self.accepted.add(order.order_id)
        self.deliveries += 1

    async def _deliver(self, order: Order, body: bytes) -> None:
        headers = signed_headers(self._scheme, body, now=datetime.now(UTC), delivery_id=f"delivery-{order.order_id}")
        await self._post("/hooks/orders", body, {**headers, "content-type": "application/json"})

    async def _review(self, execution_id: UUID) -> None:
        await asyncio.sleep(REVIEW_S)
        headers = {"content-type": "application/json", "idempotency-key": "review"}
        await self._post(f"/executions/{execution_id}/signals/reviewed", b'{"approved": true}', headers)

    async def _post(self, path: str, body: bytes, headers: Mapping[str, str]) -> Any:
        """Send until it is accepted; return the answer."""
        while True:
            try:
                answer = await self._client.post(path, content=body, headers=headers)
            except httpx.TransportError:
                self.sent_again += 1
            else:
                if answer.is_success:
                    return answer.json()
                if answer.status_code != httpx.codes.SERVICE_UNAVAILABLE:
                    answer.raise_for_status()
            await asyncio.sleep(AGAIN_S)
