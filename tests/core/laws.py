"""What must hold for every workflow and every order of things, said of a whole history; and of its log alone.

Comes from: `histories` and `generator`, which draw them. `test_properties` and `test_generated` hold them to it.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TypeAlias

from daemon.core import events as e
from daemon.core.address import LOOKUP, UNDO, split_turn, stands_in, turn_around
from daemon.core.commands import Command, ReceiveSignal
from daemon.core.decide import decide
from daemon.core.effects import Advance, ArmTimer, CancelChild, RunStep, effects, owed
from daemon.core.errors import ExecutionFinished, Rejected
from daemon.core.evolve import fold
from daemon.core.evolve_saga import newest_first
from daemon.core.evolve_turns import kept_by
from daemon.core.redeciding import divergence, redecide
from daemon.core.snapshot import decode_state, encode_state
from daemon.core.state import INITIAL, Finished, Repeating, Running, Settled, State, Turn, cause
from daemon.core.values import size_of
from eventstore.codec import Codec, Stored
from tests.core.histories import History
from tests.core.limit_laws import LIMIT_LAWS, LIMIT_LOG_LAWS
from tests.core.people_laws import PEOPLE_LAWS, PEOPLE_LOG_LAWS
from tests.core.spec import EXECUTION

TOO_LARGE = {"output_too_large", "context_too_large"}
Law: TypeAlias = Callable[[History], None]
LogLaw: TypeAlias = Callable[[Sequence[e.Event]], None]

CODEC = Codec(e.EVENT_TYPES, {})


def deciding_twice_gives_nothing(history: History) -> None:
    """Hold that a repeat of any command, right after it or at the end, causes no event."""
    end = history.turns[-1].after if history.turns else INITIAL
    for turn in history.turns:
        assert _decided(history, turn.after, turn.command) == ()
        assert _decided(history, end, turn.command) == () or not isinstance(end, Finished)


def _decided(history: History, state: State, command: Command) -> tuple[e.Event, ...]:
    """Decide; what is refused has no events."""
    try:
        return decide(history.plan, state, command)
    except Rejected:
        return ()


def an_end_absorbs_everything(history: History) -> None:
    """Hold that after the end nothing is decided any more; only a signal that is new is refused, with a reason."""
    end = history.turns[-1].after if history.turns else INITIAL
    if isinstance(end, Finished):
        new = ReceiveSignal(signal_id="new", name="go", data=end.input, actor="test", at=end.finished_at)
        try:
            decide(history.plan, end, new)
        except ExecutionFinished:
            return
        raise AssertionError("a signal was taken after the end")


def the_live_state_is_the_fold(history: History) -> None:
    """Hold that each state is the fold of all events until then, and goes on from a snapshot as from the log."""
    state, events = INITIAL, history.events
    for turn in history.turns:
        state = fold(turn.events, state)
        assert state == turn.after
    assert fold(events) == state
    for cut in (len(events) // 3, len(events) * 2 // 3):
        assert fold(events[cut:], decode_state(encode_state(fold(events[:cut])))) == state


def states_survive_storage(history: History) -> None:
    """Hold that a state that is encoded and decoded is equal."""
    for turn in history.turns:
        assert decode_state(encode_state(turn.after)) == turn.after


def a_state_is_never_changed(history: History) -> None:
    """Hold that evolving makes a new state and leaves the old one as it was."""
    for turn in history.turns:
        before = encode_state(turn.before)
        fold(turn.events, turn.before)
        assert encode_state(turn.before) == before


def versions_count_events(history: History) -> None:
    """Hold that the state's version is the number of events that led to it."""
    seen = 0
    for turn in history.turns:
        seen += len(turn.events)
        assert turn.after.version == seen


