"""Why an execution has not begun, or a step waits for a limit that executions share, in sentences. Pure.

Comes from: `standings`. Goes to: `why`.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from daemon.core.admission import START
from daemon.core.state_limits import COLLECTING
from daemon.runtime.why_words import Cause, ago, until

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence
    from datetime import datetime

    from daemon.core.state import Running
    from daemon.runtime.standings import Standing


def limit_causes(state: Running, standings: Sequence[Standing], now: datetime) -> Iterator[Cause]:
    """Give a cause for each limit that something of the execution waits for."""
    known = {(each.address, each.slot.limit, each.slot.key): each for each in standings}
    for address, asked in sorted(state.limited.items()):
        for slot in asked.slots:
            standing = known.get((address, slot.limit, slot.key))
            what = f"Step {address}: ready" if address else "Its begin"
            key = f" for {slot.key!r}" if slot.key else ""
            told = _told(standing, slot.most, now) if standing is not None else ""
            yield Cause(
                kind="limit",
                sentence=f"{what}, waits for the limit {slot.limit}{key} since {ago(asked.since, now)}{told}.",
                address=address or None,
                since=asked.since,
                due=standing.free_at if standing is not None else None,
                place=standing.place if standing is not None else None,
                limit=slot.limit,
                key=slot.key,
                holders=standing.holders if standing is not None else (),
            )


def _told(standing: Standing, most: int | None, now: datetime) -> str:
    place = f", number {standing.place} of {standing.waiting} in the queue" if standing.place is not None else ""
    held = f"; {standing.held} of {most} are held" if most is not None else ""
    more = ", …" if standing.held > len(standing.holders) else ""
    by = f", by {', '.join(standing.holders)}{more}" if standing.holders else ""
    rate = f"; by its rate the next is due {until(standing.free_at, now)}" if standing.free_at is not None else ""
    return f"{place}{held}{by}{rate}"


def start_causes(state: Running, now: datetime) -> Iterator[Cause]:
    """Give the cause of an execution that begins later."""
    timer = state.timers.get(START)
    if timer is not None:
        count = len(state.collected)
        messages = f" with what was collected by then, {count} so far" if COLLECTING in state.holding else ""
        sentence = f"It begins {until(timer.due, now)}{messages}."
        yield Cause(kind="timer", sentence=sentence, due=timer.due)
