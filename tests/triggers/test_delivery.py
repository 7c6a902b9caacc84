"""Verdicts obeyed, without a broker."""

from collections.abc import Iterator, Sequence
from datetime import UTC, datetime, timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.triggers.sinks import STARTED, RecordingSink
from triggers.delivery import Delivery, backoff
from triggers.errors import BrokerUnavailable, Unroutable
from triggers.message import Ack, DeadLetter, Inbound, Retry, RetryPolicy, Verdict

SECOND = timedelta(seconds=1)
POLICY = RetryPolicy(max_attempts=3, backoff="exponential", initial=SECOND, max=timedelta(seconds=3))


class Scene:
    """A delivery with a clock that is moved by hand."""

    def __init__(self, *verdicts: Verdict, policy: RetryPolicy = POLICY, batch: int = 500) -> None:
        self.now_s = 0.0
        self.verdicts: Iterator[Verdict] = iter(verdicts)
        self.sink = RecordingSink(lambda _: next(self.verdicts))
        self.buried: list[tuple[int, DeadLetter]] = []
        self.burial_errors: list[Exception] = []
        self.delivery = Delivery[int](
            sink=self.sink, retry=policy, dead_letter=self._bury, batch=batch, now_s=lambda: self.now_s
        )

    async def _bury(self, handle: int, _inbound: Inbound, verdict: DeadLetter) -> None:
        if self.burial_errors:
            raise self.burial_errors.pop(0)
        self.buried.append((handle, verdict))

    def add(self, *handles: int) -> None:
        for handle in handles:
            self.delivery.add(handle, message(handle))


def message(number: int) -> Inbound:
    return Inbound(
        trigger="shop/orders",
        source="test",
        identity=str(number),
        body=str(number).encode(),
        received_at=datetime(2026, 1, 1, tzinfo=UTC),
    )


async def test_a_turn_settles_what_is_acknowledged_in_one_call() -> None:
    scene = Scene(STARTED, Ack(outcome="filtered"))
    scene.add(1, 2)
    assert await scene.delivery.turn() == [1, 2]
    assert len(scene.sink.batches) == 1
    assert (len(scene.delivery), scene.delivery.wait_s()) == (0, None)


async def test_a_turn_with_nothing_due_calls_nobody() -> None:
    scene = Scene(Retry("later", after=SECOND, counted=True))
    scene.add(1)
    await scene.delivery.turn()
    assert scene.delivery.wait_s() == 1.0
    assert await scene.delivery.turn() == []
    assert len(scene.sink.batches) == 1


async def test_counted_retries_back_off_and_end_as_a_dead_letter_with_the_last_reason() -> None:
    scene = Scene(*[Retry(f"no {n}", after=timedelta(0), counted=True) for n in (1, 2, 3)])
    scene.add(1)
    waits: list[float | None] = []
    settled: list[int] = []
    while not scene.buried:
        settled = await scene.delivery.turn()
        waits.append(scene.delivery.wait_s())
        scene.now_s += 10
    assert waits == [1.0, 2.0, None]
    assert settled == [1]
    assert scene.buried == [(1, DeadLetter(code="exhausted", reason="no 3"))]


async def test_uncounted_retries_never_end() -> None:
    scene = Scene(*[Retry("store is away", after=timedelta(0), counted=False)] * 50, STARTED)
    scene.add(1)
    for _ in range(50):
        assert await scene.delivery.turn() == []
        assert scene.delivery.wait_s() == 1.0
        scene.now_s += 1
    assert await scene.delivery.turn() == [1]


async def test_the_sink_can_ask_for_a_longer_pause() -> None:
    scene = Scene(Retry("busy", after=timedelta(seconds=42), counted=False))
    scene.add(1)
    await scene.delivery.turn()
    assert scene.delivery.wait_s() == 42.0


@pytest.mark.parametrize("error", [BrokerUnavailable("away"), Unroutable("no such topic")])
async def test_a_dead_letter_that_cannot_be_stored_is_kept_and_the_sink_is_not_asked_again(error: Exception) -> None:
    scene = Scene(DeadLetter("bad", code="invalid"), STARTED)
    scene.burial_errors = [error]
    scene.add(1, 2)
    assert await scene.delivery.turn() == [2]
    assert str(error) in scene.delivery.trouble
    scene.now_s += 1
    assert await scene.delivery.turn() == [1]
    assert len(scene.sink.seen) == 2
    assert scene.delivery.trouble == ""


async def test_a_bug_while_storing_a_dead_letter_is_not_swallowed() -> None:
    scene = Scene(DeadLetter("bad", code="invalid"))
    scene.burial_errors = [ZeroDivisionError()]
    scene.add(1)
    with pytest.RaisesGroup(ZeroDivisionError):
        await scene.delivery.turn()


async def test_verdicts_for_messages_that_are_no_longer_ours_are_ignored() -> None:
    """Here 2 was taken away and given back while the sink had it: what counts is the new one."""
    scene = Scene(DeadLetter("bad", code="invalid"), STARTED, STARTED)
    scene.add(1, 2)

    def lose_all(_message: Inbound) -> Verdict:
        scene.delivery.drop(lambda _: True)
        if not len(scene.delivery):
            scene.add(2)
        return next(scene.verdicts)

    scene.sink.decide = lose_all
    assert await scene.delivery.turn() == []
    assert scene.buried == []
    assert len(scene.delivery) == 1


async def test_a_batch_is_bounded_and_in_order_of_arrival() -> None:
    scene = Scene(*[STARTED] * 5, batch=2)
    scene.add(5, 1, 4, 2, 3)
    assert [await scene.delivery.turn() for _ in range(3)] == [[5, 1], [4, 2], [3]]


async def test_a_sink_that_does_not_answer_for_each_message_is_a_bug() -> None:
    async def forgetful(batch: Sequence[Inbound]) -> Sequence[Verdict]:
        return []

    delivery = Delivery[int](sink=forgetful, retry=POLICY, dead_letter=Scene()._bury)
    delivery.add(1, message(1))
    with pytest.raises(ValueError, match="shorter"):
        await delivery.turn()


@given(
    st.sampled_from(["fixed", "linear", "exponential"]),
    st.integers(1, 10**9),
    st.timedeltas(min_value=timedelta(milliseconds=1), max_value=timedelta(days=30)),
)
def test_backoff_grows_and_never_passes_its_maximum(kind: str, attempt: int, longest: timedelta) -> None:
    policy = RetryPolicy(backoff=kind, initial=timedelta(milliseconds=1), max=longest)
    pause, later = backoff(policy, attempt), backoff(policy, attempt + 1)
    assert timedelta(milliseconds=1) <= pause <= later <= longest


@given(st.lists(st.sampled_from(["ack", "dead", "again", "away"]), min_size=1, max_size=60))
async def test_whatever_the_verdicts_each_message_is_settled_exactly_once(answers: list[str]) -> None:
    verdicts: dict[str, Verdict] = {
        "ack": STARTED,
        "dead": DeadLetter("bad", code="invalid"),
        "again": Retry("again", after=timedelta(0), counted=True),
        "away": Retry("away", after=timedelta(0), counted=False),
    }
    scene = Scene()
    pending = iter(answers)
    scene.sink.decide = lambda _: verdicts[next(pending, "ack")]
    scene.add(*range(8))
    settled: list[int] = []
    while len(scene.delivery):
        settled += await scene.delivery.turn()
        scene.now_s += 10
    assert sorted(settled) == list(range(8))
    assert len(scene.sink.acked) + len(scene.buried) == 8
