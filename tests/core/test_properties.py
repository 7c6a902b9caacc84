"""What must hold for every workflow and every order of things."""

from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from daemon.core.address import UNDO, split_turn, stands_in, turn_around
from daemon.core.commands import ReceiveSignal
from daemon.core.decide import decide
from daemon.core.effects import ArmTimer, RunStep, effects, owed
from daemon.core.errors import ExecutionFinished
from daemon.core.events import (
    EVENT_TYPES,
    CompensationOwed,
    ManualActionDone,
    StepStarted,
    StepSucceeded,
    TimerSet,
    UndoPlanned,
)
from daemon.core.evolve import fold
from daemon.core.evolve_saga import newest_first
from daemon.core.evolve_turns import kept_by
from daemon.core.snapshot import decode_state, encode_state
from daemon.core.state import INITIAL, Finished, Repeating, Running, Settled, Turn, cause
from daemon.core.state_limits import COLLECTING
from daemon.core.values import size_of
from eventstore.codec import Codec, Stored
from tests.core.driving import drive
from tests.core.histories import History, histories
from tests.core.spec import EXECUTION

CODEC = Codec(EVENT_TYPES, {})


@given(histories())
def test_deciding_twice_gives_nothing(history: History) -> None:
    """A repeat of any command, right after it or at the end, causes no event."""
    end = history.turns[-1].after if history.turns else INITIAL
    for turn in history.turns:
        assert decide(history.plan, turn.after, turn.command) == ()
        assert decide(history.plan, end, turn.command) == () or not isinstance(end, Finished)


@given(histories(), st.data())
def test_a_fold_can_be_cut_anywhere(history: History, data: st.DataObject) -> None:
    """The fold of a + b is the fold of b from the fold of a, and a snapshot of it is as good."""
    events = history.events
    cut = data.draw(st.integers(0, len(events)))
    whole, part = fold(events), fold(events[:cut])
    assert fold(events[cut:], part) == whole
    assert fold(events[cut:], decode_state(encode_state(part))) == whole


@given(histories())
def test_events_and_states_survive_storage(history: History) -> None:
    """What is encoded and decoded is equal, and equal states have equal text."""
    for event in history.events:
        topic, data = CODEC.encode(event, {})
        assert CODEC.decode(Stored(EXECUTION, 1, 1, topic, data), data, {}) == event
    for turn in history.turns:
        assert decode_state(encode_state(turn.after)) == turn.after


@given(histories())
def test_a_state_is_never_changed(history: History) -> None:
    """Evolving makes a new state and leaves the old one as it was."""
    state, before = INITIAL, encode_state(INITIAL)
    for event in history.events:
        after = fold([event], state)
        assert encode_state(state) == before
        state, before = after, encode_state(after)


@given(histories())
def test_versions_count_events(history: History) -> None:
    """The state's version is the number of events that led to it."""
    seen = 0
    for turn in history.turns:
        seen += len(turn.events)
        assert turn.after.version == seen


@given(histories())
def test_owed_is_what_was_asked_for_and_not_answered(history: History) -> None:
    """After any prefix, `owed` gives the effects that a lost process had been asked for and had not settled."""
    asked: dict[tuple[str, int] | str, RunStep | ArmTimer] = {}
    for turn in history.turns:
        for effect in effects(turn.after, turn.events):
            match effect:
                case RunStep():
                    asked[effect.address, effect.attempt] = effect
                case ArmTimer():
                    asked[effect.timer_id] = effect
        still = {
            key: effect
            for key, effect in asked.items()
            if isinstance(turn.after, Running)
            and (
                turn.after.in_flight.get(effect.address) == effect.attempt
                if isinstance(effect, RunStep)
                else effect.timer_id in turn.after.timers
            )
        }
        assert {_key(effect): effect for effect in owed(turn.after)} == still
        asked = still


def _key(effect: object) -> tuple[str, int] | str:
    assert isinstance(effect, RunStep | ArmTimer)
    return (effect.address, effect.attempt) if isinstance(effect, RunStep) else effect.timer_id


@given(histories())
def test_every_unfinished_execution_has_a_cause(history: History) -> None:
    """It waits for a step, a slot, a timer, a signal or its start; a finished one waits for nothing."""
    for turn in history.turns:
        assert (cause(turn.after) == "") == isinstance(turn.after, Finished)


@given(histories())
def test_what_waits_is_owed_or_waits_for_a_signal(history: History) -> None:
    """Nothing is owed to an execution only if it has ended, has not begun, or waits for a signal."""
    for turn in history.turns:
        if not owed(turn.after) and isinstance(turn.after, Running):
            assert cause(turn.after) in {"signal", "person", "pause", "limit"}


