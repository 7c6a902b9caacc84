"""What events change in the slots of limits that executions share. Pure, and a part of `projection`.

Comes from: `projection`. Goes to: eventstore/slots, with the events, in one transaction.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from daemon.core import events as e
from daemon.core.admission import message_slot
from daemon.core.evolve import evolve
from daemon.core.state import Running
from eventstore.slots import KEPT, Slot, SlotChange

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Sequence

    from daemon.core.state import State

_SLOTTED = frozenset({e.SlotsAsked, e.SlotsTaken, e.MessageCollected})


def slot_changes(before: State, events: Sequence[e.Event], after: State) -> tuple[SlotChange, ...]:
    """Return what the events that lead from `before` to `after` change, in their order."""
    if isinstance(before, Running) and isinstance(after, Running):
        same = before.limited is after.limited and before.holding is after.holding
        if same and before.messages is after.messages:
            return ()
    elif not _any_slots(before) and _SLOTTED.isdisjoint(map(type, events)):
        return ()
    changes: list[SlotChange] = []
    for event in events:
        following = evolve(before, event)
        changes += _changes(before, event, following)
        before = following
    return tuple(changes)


def _any_slots(state: State) -> bool:
    return isinstance(state, Running) and bool(state.limited or state.holding)


def _changes(before: State, event: e.Event, after: State) -> Iterator[SlotChange]:
    kept = {*after.limited, *after.holding} if isinstance(after, Running) else set()
    if isinstance(before, Running):
        for address in sorted({*before.limited, *before.holding} - kept):
            yield SlotChange(action="free", address=address)
    match event:
        case e.SlotsAsked():
            yield SlotChange(
                action="ask",
                address=event.address,
                slots=_slots(event.slots),
                priority=event.priority,
                at=event.at,
            )
        case e.SlotsTaken():
            yield SlotChange(
                action="take",
                address=event.address,
                slots=_slots(event.slots),
                priority=event.priority,
                at=event.at,
                fresh=not event.waited,
            )
        case e.MessageCollected():
            slot = message_slot(event.scope, event.message)
            yield SlotChange(action="take", address=KEPT + slot.key, slots=_slots([slot]), at=event.at)
        case _:
            pass


def _slots(slots: Iterable[e.Slot]) -> tuple[Slot, ...]:
    return tuple(
        Slot(limit=s.limit, key=s.key, most=s.most, interval_us=s.interval_us, burst=s.burst, fair=s.fair)
        for s in slots
    )
