"""What is committed is counted, under names and labels that a dashboard can rely on."""

from __future__ import annotations

import json
import re
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import TYPE_CHECKING, Any
from uuid import UUID, uuid4

import pytest
from hypothesis import given
from prometheus_client.parser import text_string_to_metric_families

from daemon.core import events as e
from daemon.core.evolve import fold
from daemon.core.state import INITIAL, Finished, NotStarted, State
from daemon.core.values import NULL
from daemon.runtime.engine import Committed
from daemon.runtime.measured_log import MeasuredLog
from daemon.runtime.metrics import Metrics
from eventstore.codec import Codec
from eventstore.errors import Conflict
from eventstore.log import Append
from eventstore.store import open_store
from tests.core.histories import History, histories
from triggers.message import Ack, ConnectionStatus, DeadLetter, Retry

if TYPE_CHECKING:
    from collections.abc import Mapping

    from triggers.message import Verdict

EXECUTION = UUID("0c0ffee0-0000-5000-8000-000000000001")
NOON = datetime(2026, 3, 1, 12, tzinfo=UTC)
DASHBOARD = Path(__file__).parents[2] / "deploy" / "grafana" / "sagad.json"
ORDERS = {"workflow": "orders"}
CHARGE = {"workflow": "orders", "node": "charge"}


def second(number: int) -> datetime:
    return NOON + timedelta(seconds=number)


STARTED = e.ExecutionStarted(
    execution_id=EXECUTION, workflow="orders", definition="d1", input=NULL, actor="test", at=NOON
)
FAILURE = e.StepError("declined", "http_402")


def begun(at: int, *, address: str = "charge", attempt: int = 1) -> e.StepStarted:
    return e.StepStarted(address=address, attempt=attempt, input=NULL, at=second(at))


def done(at: int, *, address: str = "charge", attempt: int = 1) -> e.StepSucceeded:
    return e.StepSucceeded(address=address, attempt=attempt, output=NULL, at=second(at))


@pytest.fixture
def metrics() -> Metrics:
    return Metrics()


def commit(metrics: Metrics, *batches: tuple[e.Event, ...], state: State = INITIAL) -> State:
    """Commit each batch as one append."""
    for events in batches:
        after = fold(events, state)
        metrics.committed(Committed(EXECUTION, state, events, after))
        state = after
    return state


def value(metrics: Metrics, name: str, labels: Mapping[str, str] | None = None) -> float | None:
    return metrics.registry.get_sample_value(name, dict(labels or {}))


def test_an_execution_is_counted_from_start_to_end(metrics: Metrics) -> None:
    commit(metrics, (STARTED, begun(0)), (done(3), e.ExecutionCompleted(output=NULL, at=second(3))))
    finished = {**ORDERS, "status": "completed"}
    assert value(metrics, "sagad_executions_started_total", ORDERS) == 1
    assert value(metrics, "sagad_executions_finished_total", finished) == 1
    assert value(metrics, "sagad_execution_duration_seconds_sum", finished) == 3
    assert value(metrics, "sagad_steps_total", {**CHARGE, "outcome": "succeeded"}) == 1
    assert value(metrics, "sagad_step_attempts_total", CHARGE) == 1
    assert value(metrics, "sagad_step_duration_seconds_sum", CHARGE) == 3
    assert value(metrics, "sagad_events_total", {"type": "StepSucceeded"}) == 1


def test_a_retry_is_an_attempt_more_and_no_settled_step(metrics: Metrics) -> None:
    again = e.StepFailed(address="charge", error=FAILURE, retry_at=second(9), at=second(2))
    timer = e.TimerSet(timer_id="charge#retry", address="charge", purpose="retry", due=second(9), at=second(2))
    second_try = e.StepStarted(address="charge", attempt=2, at=second(9))
    last = e.StepFailed(address="charge", attempt=2, error=FAILURE, at=second(10))
    fired = e.TimerFired(timer_id="charge#retry", at=second(9))
    commit(metrics, (STARTED, begun(0)), (again, timer), (fired, second_try), (last,))
    assert value(metrics, "sagad_step_attempts_total", CHARGE) == 2
    assert value(metrics, "sagad_step_retries_total", CHARGE) == 1
    assert value(metrics, "sagad_steps_total", {**CHARGE, "outcome": "failed"}) == 1
    assert value(metrics, "sagad_step_duration_seconds_count", CHARGE) == 2
    assert value(metrics, "sagad_step_duration_seconds_sum", CHARGE) == 3