@given(histories())
def test_the_derived_fields_agree_with_the_steps(history: History) -> None:
    """What the state keeps for speed is what the steps say."""
    for turn in history.turns:
        if isinstance(turn.after, Running):
            kinds = [type(step).__name__ for step in turn.after.steps.values()]
            assert len(turn.after.in_flight) == kinds.count("InFlight")
            assert len(turn.after.queue) == kinds.count("Queued")
            assert len(turn.after.awaiting) == kinds.count("Awaiting")
            breaths = sum(1 for timer in turn.after.timers.values() if timer.purpose in {"turn", "start"})
            begins = int("" in turn.after.limited)
            assert len(turn.after.limited) == kinds.count("Limited") + begins
            assert set(turn.after.holding) <= {*turn.after.in_flight, "", COLLECTING}
            assert turn.after.sleeping == kinds.count("Sleeping") + kinds.count("Retrying") + breaths
            waiting = [step for step in turn.after.steps.values() if not isinstance(step, (*Settled, Repeating, Turn))]
            assert turn.after.open == len(waiting) + breaths + begins + len(turn.after.asking)
            assert len(turn.after.in_flight) <= history.plan.concurrency


@given(histories())
def test_the_state_knows_its_size(history: History) -> None:
    """It is counted as events come, and is what a count of all that is there gives."""
    for turn in history.turns:
        if isinstance(turn.after, Running):
            kept = sum(map(kept_by, turn.after.steps.values())) + sum(map(size_of, turn.after.variables.values()))
            undo = sum(size_of(owed_one.input) for owed_one in turn.after.owed.values())
            collected = sum(map(size_of, turn.after.collected.values()))
            assert turn.after.size == kept + undo + collected + size_of(turn.after.input)


@given(histories())
def test_a_turn_knows_its_steps(history: History) -> None:
    """Its members are the steps at its address; it is under way as long as one of them is open, and no longer."""
    for each in history.turns:
        steps = each.after.steps if isinstance(each.after, Running) else {}
        for address, step in steps.items():
            if isinstance(step, Turn):
                members = set(step.members)
                assert members == {one for one in steps if turn_around(one) == address and not one.endswith("]")}
                still = [one for one in members if not isinstance(steps[one], Settled)]
                assert step.open == len(still)
                undone = isinstance(each.after, Running) and (each.after.undoing is not None or each.after.groups)
                assert still or undone
            elif isinstance(step, Repeating):
                under_way = [one for one in steps if one.startswith(f"{address}[") and isinstance(steps[one], Turn)]
                assert step.running == len([one for one in under_way if split_turn(one)[0] == address])


@given(histories())
def test_no_step_succeeds_twice_and_no_attempt_starts_twice(history: History) -> None:
    succeeded = [event.address for event in history.events if isinstance(event, StepSucceeded)]
    started = [(event.address, event.attempt) for event in history.events if isinstance(event, StepStarted)]
    assert len(set(succeeded)) == len(succeeded)
    assert len(set(started)) == len(started)


@given(histories())
def test_an_end_absorbs_everything(history: History) -> None:
    """After the end nothing is decided any more; only a signal that is new is refused, with a reason."""
    end = history.turns[-1].after if history.turns else INITIAL
    if isinstance(end, Finished):
        for turn in history.turns:
            assert decide(history.plan, end, turn.command) == ()
        new = ReceiveSignal(signal_id="new", name="go", data=end.input, actor="test", at=end.finished_at)
        with pytest.raises(ExecutionFinished):
            decide(history.plan, end, new)


@given(histories(max_turns=200))
@settings(max_examples=50)
def test_an_execution_that_gets_its_answers_ends(history: History) -> None:
    """Driven on with success, due timers and signals, every execution ends."""
    state = history.turns[-1].after if history.turns else INITIAL
    if not isinstance(state, Running):
        return
    assert isinstance(drive(history.plan, state), Finished)


@given(histories())
def test_timers_are_set_in_the_future(history: History) -> None:
    for event in history.events:
        if isinstance(event, TimerSet):
            assert event.due > event.at


@given(histories())
def test_what_is_owed_is_a_list_from_the_newest(history: History) -> None:
    for turn in history.turns:
        if isinstance(turn.after, Running):
            listed = dict(newest_first(turn.after))
            assert listed == dict(turn.after.owed)
            assert list(listed) == sorted(listed, reverse=True)


@given(histories(max_turns=200))
def test_nothing_is_undone_before_what_came_after_it(history: History) -> None:
    """A compensation begins when all that began after the step had succeeded is undone, skipped, or done by hand.

    All of that in the same group, or in the execution when that is being undone.
    """
    owed_now: dict[str, CompensationOwed] = {}
    since: dict[str, int] = {}
    scopes: list[str] = []
    for version, event in enumerate(history.events, start=1):
        match event:
            case CompensationOwed():
                owed_now[event.address], since[event.address] = event, version - 1
            case UndoPlanned(scope=scope):
                scopes.append(scope)
            case StepStarted(address=address) if address.endswith(UNDO):
                begun = address.removesuffix(UNDO)
                scope = max((each for each in scopes if stands_in(begun, each)), key=len) if "" not in scopes else ""
                beside = [other for other in owed_now.values() if stands_in(other.address, scope)]
                assert all(other.began <= since[begun] for other in beside if other.address != begun)
            case StepSucceeded(address=address) if address.endswith(UNDO):
                del owed_now[address.removesuffix(UNDO)]
            case ManualActionDone(address=address, choice="skip" | "done"):
                for each in [
                    one for one in owed_now if one == address or (address in scopes and stands_in(one, address))
                ]:
                    del owed_now[each]
            case _:
                pass