def owed_is_what_was_asked_for_and_not_answered(history: History) -> None:
    """Hold that `owed`, after any prefix, gives the effects that a lost process was asked for and had not settled."""
    asked: dict[object, RunStep | ArmTimer | CancelChild | Advance] = {}
    for turn in history.turns:
        for effect in effects(turn.after, turn.events):
            if isinstance(effect, RunStep | ArmTimer | CancelChild | Advance):
                asked[_key(effect)] = effect
        asked = {key: effect for key, effect in asked.items() if _is_owed(effect, turn.after)}
        assert {_key(effect): effect for effect in owed(turn.after)} == asked


def _key(effect: object) -> object:
    assert isinstance(effect, RunStep | ArmTimer | CancelChild | Advance)
    match effect:
        case RunStep():
            return effect.address, effect.attempt
        case ArmTimer():
            return effect.timer_id
        case CancelChild():
            return effect.child
        case Advance():
            return effect.address, -effect.number


def _is_owed(effect: RunStep | ArmTimer | CancelChild | Advance, state: State) -> bool:
    if not isinstance(state, Running):
        return False
    match effect:
        case RunStep():
            return state.in_flight.get(effect.address) == effect.attempt
        case ArmTimer():
            return effect.timer_id in state.timers
        case CancelChild():
            return effect.child in state.leaving
        case Advance():
            return state.advancing.get(effect.address) == effect.number


def every_unfinished_execution_has_a_cause(history: History) -> None:
    """Hold that it waits for a step, slot, timer, signal, person or its start; a finished one waits for nothing.

    Nothing is owed to one only if it waits for what comes from outside.
    """
    for turn in history.turns:
        assert (cause(turn.after) == "") == isinstance(turn.after, Finished)
        if not owed(turn.after) and isinstance(turn.after, Running):
            assert cause(turn.after) in {"signal", "child", "person", "pause", "breakpoint", "limit"}


def the_derived_fields_agree_with_the_steps(history: History) -> None:
    """Hold that what the state keeps for speed is what the steps say."""
    for turn in history.turns:
        state = turn.after
        if not isinstance(state, Running):
            continue
        kinds = [type(step).__name__ for step in state.steps.values()]
        assert len(state.in_flight) + len(state.children) == kinds.count("InFlight")
        assert len(state.queue) == kinds.count("Queued")
        assert len(state.awaiting) == kinds.count("Awaiting")
        begins = int("" in state.limited)
        assert len(state.limited) == kinds.count("Limited") + begins
        breaths = sum(1 for timer in state.timers.values() if timer.purpose in {"turn", "start"})
        assert state.sleeping == kinds.count("Sleeping") + kinds.count("Retrying") + breaths
        waiting = [step for step in state.steps.values() if not isinstance(step, (*Settled, Repeating, Turn))]
        beside = begins + len(state.asking) + len(state.leaving) + len(state.functions)
        assert state.waits == bool(len(waiting) + breaths + beside)
        assert len(state.in_flight) <= history.plan.concurrency


def its_log_tells_what_was_decided(history: History) -> None:
    """Hold that decisions can be made again from the log alone: each begins and ends where it did."""
    found = list(redecide(history.plan, history.events))
    assert tuple(event for each in found for event in each.events) == history.events
    assert divergence(history.plan, history.plan, history.events) is None
    if any(isinstance(event, e.StepFailed) and event.error.code in TOO_LARGE for event in history.events):
        return  # what was too large is not in the log, so the decision about it cannot be made again
    assert [each.events[0] for each in found if each.command is None] == []
    assert [each.after.version for each in found] == [turn.after.version for turn in history.turns if turn.events]


def the_state_knows_its_size(history: History) -> None:
    """Hold that it is counted as events come, and is what a count of all that is there gives."""
    for turn in history.turns:
        if isinstance(turn.after, Running):
            kept = sum(map(kept_by, turn.after.steps.values())) + sum(map(size_of, turn.after.variables.values()))
            undo = sum(size_of(owed_one.input) for owed_one in turn.after.owed.values())
            collected = sum(map(size_of, turn.after.collected.values()))
            assert turn.after.size == kept + undo + collected + size_of(turn.after.input)


