"""Following the whole log in commit order. A hint makes it quick, polling makes it sure.

Comes from: `log.EventLog.read_all`, and `store.Store.hints` for the hint. Goes to: daemon/runtime.
"""

from __future__ import annotations

import asyncio
from contextlib import suppress
from typing import TYPE_CHECKING

from eventstore.errors import Unavailable

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Sequence

    from eventstore.log import EventLog, Recorded


async def follow(
    log: EventLog,
    *,
    after_position: int,
    wake: asyncio.Event,
    poll_interval_s: float = 1.0,
    limit: int = 1000,
) -> AsyncIterator[Sequence[Recorded]]:
    """Yield events as they are committed, in batches of 1 to `limit`, each event once, none skipped; never ends.

    Reads again when `wake` is set, and `poll_interval_s` seconds after it last found nothing or no answer. Stop it by
    cancelling, or by leaving the loop and closing the generator. Raises Undecodable at an event that cannot be read.
    """
    position = after_position
    while True:
        wake.clear()
        events: Sequence[Recorded] = ()
        with suppress(Unavailable):
            events = await log.read_all(after_position=position, limit=limit)
        if events:
            position = events[-1].position
            yield events
        else:
            with suppress(TimeoutError):
                await asyncio.wait_for(wake.wait(), poll_interval_s)
