"""The log with a stopwatch: how long its commits take and how many events they hold.

Comes from: eventstore/writer. Goes to: the log of the store, `metrics`.
"""

from __future__ import annotations

from time import perf_counter
from typing import TYPE_CHECKING

from eventstore.errors import Conflict, Fenced, Full, Unavailable

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from uuid import UUID

    from daemon.runtime.metrics import Metrics
    from eventstore.log import Append, EventLog, Recorded


class MeasuredLog:
    """`eventstore.log.EventLog`, measured: hand it to the writer in place of the log."""

    def __init__(self, log: EventLog, metrics: Metrics) -> None:
        self._log = log
        self._metrics = metrics
        self.trouble = ""
        """Why the last commit got no answer, and is tried again; empty when it got one."""

    async def insert(self, batch: Sequence[Append]) -> None:
        """Measure the commit by its outcome: `committed`, `conflict`, `full`, `fenced` or `failed`."""
        outcome = "failed"
        begun = perf_counter()
        try:
            await self._log.insert(batch)
            outcome, self.trouble = "committed", ""
        except (Conflict, Full, Fenced) as error:
            outcome, self.trouble = type(error).__name__.lower(), ""
            raise
        except Unavailable as error:
            self.trouble = str(error)
            raise
        finally:
            self._metrics.append_seconds.labels(outcome).observe(perf_counter() - begun)
        self._metrics.append_events.observe(sum(len(append.events) for append in batch))

    async def read(
        self, execution_id: UUID, *, after_version: int = 0, up_to_version: int | None = None
    ) -> Sequence[Recorded]:
        """See `eventstore.log.EventLog`."""
        return await self._log.read(execution_id, after_version=after_version, up_to_version=up_to_version)

    async def read_many(self, execution_ids: Sequence[UUID], *, limit: int) -> Mapping[UUID, Sequence[Recorded]]:
        """See `eventstore.log.EventLog`."""
        return await self._log.read_many(execution_ids, limit=limit)

    async def read_all(self, *, after_position: int = 0, limit: int = 1000) -> Sequence[Recorded]:
        """See `eventstore.log.EventLog`."""
        return await self._log.read_all(after_position=after_position, limit=limit)

    async def head(self) -> int:
        """See `eventstore.log.EventLog`."""
        return await self._log.head()
