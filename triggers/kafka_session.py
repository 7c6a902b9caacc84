"""One membership in a consumer group: from joining until the connection breaks or the trigger is stopped.

The offset committed in a partition is that of the first message without a final verdict, so a message that is tried
again later does not hold up the others, and a crash brings back only what lies above it: ids absorb what was done
already. A partition with `max_unresolved` messages above its committed offset is paused. While the sink makes us wait,
polling goes on with all partitions paused: the group must not take them away from us for it.

Comes from: `kafka`. Goes to: `delivery`, and so to the `Sink`, daemon/runtime/intake.
"""

from __future__ import annotations

import asyncio
import time
from typing import TYPE_CHECKING, TypeAlias

from aiokafka import ConsumerRebalanceListener
from aiokafka.errors import CommitFailedError, IllegalStateError, KafkaError

from triggers.content import header_text
from triggers.delivery import Delivery
from triggers.errors import TooLarge
from triggers.link import explain
from triggers.message import DeadLetter, Inbound
from triggers.publishing import dead_letter_headers
from triggers.watermark import Watermark

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Mapping, Sequence
    from datetime import datetime

    from aiokafka import AIOKafkaConsumer, ConsumerRecord, TopicPartition

    from triggers.kafka_client import KafkaConnection
    from triggers.kafka_publisher import KafkaPublisher
    from triggers.link import Link
    from triggers.message import Aside, RetryPolicy, Sink

    Record: TypeAlias = ConsumerRecord[bytes, bytes]

_POLL_S = 0.5
"""The longest wait for messages before looking at anything else."""
_PROBE_S = 3.0
"""How long the broker may take to answer whether it is there."""
_LAST_COMMIT_S = 2.0
"""How long leaving waits for the last commit; without it, ids absorb what comes again."""


class _Taken:
    """A record that we took while we had its partition; the same record taken again is another."""

    __slots__ = ("mark", "partition", "record")

    def __init__(self, partition: TopicPartition, record: Record, mark: Watermark) -> None:
        self.partition = partition
        self.record = record
        self.mark = mark


