"""Events become spans: each closed once, with ids and parents that follow from the log."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Any
from uuid import UUID

import pytest
from hypothesis import given
from hypothesis import strategies as st
from msgspec.structs import replace

from daemon.core import events as e
from daemon.core.evolve import fold
from daemon.core.spans import MAX_MESSAGE, Span, Trace, spans_of, trace_of
from daemon.core.state import INITIAL, Finished, State
from daemon.core.trace_ids import execution_span_id, step_span_id, trigger_span_id, wait_span_id
from daemon.core.values import NULL, to_json
from tests.core.histories import History, histories

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence

EXECUTION = UUID("0c0ffee0-0000-5000-8000-000000000001")
NOON = datetime(2026, 3, 1, 12, tzinfo=UTC)
TRACE = "0af7651916cd43dd8448eb211c80319c"
CALLER = "b7ad6b7169203331"
ERROR = e.StepError("card declined", "http_402", "Declined")


def minute(number: int) -> datetime:
    return NOON + timedelta(minutes=number)


def started(*, trigger: Any = None, traceparent: str | None = None, name: str | None = None) -> e.ExecutionStarted:
    return e.ExecutionStarted(
        execution_id=EXECUTION,
        workflow="orders",
        definition="d1",
        input=NULL,
        trigger=to_json(trigger),
        trigger_name=name,
        traceparent=traceparent,
        actor="test",
        at=NOON,
    )


def done(address: str, at: int, *, attempt: int = 1, port: str = "out", signal: str | None = None) -> e.StepSucceeded:
    return e.StepSucceeded(address=address, attempt=attempt, output=NULL, port=port, signal_id=signal, at=minute(at))


def failed(address: str, at: int, *, attempt: int = 1, retry_at: int | None = None) -> e.StepFailed:
    due = minute(retry_at) if retry_at is not None else None
    return e.StepFailed(address=address, attempt=attempt, error=ERROR, retry_at=due, at=minute(at))


def begun(address: str, at: int, *, attempt: int = 1) -> e.StepStarted:
    return e.StepStarted(address=address, attempt=attempt, input=NULL, at=minute(at))


def completed(at: int) -> e.ExecutionCompleted:
    return e.ExecutionCompleted(output=NULL, at=minute(at))


def traced(
    events: Sequence[e.Event], trace: Trace | None = None, state: State = INITIAL
) -> tuple[Trace | None, list[Span]]:
    """Follow the events, as the exporter does: an execution that is taken up after its end has a trace again."""
    spans: list[Span] = []
    for event in events:
        trace, closed = spans_of(trace, event)
        spans += closed
        if isinstance(event, e.UndoRequested):
            trace = trace_of(fold(_until(event, events), state)) if trace is None else trace
    return trace, spans


def _until(last: e.Event, events: Sequence[e.Event]) -> Iterator[e.Event]:
    """Give the events up to this one."""
    for event in events:
        yield event
        if event is last:
            return


def lines(*events: e.Event) -> list[str]:
    """Tell each span in a line: name, from, to in minutes, status."""
    return [
        f"{span.name} {(span.start - NOON).seconds // 60}-{(span.end - NOON).seconds // 60} "
        f"{span.attributes.get('sagad.status', '')}".rstrip()
        for span in traced(events)[1]
    ]


def shown(attributes: Mapping[str, Any]) -> dict[str, Any]:
    common = {"sagad.execution_id", "sagad.workflow", "sagad.definition"}
    return {name: value for name, value in attributes.items() if name not in common}


def test_an_execution_is_one_trace_with_a_span_for_each_attempt() -> None:
    _, (step, execution) = traced([started(), begun("charge", 1), done("charge", 3), completed(3)])
    assert execution == Span(
        trace_id=EXECUTION.hex,
        span_id=execution_span_id(EXECUTION),
        parent_id=None,
        name="orders",
        start=NOON,
        end=minute(3),
        attributes={
            "sagad.execution_id": str(EXECUTION),
            "sagad.workflow": "orders",
            "sagad.definition": "d1",
            "sagad.status": "completed",
        },
    )
    assert (step.trace_id, step.span_id) == (EXECUTION.hex, step_span_id(EXECUTION, "charge", 1))
    assert (step.parent_id, step.start, step.end) == (execution.span_id, minute(1), minute(3))
    assert shown(step.attributes) == {
        "sagad.step": "charge",
        "sagad.attempt": 1,
        "sagad.status": "succeeded",
        "sagad.port": "out",
    }


def test_a_retry_has_a_span_of_its_own_and_so_has_the_pause_before_it() -> None:
    due = e.TimerSet(timer_id="charge#retry", address="charge", purpose="retry", due=minute(5), at=minute(2))
    fired = e.TimerFired(timer_id="charge#retry", at=minute(5))
    again = begun("charge", 5, attempt=2)
    events: list[e.Event] = [started(), begun("charge", 1), failed("charge", 2, retry_at=5), due, fired, again]
    _, spans = traced([*events, done("charge", 6, attempt=2), completed(6)])
    assert lines(*events, done("charge", 6, attempt=2)) == [
        "charge 1-2 failed",
        "charge pause 2-5 ended",
        "charge 5-6 succeeded",
    ]
    assert spans[1].span_id == wait_span_id(EXECUTION, "charge", 2, "pause")


def test_a_failure_is_an_error_with_its_type_and_message() -> None:
    ended = e.ExecutionFailed(error=ERROR, address="charge", at=minute(2))
    _, (step, execution) = traced([started(), begun("charge", 1), failed("charge", 2), ended])
    for span in (step, execution):
        assert span.error == "card declined"
        assert span.attributes["error.type"] == "Declined"
        assert span.attributes["sagad.error_code"] == "http_402"
        assert span.attributes["sagad.status"] == "failed"
    assert execution.attributes["sagad.failed_step"] == "charge"


def test_a_long_error_is_cut() -> None:
    endless = replace(ERROR, message="x" * 100_000)
    _, (span,) = traced([started(), replace(failed("charge", 2), error=endless)])
    assert len(span.error or "") == MAX_MESSAGE


def test_waits_for_timers_and_signals_are_spans() -> None:
    timer = e.TimerSet(timer_id="nap#wait", address="nap", purpose="wait", due=minute(9), at=minute(1))
    asked = e.SignalAwaited(address="review", name="reviewed", at=minute(1))
    events: list[e.Event] = [
        started(),
        timer,
        asked,
        done("review", 4, signal="s1"),
        e.TimerFired(timer_id="nap#wait", at=minute(9)),
    ]
    _, (review, nap) = traced([*events, done("nap", 9)])
    assert (review.start, review.end, review.attributes["sagad.signal"]) == (minute(1), minute(4), "reviewed")
    assert (nap.start, nap.end, nap.attributes["sagad.wait"]) == (minute(1), minute(9), "timer")


def test_a_wait_for_a_slot_is_a_span() -> None:
    queued = e.StepQueued(address="charge", at=minute(1))
    assert lines(started(), queued, begun("charge", 4), done("charge", 5)) == [
        "charge queue 1-4 ended",
        "charge 4-5 succeeded",
    ]


def test_a_step_without_a_handler_has_a_span_of_no_length() -> None:
    skipped = e.StepSkipped(address="review", at=minute(2))
    assert lines(started(), done("large", 2, port="false"), skipped, failed("odd", 3)) == [
        "large 2-2 succeeded",
        "odd 3-3 failed",
    ]


def test_a_cached_result_has_a_span_that_tells_whose_it_is() -> None:
    origin = e.Origin(execution_id=UUID(int=7), address="quote", stored_at=NOON)
    hit = e.StepCached(address="quote", output=NULL, cache="w/quote", key="k", origin=origin, at=minute(2))
    _, [span] = traced([started(), begun("quote", 1), hit])
    assert span.attributes["sagad.status"] == "cached"
    assert span.attributes["sagad.cached_from"] == str(UUID(int=7))


def test_the_end_closes_what_is_open() -> None:
    timer = e.TimerSet(timer_id="a#wait", address="a", purpose="wait", due=minute(9), at=minute(1))
    limit = e.TimerSet(timer_id="execution", address="", purpose="execution", due=minute(9), at=NOON)
    queued = e.StepQueued(address="c", at=minute(1))
    wanted = e.CancelRequested(reason="enough", actor="test", at=minute(2))
    cancelled = e.ExecutionCancelled(reason="enough", at=minute(2))
    assert lines(started(), limit, timer, begun("b", 1), queued, wanted, cancelled) == [
        "a 1-2 cancelled",
        "b 1-2 cancelled",
        "c queue 1-2 cancelled",
        "orders 0-2 cancelled",
    ]


def test_a_clock_that_went_back_gives_no_span_of_negative_length() -> None:
    assert lines(started(), begun("a", 3), done("a", 2)) == ["a 3-3 succeeded"]


def test_steps_in_loops_have_their_nodes_name_and_their_own_ids() -> None:
    _, (first, second) = traced([started(), done("each[0].charge", 1), done("each[1].charge", 1)])
    assert first.name == second.name == "charge"
    assert first.span_id != second.span_id
    assert second.attributes["sagad.step"] == "each[1].charge"


@pytest.mark.parametrize(
    ("source", "key", "name", "kind", "attributes"),
    [
        (
            "kafka:orders/3@42",
            "k7",
            "process orders",
            "consumer",
            {
                "messaging.system": "kafka",
                "messaging.operation.type": "process",
                "messaging.operation.name": "process",
                "messaging.destination.name": "orders",
                "messaging.destination.partition.id": "3",
                "messaging.kafka.offset": 42,
                "messaging.kafka.message.key": "k7",
            },
        ),
        (
            "rabbitmq:orders/3@eu",
            None,
            "process orders/3@eu",
            "consumer",
            {
                "messaging.system": "rabbitmq",
                "messaging.operation.type": "process",
                "messaging.operation.name": "process",
                "messaging.destination.name": "orders/3@eu",
            },
        ),
        (
            "memory:orders@7",
            None,
            "process orders",
            "consumer",
            {
                "messaging.system": "memory",
                "messaging.operation.type": "process",
                "messaging.operation.name": "process",
                "messaging.destination.name": "orders",
            },
        ),
        (
            "kafka:a/b/0@0",
            None,
            "process a/b",
            "consumer",
            {
                "messaging.system": "kafka",
                "messaging.operation.type": "process",
                "messaging.operation.name": "process",
                "messaging.destination.name": "a/b",
                "messaging.destination.partition.id": "0",
                "messaging.kafka.offset": 0,
            },
        ),
        ("webhook:orders", None, "webhook orders", "server", {"http.route": "/hooks/orders"}),
        ("schedule:orders/nightly", None, "schedule orders/nightly", "internal", {}),
    ],
)
def test_the_message_has_a_span_between_its_sender_and_the_execution(
    source: str, key: str | None, name: str, kind: str, attributes: dict[str, Any]
) -> None:
    trigger: dict[str, Any] = {"name": "orders/in", "source": source, "key": key, "headers": {}}
    first = started(trigger=trigger, traceparent=f"00-{TRACE}-{CALLER}-01", name="orders/in")
    _, (message, execution) = traced([first, completed(1)])
    assert (message.name, message.kind) == (name, kind)
    assert shown(message.attributes) == {"sagad.trigger": "orders/in", **attributes}
    assert (message.trace_id, execution.trace_id) == (TRACE, TRACE)
    assert (message.span_id, message.parent_id, message.remote_parent) == (trigger_span_id(EXECUTION), CALLER, True)
    assert (execution.parent_id, execution.remote_parent) == (message.span_id, False)


@pytest.mark.parametrize("trigger", [None, {"source": "api", "name": "orders/api"}, {"source": 7}, "kafka:orders/3@42"])
def test_a_start_without_a_message_hangs_under_its_caller(trigger: object) -> None:
    _, (execution,) = traced([started(trigger=trigger, traceparent=f"00-{TRACE}-{CALLER}-01"), completed(1)])
    assert (execution.trace_id, execution.parent_id, execution.remote_parent) == (TRACE, CALLER, True)


def test_a_caller_that_does_not_sample_gets_no_spans() -> None:
    first = started(trigger={"source": "memory:orders@7"}, traceparent=f"00-{TRACE}-{CALLER}-00")
    assert lines(first, begun("a", 1), done("a", 2), completed(2)) == []


def test_what_is_open_in_a_turn_that_is_given_up_is_cancelled() -> None:
    begun_fan = e.FanOutExpanded(address="fan", total=2, at=minute(1))
    turns: list[e.Event] = [e.TurnStarted(address=f"fan[{number}]", at=minute(1)) for number in range(2)]
    postponed = e.StepPostponed(address="fan[0].poll", due=minute(9), at=minute(2))
    at_work: list[e.Event] = [begun("fan[0].poll", 1), begun("fan[0].work", 1), begun("fan[1].work", 1), postponed]
    given_up = e.TurnAbandoned(address="fan[0]", at=minute(3))
    assert lines(started(), begun_fan, *turns, *at_work, given_up) == [
        "poll 1-2 postponed",
        "poll pause 2-3 cancelled",
        "work 1-3 cancelled",
    ]


def test_a_state_tells_what_is_open() -> None:
    events: list[e.Event] = [
        started(),
        done("settled", 1),
        begun("at_work", 1),
        begun("broken", 1),
        failed("broken", 2, retry_at=5),
        e.StepQueued(address="queued", at=minute(1)),
        e.SignalAwaited(address="review", name="reviewed", at=minute(1)),
        e.TimerSet(timer_id="nap#wait", address="nap", purpose="wait", due=minute(9), at=minute(1)),
    ]
    trace = trace_of(fold(events))
    assert trace == traced(events)[0]
    assert trace is not None
    kinds = {address: what.kind for address, what in trace.open.items()}
    assert kinds == {"at_work": "handler", "broken": "pause", "queued": "queue", "review": "signal", "nap": "timer"}
    assert trace_of(fold([*events, completed(9)])) is None


def test_nothing_is_traced_before_the_start() -> None:
    early = e.SignalReceived(signal_id="s1", name="go", data=NULL, actor="test", at=NOON)
    assert traced([early]) == (None, [])


@given(histories())
def test_ids_are_unique_and_every_parent_is_there(history: History) -> None:
    """Whatever happens: no span twice, none open after the end, all in one tree."""
    trace, spans = traced(history.events)
    ids = [span.span_id for span in spans]
    lives = 1 + sum(isinstance(event, e.UndoRequested) for event in history.events)
    again = ids.count(execution_span_id(EXECUTION)) - 1
    assert again < lives
    assert len(ids) - len(set(ids)) == max(again, 0), "only the span of an execution that was taken up again"
    assert all(span.end >= span.start for span in spans)
    if history.turns and isinstance(history.turns[-1].after, Finished):
        assert trace is None
        assert {span.parent_id for span in spans} <= {None, *ids}
        assert {span.trace_id for span in spans} == {EXECUTION.hex}
        attempts = {step_span_id(EXECUTION, event.address, event.attempt) for event in _started(history)}
        assert attempts <= set(ids)


@given(histories(), st.data())
def test_a_trace_can_be_forgotten_anywhere(history: History, data: st.DataObject) -> None:
    """The state holds all that a trace needs to go on, and going on gives the same spans."""
    cut = data.draw(st.integers(0, len(history.events)))
    trace, before = traced(history.events[:cut])
    assert trace_of(fold(history.events[:cut])) == trace
    after = traced(history.events[cut:], trace, fold(history.events[:cut]))[1]
    assert before + after == traced(history.events)[1]


def _started(history: History) -> list[e.StepStarted]:
    return [event for event in history.events if isinstance(event, e.StepStarted)]


def test_what_is_given_up_for_an_undo_is_cancelled_and_what_is_waited_for_goes_on() -> None:
    planned = e.UndoPlanned(status="cancelled", mode="automatic", draining=("pay",), at=minute(3))
    trace, spans = traced([started(), begun("pay", 1), begun("look", 1), begun("old~undo", 2), planned])
    assert trace is not None
    assert set(trace.open) == {"pay", "old~undo"}
    assert [(span.name, span.attributes["sagad.status"]) for span in spans] == [("look", "cancelled")]


def test_waits_for_people_have_spans() -> None:
    """An approval is one from its question to its decision; a dropped notice and a pause for input are waits."""
    events: list[e.Event] = [
        started(),
        e.ApprovalRequested(address="ask", prompt="?", approvers=("ann",), need=1, at=minute(1)),
        e.StepQueued(address="ask[0]~notify", at=minute(1)),
        begun("pick", 1),
        e.StepSuspended(address="pick", reason="which?", at=minute(2)),
    ]
    assert trace_of(fold(events)) == traced(events)[0]
    skipped = e.StepSkipped(address="ask[0]~notify", at=minute(4))
    assert lines(*events, skipped, done("ask", 4, port="approved"), begun("pick", 5, attempt=2)) == [
        "pick 1-2 suspended",
        "ask~notify queue 1-4 cancelled",
        "ask 1-4 succeeded",
        "pick pause 2-5 ended",
    ]