def a_turn_knows_its_steps(history: History) -> None:
    """Hold that its members are the steps at its address; it is under way while one of them is open, no longer."""
    for each in history.turns:
        if not isinstance(each.after, Running):
            continue
        steps = each.after.steps
        for address, step in steps.items():
            if isinstance(step, Turn):
                members = set(step.members)
                assert members == {one for one in steps if turn_around(one) == address and not one.endswith("]")}
                still = [one for one in members if not isinstance(steps[one], Settled)]
                assert step.open == len(still)
                assert still or each.after.undoing is not None or each.after.groups or address in each.after.functions
            elif isinstance(step, Repeating):
                under_way = [one for one in steps if one.startswith(f"{address}[") and isinstance(steps[one], Turn)]
                assert step.running == len([one for one in under_way if split_turn(one)[0] == address])


def a_function_goes_on_when_it_has_something_to_see(history: History) -> None:
    """Hold that what is owed to it, its open calls and unseen results are those of its journal; calls have policies."""
    for turn in history.turns:
        if isinstance(turn.after, Running):
            for address, journal in turn.after.functions.items():
                goes_on = not journal.diverged and bool(journal.done or not journal.number)
                assert (turn.after.advancing.get(address) == journal.number) == goes_on
                inside = {one for one in turn.after.steps if turn_around(one) == address}
                settled = {one for one in inside if isinstance(turn.after.steps[one], Settled)}
                assert settled == set(journal.done)
                assert inside <= set(turn.after.calls)
            assert set(turn.after.advancing) <= set(turn.after.functions)


def what_is_owed_is_a_list_from_the_newest(history: History) -> None:
    """Hold that it is in the order of success."""
    for turn in history.turns:
        if isinstance(turn.after, Running):
            listed = dict(newest_first(turn.after))
            assert listed == dict(turn.after.owed)
            assert list(listed) == sorted(listed, reverse=True)


LAWS: tuple[Law, ...] = (
    deciding_twice_gives_nothing,
    an_end_absorbs_everything,
    the_live_state_is_the_fold,
    states_survive_storage,
    a_state_is_never_changed,
    versions_count_events,
    owed_is_what_was_asked_for_and_not_answered,
    every_unfinished_execution_has_a_cause,
    the_derived_fields_agree_with_the_steps,
    the_state_knows_its_size,
    its_log_tells_what_was_decided,
    a_turn_knows_its_steps,
    a_function_goes_on_when_it_has_something_to_see,
    what_is_owed_is_a_list_from_the_newest,
    *PEOPLE_LAWS,
    *LIMIT_LAWS,
)


STATE_LAWS: tuple[Law, ...] = (
    states_survive_storage,
    every_unfinished_execution_has_a_cause,
    the_derived_fields_agree_with_the_steps,
    the_state_knows_its_size,
    a_turn_knows_its_steps,
    a_function_goes_on_when_it_has_something_to_see,
    what_is_owed_is_a_list_from_the_newest,
)
"""Those that need no more than the states themselves."""

# Of a log, whoever has written it.


def events_survive_storage(log: Sequence[e.Event]) -> None:
    """Hold that what is encoded and decoded is equal."""
    for event in log:
        topic, data = CODEC.encode(event, {})
        assert CODEC.decode(Stored(EXECUTION, 1, 1, topic, data), data, {}) == event


def no_timer_is_overdue_when_it_is_set(log: Sequence[e.Event]) -> None:
    """Leave out those of nodes that wait until a time that has passed."""
    for event in log:
        if isinstance(event, e.TimerSet) and event.purpose != "wait":
            assert event.due >= event.at


