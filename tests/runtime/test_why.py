"""`why` names what an execution waits for, and how it ended."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import Any
from uuid import UUID

from daemon.core import events as e
from daemon.core.evolve import fold
from daemon.core.values import Json
from daemon.runtime.why import Why, why
from tests.support.workflows import plan_of

T0 = datetime(2030, 1, 1, 12, 0, tzinfo=UTC)
NOW = T0 + timedelta(minutes=5)
STARTED = e.ExecutionStarted(
    execution_id=UUID(int=1), workflow="w", definition="d" * 64, input=Json(b"{}"), actor="test", at=T0
)


def asked(*events: Any) -> Why:
    return why(fold([STARTED, *events]), None, NOW)


def test_a_step_at_work_is_named_with_its_attempt() -> None:
    answer = asked(e.StepStarted(address="charge", input=Json(b"1"), at=T0))
    assert answer.summary == "It waits for 1 thing. No daemon has it now: the next one that has room takes it up."
    (cause,) = answer.causes
    assert (cause.kind, cause.address, cause.attempt, cause.since) == ("step", "charge", 1, T0)
    sentence = "Step charge: the handler is at work, attempt 1 since 2030-01-01 12:00:00 UTC (5m)."
    assert cause.sentence == sentence


def test_the_daemon_that_has_the_lease_is_named_while_a_handler_is_owed() -> None:
    at_work = fold([STARTED, e.StepStarted(address="charge", input=Json(b"1"), at=T0)])
    answer = why(at_work, None, NOW, holder="shop-2:17")
    assert (answer.summary, answer.daemon) == ("It waits for 1 thing. Daemon shop-2:17 works on it.", "shop-2:17")
    waiting = fold([STARTED, e.SignalAwaited(address="review", name="reviewed", at=T0)])
    answer = why(waiting, None, NOW, holder="shop-2:17")
    assert (answer.summary, answer.daemon) == ("It waits for 1 thing.", None)


def test_the_plan_adds_how_many_attempts_there_are() -> None:
    plan = plan_of("workflow: w\nnodes: {charge: {task: a, retry: {max_attempts: 5}}}")
    state = fold([STARTED, e.StepStarted(address="charge", input=Json(b"1"), at=T0)])
    (cause,) = why(state, plan, NOW).causes
    assert (cause.max_attempts, "attempt 1 of 5" in cause.sentence) == (5, True)


def test_a_retry_names_the_error_and_the_due_time() -> None:
    due = NOW + timedelta(seconds=90)
    (cause,) = asked(
        e.StepStarted(address="charge", input=Json(b"1"), at=T0),
        e.StepFailed(address="charge", error=e.StepError("no money", "declined"), retry_at=due, at=T0),
        e.TimerSet(timer_id="charge#retry", address="charge", purpose="retry", due=due, at=T0),
    ).causes
    assert (cause.kind, cause.due, cause.attempt) == ("retry", due, 2)
    assert "attempt 1 failed (no money); attempt 2 is due at 2030-01-01 12:06:30 UTC (in 1m30s)" in cause.sentence


def test_a_handler_that_is_called_again_is_named_with_the_time() -> None:
    due = NOW + timedelta(seconds=90)
    plan = plan_of("workflow: w\nnodes: {poll: {task: a, retry: {max_attempts: 3}}}")
    waiting = fold(
        [
            STARTED,
            e.StepStarted(address="poll", input=Json(b"1"), at=T0),
            e.StepPostponed(address="poll", due=due, at=T0),
            e.TimerSet(timer_id="poll#retry", address="poll", purpose="retry", due=due, at=T0),
        ]
    )
    (cause,) = why(waiting, plan, NOW).causes
    assert (cause.kind, cause.due, cause.attempt, cause.max_attempts) == ("postponed", due, 2, 4)
    asked_for = "Step poll: attempt 1 has asked for another; attempt 2 of 4 is called"
    assert cause.sentence == f"{asked_for} at 2030-01-01 12:06:30 UTC (in 1m30s)."


def test_a_signal_is_named_with_its_limit() -> None:
    due = T0 + timedelta(hours=24)
    (cause,) = asked(
        e.SignalAwaited(address="review", name="reviewed", at=T0),
        e.TimerSet(timer_id="review#signal", address="review", purpose="signal", due=due, at=T0),
    ).causes
    assert (cause.kind, cause.signal, cause.due) == ("signal", "reviewed", due)
    assert "waits for the signal 'reviewed' since" in cause.sentence
    assert "at the latest at 2030-01-02 12:00:00 UTC (in 23h55m)" in cause.sentence


def test_a_signal_without_limit_says_so() -> None:
    (cause,) = asked(e.SignalAwaited(address="review", name="reviewed", at=T0)).causes
    assert cause.sentence.endswith("without a time limit.")


def test_a_timer_that_has_come_is_due_now() -> None:
    due = T0 + timedelta(seconds=1)
    (cause,) = asked(e.TimerSet(timer_id="nap#wait", address="nap", purpose="wait", due=due, at=T0)).causes
    assert cause.kind == "timer"
    assert "due now (since 2030-01-01 12:00:01 UTC)" in cause.sentence


def test_the_place_in_the_queue_is_told_and_work_goes_first() -> None:
    answer = asked(
        e.StepStarted(address="a", input=Json(b"1"), at=T0),
        e.StepQueued(address="b", at=T0),
        e.StepQueued(address="c", at=T0),
    )
    assert [(cause.kind, cause.address, cause.place) for cause in answer.causes] == [
        ("step", "a", None),
        ("slot", "b", 1),
        ("slot", "c", 2),
    ]
    assert answer.summary.startswith("It waits for 3 things.")


def test_the_limit_of_the_whole_execution_is_told() -> None:
    answer = asked(
        e.TimerSet(timer_id="execution", address="", purpose="execution", due=T0 + timedelta(hours=1), at=T0),
        e.SignalAwaited(address="review", name="reviewed", at=T0),
    )
    assert answer.summary == "It waits for 1 thing. Its own time limit ends at 2030-01-01 13:00:00 UTC (in 55m)."


def test_waiting_for_nothing_is_an_alarm() -> None:
    answer = asked()
    assert answer.alarm
    assert "fault" in answer.summary


def test_an_end_is_told_with_its_reason() -> None:
    completed = asked(e.ExecutionCompleted(output=Json(b"1"), at=T0 + timedelta(seconds=75)))
    assert completed.summary == "It completed at 2030-01-01 12:01:15 UTC, after 1m15s."
    failed = asked(e.ExecutionFailed(error=e.StepError("no", "declined", attempt=3), address="charge", at=T0))
    assert failed.summary == "Step charge failed in attempt 3 at 2030-01-01 12:00:00 UTC, after 0s: no (code declined)"
    cancelled = asked(e.ExecutionCancelled(reason="twice", at=T0))
    assert cancelled.summary.endswith(": twice")
    assert all(not answer.causes and not answer.alarm for answer in (completed, failed, cancelled))


def test_a_signal_before_the_start_waits_for_the_start() -> None:
    received = e.SignalReceived(signal_id="1", name="reviewed", data=Json(b"true"), actor="test", at=T0)
    answer = why(fold([received]), None, NOW)
    assert (answer.status, answer.causes[0].kind) == ("pending", "start")
    assert "Signalled (reviewed), but not started yet" in answer.summary


def test_a_loop_that_takes_breath_says_so() -> None:
    answer = asked(
        e.LoopStarted(address="each", total=9, at=T0),
        e.TimerSet(timer_id="each#turn-5", address="each", purpose="turn", due=T0, at=T0),
    )
    (cause,) = answer.causes
    assert (answer.alarm, cause.kind, cause.address) == (False, "timer", "each")
    assert cause.sentence == "Step each: the loop goes on at once, in its next decision."


def test_a_pause_names_who_wanted_it_and_why() -> None:
    answer = asked(
        e.SignalAwaited(address="review", name="reviewed", at=T0),
        e.ExecutionPaused(reason="lunch", actor="ann", at=T0),
    )
    assert (answer.status, [cause.kind for cause in answer.causes]) == ("paused", ["pause", "signal"])
    assert answer.causes[0].sentence.startswith(
        "Paused by ann since 2030-01-01 12:00:00 UTC (5m): lunch. `sagad resume`"
    )


def test_a_rewind_is_told_until_it_goes_on() -> None:
    """What is undone first, and then that nothing more is waited for but the daemon."""
    requested = e.RewindRequested(to_version=1, mode="automatic", actor="ann", at=T0)
    planned = e.UndoPlanned(status="rewound", mode="automatic", down_to=1, at=T0)
    done = e.UndoCompleted(compensated=0, by_hand=0, skipped=0, at=T0)
    answer = asked(requested, planned, done)
    assert (answer.status, answer.alarm) == ("compensating", False)
    assert "is being rewound to version 1" in answer.summary
    assert [cause.sentence for cause in answer.causes] == [
        "All is undone that it had done since version 1: it goes on from there."
    ]
