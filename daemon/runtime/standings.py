"""How an execution stands in the queues of the limits that it waits for: who holds them, and its place.

Comes from: eventstore/slots. Goes to: `why`, daemon/api, daemon/cli.
"""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Any

from msgspec import Struct

from daemon.core.limit_events import Slot
from daemon.core.state import Running
from eventstore.slots import earliest_us

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from uuid import UUID

    from daemon.core.state import State
    from eventstore.slots import Slots, Use

SHOWN = 5
"""Holders that are named."""
COUNTED = 1000
"""Places in a queue that are told apart."""
LISTED = 1000
"""Limits and keys in a list."""
_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)


class Standing(Struct, frozen=True, kw_only=True):
    """One limit that an address waits for."""

    address: str
    slot: Slot
    place: int | None
    """From 1; None when it is beyond those counted, or was served at this moment."""
    waiting: int
    held: int
    holders: tuple[str, ...]
    """`execution/address` of some, oldest first."""
    free_at: datetime | None
    """By the rate."""


async def standings(slots: Slots, execution_id: UUID, state: State) -> Sequence[Standing]:
    """Return how an execution stands, in order of address."""
    found: list[Standing] = []
    for address, asked in sorted(state.limited.items()) if isinstance(state, Running) else ():
        for slot in asked.slots:
            use = await slots.use(slot.limit, slot.key)
            heads = await slots.heads(slot.limit, slot.key, most=COUNTED)
            holders = await slots.holders(slot.limit, slot.key, most=SHOWN)
            places = (
                n for n, head in enumerate(heads, 1) if (head.execution_id, head.address) == (execution_id, address)
            )
            found.append(
                Standing(
                    address=address,
                    slot=slot,
                    place=next(places, None),
                    waiting=use.waiting,
                    held=use.held,
                    holders=tuple(f"{each.execution_id}/{each.address}".removesuffix("/") for each in holders),
                    free_at=_free_at(slot, use),
                )
            )
    return found


def _free_at(slot: Slot, use: Use) -> datetime | None:
    if slot.interval_us is None or use.next_us is None:
        return None
    return _EPOCH + timedelta(microseconds=earliest_us(use.next_us, slot.interval_us, slot.burst))


async def limits_view(slots: Slots, shared: Mapping[str, Any], *, limit: str | None = None) -> Mapping[str, Any]:
    """Return all limits that are held or waited for, and those of the settings; of one, who holds it and who waits."""
    uses = await slots.uses(limit=limit, most=LISTED)
    view: dict[str, Any] = {
        "limits": [
            {
                "limit": use.limit,
                "key": use.key,
                "most": use.most,
                "held": use.held,
                "waiting": use.waiting,
                "oldest": use.oldest,
            }
            for use in uses
        ],
        "shared": {name: each for name, each in sorted(shared.items()) if limit in (None, name)},
    }
    if limit is None:
        return view
    for use, row in zip(uses, view["limits"], strict=True):
        holders = await slots.holders(limit, use.key, most=COUNTED)
        heads = await slots.heads(limit, use.key, most=COUNTED)
        row["holders"] = [
            {"execution_id": each.execution_id, "address": each.address, "since": each.since} for each in holders
        ]
        row["queue"] = [
            {
                "execution_id": each.execution_id,
                "address": each.address,
                "since": each.since,
                "priority": each.priority,
                "fair": each.fair,
            }
            for each in heads
        ]
    return view
