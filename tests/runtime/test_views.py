"""Executions and events as JSON."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import Any
from uuid import UUID

from daemon.core import events as e
from daemon.core.events import EVENT_TYPES
from daemon.core.evolve import fold
from daemon.core.values import Json
from daemon.runtime.timings import timings
from daemon.runtime.views import encode, event_view, execution_view, plain, state_view
from eventstore.log import Recorded

T0 = datetime(2030, 1, 1, tzinfo=UTC)
ID = UUID(int=7)
EVENTS: list[Any] = [
    e.ExecutionStarted(execution_id=ID, workflow="w", definition="d", input=Json(b'{"n": 1}'), actor="test", at=T0),
    e.StepStarted(address="a", input=Json(b'{"x":1}'), at=T0),
    e.StepFailed(
        address="a", error=e.StepError("no", "error"), retry_at=T0 + timedelta(seconds=2), at=T0 + timedelta(seconds=1)
    ),
    e.TimerSet(timer_id="a#retry", address="a", purpose="retry", due=T0 + timedelta(seconds=2), at=T0),
    e.TimerFired(timer_id="a#retry", at=T0 + timedelta(seconds=2)),
    e.StepStarted(address="a", attempt=2, at=T0 + timedelta(seconds=2)),
    e.StepSucceeded(address="a", attempt=2, output=Json(b'"done"'), at=T0 + timedelta(seconds=5)),
    e.StepSkipped(address="b", at=T0 + timedelta(seconds=5)),
    e.ExecutionCompleted(output=Json(b'{"a":"done"}'), at=T0 + timedelta(seconds=5)),
]
HISTORY = [Recorded(ID, number, 10 + number, event) for number, event in enumerate(EVENTS, 1)]


def test_an_event_has_its_place_its_name_and_its_fields() -> None:
    assert plain(event_view(HISTORY[0])) == {
        "version": 1,
        "position": 11,
        "type": "ExecutionStarted",
        "at": "2030-01-01T00:00:00Z",
        "data": {
            "execution_id": str(ID),
            "workflow": "w",
            "definition": "d",
            "input": {"n": 1},
            "trigger": None,
            "trigger_name": None,
            "dedupe_key": None,
            "traceparent": None,
            "parent": None,
            "subject": "",
            "actor": "test",
        },
    }


def test_every_type_of_event_has_a_view() -> None:
    """A new event type is shown without a change here."""
    assert {event.NAME for event in EVENTS} <= {event.NAME for event in EVENT_TYPES}
    assert all(encode(event_view(recorded)) for recorded in HISTORY)


def test_an_execution_shows_each_attempt_with_times_and_errors() -> None:
    view = plain(execution_view(ID, fold(EVENTS), HISTORY))
    assert (view["status"], view["output"], view["version"]) == ("completed", {"a": "done"}, 9)
    first, second = view["steps"]
    assert (first["address"], first["status"], first["output"], first["input"]) == ("a", "succeeded", "done", {"x": 1})
    assert [attempt["duration_ms"] for attempt in first["attempts"]] == [1000, 3000]
    assert first["attempts"][0]["error"]["message"] == "no"
    assert first["attempts"][0]["retry_at"] == "2030-01-01T00:00:02Z"
    assert (second["address"], second["status"], second["attempts"]) == ("b", "skipped", [])


def test_a_state_in_the_middle_shows_steps_timers_and_signals() -> None:
    signal = e.SignalReceived(signal_id="s", name="go", data=Json(b"1"), actor="test", at=T0)
    view = plain(state_view(ID, fold([*EVENTS[:4], signal])))
    assert view["steps"]["a"] == {
        "address": "a",
        "status": "retrying",
        "attempt": 2,
        "since": "2030-01-01T00:00:01Z",
        "due": "2030-01-01T00:00:02Z",
        "input": {"x": 1},
        "error": {"message": "no", "code": "error", "type": "", "attempt": 1, "details": None},
    }
    assert view["timers"]["a#retry"]["due"] == "2030-01-01T00:00:02Z"
    assert view["signals"] == {"s": {"name": "go", "data": 1, "version": 5}}
    assert view["waits_for"] == "timer"


def test_every_kind_of_step_has_a_view() -> None:
    begun: list[Any] = [
        e.StepStarted(address="work", input=Json(b"1"), at=T0),
        e.StepProgressed(address="work", attempt=1, number=1, progress=Json(b"50"), at=T0),
        e.StepQueued(address="slot", at=T0),
        e.TimerSet(timer_id="nap#wait", address="nap", purpose="wait", due=T0, at=T0),
        e.SignalAwaited(address="review", name="go", at=T0),
        e.StepFailed(address="bad", error=e.StepError("no", "error"), port="error", at=T0),
    ]
    state = fold([EVENTS[0], *begun])
    steps = plain(state_view(ID, state))["steps"]
    assert {address: step["status"] for address, step in steps.items()} == {
        "work": "running",
        "slot": "queued",
        "nap": "sleeping",
        "review": "awaiting",
        "bad": "failed",
    }
    assert steps["work"]["progress"] == 50
    assert list(timings(begun)) == ["work", "slot", "nap", "review", "bad"]


def test_a_step_that_is_called_again_shows_its_state_and_how_often() -> None:
    due, later = T0 + timedelta(seconds=9), T0 + timedelta(seconds=1)
    asked: list[Any] = [
        *EVENTS[:2],
        e.StepPostponed(address="a", due=due, state=Json(b'{"page":2}'), at=later),
        e.TimerSet(timer_id="a#retry", address="a", purpose="retry", due=due, at=later),
    ]
    history = [Recorded(ID, number, number, event) for number, event in enumerate(asked, 1)]
    (step,) = plain(execution_view(ID, fold(asked), history))["steps"]
    assert (step["status"], step["attempt"], step["due"]) == ("postponed", 2, "2030-01-01T00:00:09Z")
    assert (step["state"], step["postponed"], step["error"]) == ({"page": 2}, 1, None)
    (attempt,) = step["attempts"]
    assert (attempt["duration_ms"], attempt["error"], attempt["retry_at"]) == (1000, None, "2030-01-01T00:00:09Z")
    started = e.StepStarted(address="a", attempt=2, at=due)
    called = plain(state_view(ID, fold([*asked, e.TimerFired(timer_id="a#retry", at=due), started])))["steps"]["a"]
    assert (called["status"], called["state"], called["postponed"]) == ("running", {"page": 2}, 1)


def test_a_step_shows_which_way_it_was_left() -> None:
    routed = e.StepSucceeded(address="a", output=Json(b"1"), to=("x",), at=T0)
    ended = e.StepSucceeded(address="b", output=Json(b"1"), port="", at=T0)
    steps = plain(state_view(ID, fold([EVENTS[0], routed, ended])))["steps"]
    assert (steps["a"]["port"], steps["a"]["to"]) == ("out", ["x"])
    assert (steps["b"]["port"], "to" in steps["b"]) == (None, False)


def test_an_execution_that_is_only_signalled_has_a_view() -> None:
    state = fold([e.SignalReceived(signal_id="s", name="go", data=Json(b"1"), actor="test", at=T0)])
    view = plain(state_view(ID, state))
    assert (view["status"], view["workflow"], list(view["signals"])) == ("pending", None, ["s"])


def test_an_output_that_has_left_the_state_is_shown_from_the_log() -> None:
    released = e.OutputsReleased(addresses=("a",), at=T0 + timedelta(seconds=5))
    events = [*EVENTS[:7], released]
    history = [Recorded(ID, number, 10 + number, event) for number, event in enumerate(events, 1)]
    [step] = plain(execution_view(ID, fold(events), history))["steps"]
    assert (step["status"], step["output"]) == ("succeeded", "done")
