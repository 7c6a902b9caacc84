"""Sinks that record what they are given, and waiting for conditions."""

import asyncio
from collections import Counter
from collections.abc import Callable, Sequence
from datetime import timedelta

from triggers.message import Ack, Inbound, RetryPolicy, Verdict

STARTED = Ack(outcome="started")
QUICK = RetryPolicy(max_attempts=3, backoff="fixed", initial=timedelta(milliseconds=20))


def acknowledge(_message: Inbound) -> Verdict:
    return STARTED


class RecordingSink:
    """Answers as `decide` says; while `gate` is shut, calls wait."""

    def __init__(self, decide: Callable[[Inbound], Verdict] = acknowledge) -> None:
        self.decide = decide
        self.batches: list[list[Inbound]] = []
        self.acked: list[bytes] = []
        self.gate = asyncio.Event()
        self.gate.set()

    async def __call__(self, batch: Sequence[Inbound]) -> Sequence[Verdict]:
        self.batches.append(list(batch))
        await self.gate.wait()
        verdicts = [self.decide(message) for message in batch]
        self.acked += [message.body for message, verdict in zip(batch, verdicts, strict=True) if verdict == STARTED]
        return verdicts

    @property
    def seen(self) -> list[Inbound]:
        return [message for batch in self.batches for message in batch]

    @property
    def bodies(self) -> list[bytes]:
        return [message.body for message in self.seen]

    def times_seen(self) -> Counter[bytes]:
        return Counter(self.bodies)


async def eventually(condition: Callable[[], object], *, within_s: float = 30.0) -> None:
    """Return when the condition holds; fail when it does not in time."""
    try:
        async with asyncio.timeout(within_s):
            while not condition():  # noqa: ASYNC110  what is watched has no event
                await asyncio.sleep(0.005)
    except TimeoutError:
        raise AssertionError("the condition did not come true in time") from None