def test_a_postponed_attempt_is_no_retry_and_no_settled_step(metrics: Metrics) -> None:
    commit(metrics, (STARTED, begun(0)), (e.StepPostponed(address="charge", due=second(9), at=second(2)),))
    assert value(metrics, "sagad_step_postponements_total", CHARGE) == 1
    assert value(metrics, "sagad_step_retries_total", CHARGE) is None
    assert value(metrics, "sagad_step_duration_seconds_sum", CHARGE) == 2


def test_steps_without_a_handler_have_no_duration(metrics: Metrics) -> None:
    commit(metrics, (STARTED, done(0, address="large"), e.StepSkipped(address="review", at=NOON)))
    assert value(metrics, "sagad_steps_total", {**ORDERS, "node": "large", "outcome": "succeeded"}) == 1
    assert value(metrics, "sagad_steps_total", {**ORDERS, "node": "review", "outcome": "skipped"}) == 1
    assert value(metrics, "sagad_step_duration_seconds_count", {**ORDERS, "node": "large"}) is None


def test_turns_of_a_loop_are_one_node(metrics: Metrics) -> None:
    events: list[e.Event] = [STARTED, e.LoopStarted(address="each", total=50, at=NOON)]
    for turn in range(50):
        events.append(e.TurnStarted(address=f"each[{turn}]", at=NOON))
        events.append(done(0, address=f"each[{turn}].charge"))
    commit(metrics, tuple(events))
    assert value(metrics, "sagad_steps_total", {**CHARGE, "outcome": "succeeded"}) == 50


def test_a_clock_that_went_back_counts_as_no_time(metrics: Metrics) -> None:
    commit(metrics, (STARTED, begun(9)), (done(3), e.ExecutionCancelled(reason="", at=second(-1))))
    assert value(metrics, "sagad_step_duration_seconds_sum", CHARGE) == 0
    assert value(metrics, "sagad_execution_duration_seconds_sum", {**ORDERS, "status": "cancelled"}) == 0


def test_a_signal_before_the_start_has_no_workflow_yet(metrics: Metrics) -> None:
    early = e.SignalReceived(signal_id="s1", name="go", data=NULL, actor="test", at=NOON)
    assert isinstance(commit(metrics, (early,)), NotStarted)
    assert value(metrics, "sagad_events_total", {"type": "SignalReceived"}) == 1


@given(histories())
def test_the_sums_are_right_for_any_execution(history: History) -> None:
    metrics = Metrics()
    for turn in history.turns:
        if turn.events:
            metrics.committed(Committed(EXECUTION, turn.before, turn.events, turn.after))
    events = history.events
    attempts = sum(isinstance(event, e.StepStarted) for event in events)
    settled = sum(
        isinstance(event, e.StepSucceeded | e.StepCached | e.StepSkipped)
        or (isinstance(event, e.StepFailed) and not event.retry_at)
        for event in events
    )
    ended = bool(history.turns) and isinstance(history.turns[-1].after, Finished)
    assert total(metrics, "sagad_step_attempts_total") == attempts
    assert total(metrics, "sagad_steps_total") == settled
    assert total(metrics, "sagad_executions_finished_total") == int(ended)
    assert total(metrics, "sagad_step_duration_seconds_count") <= attempts


def total(metrics: Metrics, name: str) -> float:
    return sum(
        sample.value for family in metrics.registry.collect() for sample in family.samples if sample.name == name
    )