def nothing_begins_or_settles_twice(log: Sequence[e.Event]) -> None:
    """Hold that no step, attempt or turn does; a compensation may fail again, after a person has asked for that."""
    seen: set[tuple[str, str | int]] = set()
    for event in log:
        facts: list[tuple[str, str | int]]
        match event:
            case e.StepStarted():
                facts = [("begun", event.attempt)]
            case e.StepSucceeded() | e.StepCached():
                facts = [("ended", event.attempt), ("settled", "")]
            case e.StepFailed() if event.retry_at is None and not event.address.endswith(UNDO):
                facts = [("ended", event.attempt), ("settled", "")]
            case e.StepFailed() | e.StepPostponed() | e.StepSuspended():
                facts = [("ended", event.attempt)]
            case e.StepSkipped():
                facts = [("settled", "")]
            case e.TurnStarted() | e.TurnSkipped():
                facts = [("turn begun", "")]
            case e.TurnSucceeded() | e.TurnFailed() | e.TurnAbandoned():
                facts = [("turn ended", "")]
            case _:
                continue
        for fact, attempt in facts:
            what = (f"{event.address} {fact}", attempt)
            assert what not in seen, what
            seen.add(what)


def nothing_is_undone_before_what_came_after_it(log: Sequence[e.Event]) -> None:
    """Hold that a compensation begins when all that began after the step's success is undone, skipped or done by hand.

    All of that in the same group, or in the execution when that is being undone.
    """
    owed_now: dict[str, e.CompensationOwed] = {}
    since: dict[str, int] = {}
    scopes: list[str] = []
    under_way: set[str] = set()
    for version, event in enumerate(log, start=1):
        match event:
            case e.CompensationOwed():
                owed_now[event.address], since[event.address] = event, version - 1
            case e.UndoPlanned(scope=scope):
                scopes.append(scope)
            case e.StepStarted(address=address) if address.endswith(UNDO):
                begun = address.removesuffix(LOOKUP).removesuffix(UNDO)
                scope = max((each for each in scopes if stands_in(begun, each)), key=len) if "" not in scopes else ""
                beside = [other for other in owed_now.values() if stands_in(other.address, scope)]
                assert all(other.began <= since[begun] for other in beside if other.address != begun)
                under_way |= {begun} - {address.removesuffix(LOOKUP)}
            case e.StepSucceeded(address=address) if address.endswith(UNDO) and not address.endswith(LOOKUP):
                del owed_now[address.removesuffix(UNDO)]
            case e.EffectLookedUp(address=address, found=False):
                del owed_now[address]
            case e.ManualActionDone(address=address, choice="skip" | "done"):
                planned = [one for one in owed_now if address in scopes and stands_in(one, address)]
                for each in {address, *(set(planned) - under_way)} & owed_now.keys():
                    del owed_now[each]
            case e.StepFailed(address=address, retry_at=None):
                under_way.discard(address.removesuffix(UNDO))
            case _:
                pass


def what_followed_one_another_is_undone_in_reverse(log: Sequence[e.Event]) -> None:
    """Hold that of two steps in a row the later is undone before the other's undo begins, at an execution's end."""
    begun: dict[str, int] = {}
    succeeded: dict[str, int] = {}
    planned = len(log)
    for number, event in enumerate(log):
        match event:
            case e.StepStarted() if event.attempt == 1:
                begun[event.address] = number
            case e.StepSucceeded():
                succeeded[event.address] = number
            case e.UndoPlanned(scope=""):
                planned = number
            case _:
                pass
    undone = [address.removesuffix(UNDO) for address in succeeded if address.endswith(UNDO)]
    undone = [address for address in undone if address in succeeded and begun.get(address + UNDO, 0) > planned]
    for later in undone:
        for earlier in undone:
            if succeeded[earlier] < begun[later]:
                assert succeeded[later + UNDO] < begun[earlier + UNDO]


LOG_LAWS: tuple[LogLaw, ...] = (
    events_survive_storage,
    no_timer_is_overdue_when_it_is_set,
    nothing_begins_or_settles_twice,
    nothing_is_undone_before_what_came_after_it,
    what_followed_one_another_is_undone_in_reverse,
    *PEOPLE_LOG_LAWS,
    *LIMIT_LOG_LAWS,
)
