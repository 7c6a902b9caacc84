"""What must hold of limits that executions share, and of how an execution begins.

Comes from: `laws`, where they stand beside the others.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from daemon.core import events as e
from daemon.core.admission import START
from daemon.core.calls import node_at
from daemon.core.state import Running
from daemon.core.state_limits import COLLECTING
from daemon.core.values import from_json

if TYPE_CHECKING:
    from collections.abc import Sequence

    from tests.core.histories import History


def what_is_at_work_holds_its_slots_and_nothing_else_does(history: History) -> None:
    """Hold that a slot is a step's while its attempt is in flight, and the execution's own from its begin on."""
    for turn in history.turns:
        state = turn.after
        if not isinstance(state, Running):
            continue
        named = {"": history.plan.start.limits} if "" in state.holding else {}
        named |= {each: node_at(history.plan, state, each).limits for each in (*state.in_flight, *state.children)}
        slots = {address: tuple(limit.name for limit in limits) for address, limits in named.items() if limits}
        held = {address: tuple(slot.limit for slot in each.slots) for address, each in state.holding.items()}
        collects = held.pop(COLLECTING, None) is not None
        assert held == slots
        assert not collects or START in state.timers
        if collects or START in state.timers or "" in state.limited:
            assert not state.steps


def slots_are_taken_by_what_begins(log: Sequence[e.Event]) -> None:
    """Hold that what has asked takes nothing else, and that what takes slots begins at once."""
    asked: dict[str, tuple[e.Slot, ...]] = {}
    begins = ""
    for event in log:
        assert not begins or (isinstance(event, e.StepStarted) and event.address == begins)
        begins = ""
        match event:
            case e.SlotsAsked(address=address, slots=slots):
                assert address not in asked
                asked[address] = slots
            case e.SlotsTaken(address=address, slots=slots):
                assert event.waited == (address in asked)
                assert [slot.limit for slot in asked.pop(address, slots)] == [slot.limit for slot in slots]
                begins = "" if address == COLLECTING else address
            case e.StepFailed(address=address) | e.StepQueued(address=address):
                asked.pop(address, None)
            case _:
                pass


def what_is_collected_is_what_it_begins_with(log: Sequence[e.Event]) -> None:
    """Hold that each message counts once, that none comes after the begin, and that no step comes before it."""
    inputs: list[object] = []
    messages: set[str] = set()
    begun = False
    for event in log:
        match event:
            case e.MessageCollected(message=message):
                assert not begun
                assert message not in messages
                messages.add(message)
                inputs.append(from_json(event.input))
            case e.ExecutionBegan():
                assert not begun
                begun = True
                assert from_json(event.input) in ({"messages": inputs}, inputs[-1])
            case e.StepStarted() | e.StepSucceeded() | e.StepQueued():
                assert begun or not messages
            case _:
                pass


LIMIT_LAWS = (what_is_at_work_holds_its_slots_and_nothing_else_does,)
LIMIT_LOG_LAWS = (slots_are_taken_by_what_begins, what_is_collected_is_what_it_begins_with)
