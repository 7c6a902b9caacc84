"""Getting each message its one final verdict, and obeying it. Shared by all adapters; knows no broker.

An adapter adds the messages that it has received and calls `turn` again and again; each turn hands everything that is
due to the sink, in one batch and in order of arrival, and returns the handles of the messages that are settled and may
be acknowledged. A message that must wait stays here and does not hold up the others; the adapter bounds how many wait
by not taking more (`len`).

Comes from: `kafka`, `rabbitmq`, `memory`, `schedule`. Goes to: the `Sink`, daemon/runtime/intake.
"""

from __future__ import annotations

import asyncio
from datetime import timedelta
from typing import TYPE_CHECKING, Generic, TypeVar

from triggers.errors import BrokerUnavailable, Unroutable
from triggers.message import Ack, DeadLetter, Retry

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Hashable

    from triggers.message import Aside, Inbound, RetryPolicy, Sink, Verdict

H = TypeVar("H", bound="Hashable")

_DOUBLINGS = 20
"""More might not fit a timedelta."""
_LEAST_PAUSE_S = 0.1
"""Between two tries to store a dead letter."""


def backoff(policy: RetryPolicy, attempt: int) -> timedelta:
    """Return the pause after the failure of this attempt, counted from 1."""
    factor = {"fixed": 1, "linear": min(attempt, 1 << _DOUBLINGS), "exponential": 1 << min(attempt - 1, _DOUBLINGS)}[
        policy.backoff
    ]
    longest = policy.max or timedelta(days=1)
    return min(policy.initial * factor, longest)


class _Job(Generic[H]):
    """A message without a final verdict, or whose dead letter is not stored yet."""

    __slots__ = ("due_s", "failures", "handle", "inbound", "verdict")

    def __init__(self, handle: H, inbound: Inbound) -> None:
        self.handle = handle
        self.inbound = inbound
        self.failures = 0
        self.due_s = 0.0
        self.verdict: DeadLetter | None = None


class Delivery(Generic[H]):
    """The messages of one session that are not settled. One task at a time calls `turn`."""

    def __init__(
        self,
        *,
        sink: Sink,
        retry: RetryPolicy,
        dead_letter: Callable[[H, Inbound, DeadLetter], Awaitable[None]],
        aside: Aside | None = None,
        place: str = "",
        batch: int = 500,
        now_s: Callable[[], float] | None = None,
    ) -> None:
        """`dead_letter` stores a message aside; it returns when that is durable, or raises what a `Publisher` does.

        `aside` keeps it before that, told that its `place` is this one.
        `now_s` is the time that retries go by; None is the event loop's, which its sleeps go by too.
        """
        self._sink = sink
        self._retry = retry
        self._dead_letter = dead_letter
        self._aside = aside
        self._place = place
        self._batch = batch
        self._now_s = now_s or _loop_time
        self._jobs: dict[H, _Job[H]] = {}
        self.trouble = ""
        """Why dead letters cannot be stored at the moment; empty when they can."""

    def __len__(self) -> int:
        return len(self._jobs)

    def add(self, handle: H, inbound: Inbound) -> None:
        """Take a message; `handle` is the adapter's, unique among those not settled."""
        self._jobs[handle] = _Job(handle, inbound)

    def drop(self, gone: Callable[[H], bool]) -> None:
        """Forget messages that are no longer ours. Verdicts that are still to come for them are ignored."""
        self._jobs = {handle: job for handle, job in self._jobs.items() if not gone(handle)}

    def wait_s(self) -> float | None:
        """Return the seconds until a turn has work to do: 0 for now, None for not before a message is added."""
        if not self._jobs:
            return None
        return max(0.0, min(job.due_s for job in self._jobs.values()) - self._now_s())

    async def turn(self) -> list[H]:
        """Hand what is due to the sink and obey; return what is settled now, in order of arrival.

        1. one sink call  2. verdicts: settled, or due again later, or a dead letter  3. dead letters are stored.
        A dead letter that cannot be stored is kept and tried again without asking the sink again. What the sink
        raises passes through: it is a bug.
        """
        now_s = self._now_s()
        due = [job for job in self._jobs.values() if job.due_s <= now_s][: self._batch]
        asked = [job for job in due if job.verdict is None]
        settled: set[H] = set()
        if asked:
            verdicts = await self._sink([job.inbound for job in asked])
            for job, verdict in zip(asked, verdicts, strict=True):
                if self._obey(job, verdict):
                    settled.add(job.handle)
        settled |= await self._bury([job for job in due if job.verdict is not None])
        ours = [job.handle for job in due if job.handle in settled and self._jobs.get(job.handle) is job]
        for handle in ours:
            del self._jobs[handle]
        return ours

    def _obey(self, job: _Job[H], verdict: Verdict) -> bool:
        """Return whether the message is settled by this verdict."""
        match verdict:
            case Ack():
                return True
            case DeadLetter():
                job.verdict = verdict
            case Retry(reason=reason, after=after, counted=counted):
                job.failures += counted
                if counted and job.failures >= self._retry.max_attempts:
                    job.verdict = DeadLetter(code="exhausted", reason=reason)
                else:
                    pause = max(after, backoff(self._retry, max(job.failures, 1)))
                    job.due_s = self._now_s() + pause.total_seconds()
        return False

    async def _bury(self, jobs: list[_Job[H]]) -> set[H]:
        if not jobs:
            return set()
        async with asyncio.TaskGroup() as group:
            tasks = {job.handle: group.create_task(self._store_aside(job)) for job in jobs if self._is_ours(job)}
        stored = {handle for handle, task in tasks.items() if task.result()}
        if len(stored) == len(tasks):
            self.trouble = ""
        return stored

    async def _store_aside(self, job: _Job[H]) -> bool:
        assert job.verdict is not None  # noqa: S101  told to the type checker: only such jobs come here
        try:
            if self._aside is not None:
                await self._aside(job.inbound, job.verdict, self._place)
            await self._dead_letter(job.handle, job.inbound, job.verdict)
        except (BrokerUnavailable, Unroutable) as error:
            self.trouble = f"cannot store dead letters: {error}"
            job.due_s = self._now_s() + max(self._retry.initial.total_seconds(), _LEAST_PAUSE_S)
            return False
        return True

    def _is_ours(self, job: _Job[H]) -> bool:
        return self._jobs.get(job.handle) is job


def _loop_time() -> float:
    return asyncio.get_running_loop().time()