@pytest.mark.parametrize(
    ("verdict", "outcome"),
    [
        (Ack("started", EXECUTION), "started"),
        (Ack("duplicate", EXECUTION), "duplicate"),
        (Ack("filtered"), "filtered"),
        (Retry("store away", timedelta(seconds=1), counted=False), "retry"),
        (DeadLetter("not JSON", "undecodable"), "dead_letter"),
    ],
)
def test_messages_are_counted_by_verdict(metrics: Metrics, verdict: Verdict, outcome: str) -> None:
    metrics.message("orders/in", verdict)
    assert value(metrics, "sagad_messages_total", {"trigger": "orders/in", "outcome": outcome}) == 1


async def test_commits_of_the_log_are_measured(metrics: Metrics) -> None:
    store = await open_store("memory://", Codec(e.EVENT_TYPES, e.UPCASTERS))
    log = MeasuredLog(store.log, metrics)
    append = Append(EXECUTION, 0, (STARTED, begun(0)))
    await log.insert([append])
    with pytest.raises(Conflict):
        await log.insert([append])
    with pytest.raises(TypeError):
        await log.insert([Append(uuid4(), 0, ("no event",))])
    for outcome in ("committed", "conflict", "failed"):
        assert value(metrics, "sagad_append_duration_seconds_count", {"outcome": outcome}) == 1
    assert value(metrics, "sagad_append_events_sum") == 2
    assert await log.head() == 2
    assert await log.read(EXECUTION) == await log.read_all() == await store.log.read_all()


async def test_what_is_now_is_read_at_each_exposition(metrics: Metrics) -> None:
    statuses = [
        ConnectionStatus("orders/in", connected=True),
        ConnectionStatus("kafka", connected=True),
        ConnectionStatus("kafka", connected=False),
    ]
    now: dict[str, float] = {"active": 3, "parked": 1, "handlers": 2}
    metrics.watch(
        active=lambda: now["active"],
        parked=lambda: now["parked"],
        handlers=lambda: now["handlers"],
        connections=lambda: statuses,
    )
    first = await exposed(metrics)
    assert first["sagad_executions_active"] == 3
    assert first["sagad_executions_parked"] == 1
    assert first["sagad_handlers_running"] == 2
    assert first['sagad_connection_up{name="orders/in"}'] == 1
    assert first['sagad_connection_up{name="kafka"}'] == 0
    now["active"] = 0
    statuses.clear()
    second_time = await exposed(metrics)
    assert second_time["sagad_executions_active"] == 0
    assert not any(name.startswith("sagad_connection_up") for name in second_time)


async def test_the_build_and_the_process_are_shown(metrics: Metrics) -> None:
    names = await exposed(metrics)
    assert any(re.fullmatch(r'sagad_build_info\{python="[^"]+",version="[^"]+"\}', name) for name in names)
    assert "process_resident_memory_bytes" in names


async def exposed(metrics: Metrics) -> dict[str, float]:
    text = (await metrics.exposition()).decode()
    return {
        sample.name + _labels(sample.labels): sample.value
        for family in text_string_to_metric_families(text)
        for sample in family.samples
    }


def _labels(labels: Mapping[str, str]) -> str:
    inside = ",".join(f'{name}="{labels[name]}"' for name in sorted(labels))
    return f"{{{inside}}}" if inside else ""


def test_two_daemons_in_one_process_do_not_share_metrics() -> None:
    first, other = Metrics(), Metrics()
    commit(first, (STARTED,))
    assert value(other, "sagad_executions_started_total", ORDERS) is None


def test_the_dashboard_asks_only_for_metrics_that_exist(metrics: Metrics) -> None:
    """A renamed metric would leave a panel empty, and nobody would notice."""
    known = {family.name: family for family in metrics.registry.collect()}
    queries = [target["expr"] for panel in _panels() for target in panel["targets"]]
    assert queries
    for query in queries:
        for name in re.findall(r"\bsagad_\w+", query):
            assert re.sub(r"_(total|bucket|sum|count)$", "", name) in known, name
    assert len({panel["id"] for panel in _panels()}) == len(_panels())


def _panels() -> list[dict[str, Any]]:
    dashboard = json.loads(DASHBOARD.read_text())
    return [panel for panel in dashboard["panels"] if panel["type"] != "row"]