class KafkaSession(ConsumerRebalanceListener):  # type: ignore[misc]  # aiokafka is not typed
    """Also listens to rebalances: what is taken from us is committed as far as it is settled, and dropped."""

    def __init__(
        self,
        name: str,
        consumer: AIOKafkaConsumer,
        link: Link,
        connection: KafkaConnection,
        *,
        sink: Sink,
        retry: RetryPolicy,
        publisher: KafkaPublisher,
        dead_letters: str,
        aside: Aside | None = None,
        batch: int,
        max_unresolved: int,
        now: Callable[[], datetime],
    ) -> None:
        """`name` is the trigger's; `dead_letters` is a topic."""
        self._name = name
        self._consumer = consumer
        self._link = link
        self._connection = connection
        self._publisher = publisher
        self._dead_letters = dead_letters
        self._batch = batch
        self._max_unresolved = max_unresolved
        self._now = now
        place = f"kafka:{dead_letters}"
        self._delivery = Delivery[_Taken](
            sink=sink, retry=retry, dead_letter=self._bury, aside=aside, place=place, batch=batch
        )
        self._marks: dict[TopicPartition, Watermark] = {}
        self._heard_s = time.monotonic()
        self._rebalancing = False
        """Nothing is ours: what was fetched before comes again, to us or to another."""

    async def consume(self) -> None:
        """Receive until stopped. Raises what aiokafka does when the session cannot go on.

        1. fetch  2. one sink call with what is new and what is due again  3. commit what is settled.
        """
        self._link.up()
        while not self._link.stopping.is_set():
            wait_s = self._delivery.wait_s()
            poll_s = _POLL_S if wait_s is None else min(wait_s, _POLL_S)
            fetching = self._consumer.getmany(timeout_ms=int(poll_s * 1000), max_records=self._batch)
            self._take(await self._link.unless_stopped(fetching) or {})
            if self._delivery.wait_s() == 0:
                await self._turn()
                self._link.trouble = self._delivery.trouble
            self._pause_the_full()
            await self._commit(self._connection.request_timeout_s)
            await self._link.unless_stopped(self._probe())
        await self._commit(_LAST_COMMIT_S)

    async def on_partitions_revoked(self, revoked: Iterable[TopicPartition]) -> None:
        """Commit what is settled while we may, and forget the rest: its next owner gets it."""
        gone = set(revoked)
        await self._commit(_LAST_COMMIT_S)
        self._rebalancing = True
        self._delivery.drop(lambda taken: taken.partition in gone)
        for partition in gone:
            self._marks.pop(partition, None)

    async def on_partitions_assigned(self, assigned: Iterable[TopicPartition]) -> None:  # noqa: ARG002  aiokafka's signature
        """Go on; a partition is noted with its first message."""
        self._rebalancing = False

    def _take(self, fetched: Mapping[TopicPartition, Sequence[Record]]) -> None:
        if self._rebalancing:
            return
        for partition, records in fetched.items():
            mark = self._marks.setdefault(partition, Watermark())
            for record in records:
                mark.take(record.offset)
                self._delivery.add(_Taken(partition, record, mark), self._inbound(record))
        if fetched:
            self._heard_s = time.monotonic()
            self._link.up()

    async def _turn(self) -> None:
        turn = asyncio.create_task(self._delivery.turn())
        try:
            while not turn.done():
                await asyncio.wait({turn}, timeout=self._connection.max_poll_interval_s / 3)
                if not turn.done():
                    await self._poll_paused(turn)
        finally:
            if not turn.done():
                turn.cancel()
                await asyncio.gather(turn, return_exceptions=True)
        for taken in turn.result():
            taken.mark.settle(taken.record.offset)

    async def _poll_paused(self, turn: asyncio.Task[list[_Taken]]) -> None:
        """Show the group that we are alive; during a rebalance this can last, so no longer than the turn."""
        self._consumer.pause(*self._consumer.assignment())
        polling = asyncio.ensure_future(self._consumer.getmany(timeout_ms=0))
        await asyncio.wait({turn, polling}, return_when=asyncio.FIRST_COMPLETED)
        if polling.done():
            self._take(polling.result())
        else:
            polling.cancel()
            await asyncio.gather(polling, return_exceptions=True)

    def _pause_the_full(self) -> None:
        """Pause partitions at the limit; resume when half of it is left."""
        assigned, paused = self._consumer.assignment(), self._consumer.paused()
        full = {tp for tp, mark in self._marks.items() if len(mark) >= self._max_unresolved}
        roomy = {tp for tp in paused if len(self._marks.get(tp, ())) <= self._max_unresolved // 2}
        self._consumer.pause(*(full & assigned - paused))
        self._consumer.resume(*(roomy & assigned))

    async def _commit(self, timeout_s: float) -> None:
        """Commit; what fails because the group is changing is committed later, or by the next owner."""
        marks = dict(self._marks)
        offsets = {tp: offset for tp, mark in marks.items() if (offset := mark.to_commit()) is not None}
        if not offsets:
            return
        try:
            async with asyncio.timeout(timeout_s):
                await self._consumer.commit(offsets)
        except (CommitFailedError, IllegalStateError):
            return
        except TimeoutError:
            self._link.down("Kafka does not answer to a commit")
            return
        for partition, offset in offsets.items():
            marks[partition].committed(offset)

    async def _probe(self) -> None:
        """Ask the broker something when it was silent for long: aiokafka does not tell that it is gone."""
        if time.monotonic() - self._heard_s < self._connection.probe_interval_s:
            return
        assigned = self._consumer.assignment()
        try:
            async with asyncio.timeout(_PROBE_S):
                await (self._consumer.end_offsets(assigned) if assigned else self._consumer.topics())
        except (KafkaError, TimeoutError) as error:
            self._link.down(f"Kafka does not answer: {explain(error)}")
        else:
            self._link.up()
        self._heard_s = time.monotonic()

    def _inbound(self, record: Record) -> Inbound:
        headers = {name.lower(): header_text(value) for name, value in record.headers if value is not None}
        return Inbound(
            trigger=self._name,
            source=f"kafka:{record.topic}/{record.partition}@{record.offset}",
            identity=f"{record.topic}/{record.partition}/{record.offset}",
            body=record.value or b"",
            key=header_text(record.key) if record.key is not None else None,
            headers=headers,
            content_type=headers.get("content-type"),
            received_at=self._now(),
        )

    async def _bury(self, taken: _Taken, inbound: Inbound, verdict: DeadLetter) -> None:
        reasons = dead_letter_headers(inbound, verdict)
        headers = [*taken.record.headers, *((name, text.encode()) for name, text in reasons.items())]
        value = taken.record.value
        if value is None and taken.record.key is None:
            value = b""
        try:
            await self._publisher.send(self._dead_letters, value, taken.record.key, headers)
        except TooLarge:
            # With the reasons it is larger than it came; `sagad-source` says where the whole message is.
            cut = [*((name, text.encode()) for name, text in reasons.items()), ("sagad-cut", b"too large")]
            await self._publisher.send(self._dead_letters, b"", None, cut)
