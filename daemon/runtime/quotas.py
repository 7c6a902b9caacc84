"""Quotas for payloads: counted now and then, with a word before one is used up, and what its policy says beyond it.

What is counted is a moment old, so a quota may be passed by what is written meanwhile. No payload is dropped that an
execution needs to go on.

Comes from: daemon/main, `intake`. Goes to: eventstore/usage.
"""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Any

import structlog

from daemon.core.errors import StorageFull
from daemon.runtime.leases import first_of
from eventstore.errors import StoreError

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from daemon.runtime.clock import Clock
    from daemon.settings_retention import Quota, Storage
    from eventstore.usage import Usage, Used

WARN_AT = 0.8
"""Of a quota."""
EVICTED = 1000
"""Payloads looked at, at once."""

_logger = structlog.get_logger(__name__)


class Quotas:
    """A follower that keeps payloads within their quotas; every daemon does so, which is harmless."""

    def __init__(
        self,
        usage: Usage,
        clock: Clock,
        storage: Storage,
        *,
        counted: Callable[[Sequence[Used]], None] = lambda _used: None,
    ) -> None:
        """Tell `counted` what each workflow uses, whenever that was counted."""
        self._usage = usage
        self._clock = clock
        self._storage = storage
        self._counted = counted
        self._warned: set[str] = set()
        self._full: dict[str, Used] = {}
        self._stopping = asyncio.Event()

    def check(self, workflow: str) -> None:
        """Raise StorageFull when no execution of the workflow may begin."""
        used, quota = self._full.get(workflow), self._storage.quota_for(workflow)
        if used is not None and quota is not None:
            raise StorageFull(workflow, used.bytes, quota.bytes)

    async def run(self) -> None:
        """Count, and act, until stopped or cancelled."""
        while self._storage.quotas and not self._stopping.is_set():
            try:
                await self.look()
            except StoreError as error:
                _logger.warning("payloads_not_counted", error=str(error))
            await first_of(self._clock.sleep(self._storage.interval_s), self._stopping.wait())

    async def stop(self) -> None:
        """Come to an end soon."""
        self._stopping.set()

    async def look(self) -> None:
        """Count once, and act. Raises Unavailable."""
        found = await self._usage.used()
        self._counted(found)
        full: dict[str, Used] = {}
        for used in found:
            quota = self._storage.quota_for(used.workflow)
            if quota is None:
                continue
            self._warn(used, quota)
            if used.bytes > quota.bytes and quota.policy == "evict_oldest":
                await self._evict(used, quota)
            elif used.bytes > quota.bytes and quota.policy == "fail":
                full[used.workflow] = used
        self._full = full

    def _warn(self, used: Used, quota: Quota) -> None:
        """Say it once, until there is room again."""
        if used.bytes < WARN_AT * quota.bytes:
            self._warned.discard(used.workflow)
        elif used.workflow not in self._warned:
            self._warned.add(used.workflow)
            said = {"workflow": used.workflow, "bytes": used.bytes, "quota": quota.bytes, "policy": quota.policy}
            _logger.warning("payload_quota_nearly_used", **said)

    async def _evict(self, used: Used, quota: Quota) -> None:
        """Drop the oldest that nobody needs, until the quota holds or there are no more."""
        over, dropped = used.bytes - quota.bytes, 0
        for key, size in await self._usage.oldest(used.workflow, limit=EVICTED):
            if over <= 0:
                break
            dropped += await self._usage.evict(used.workflow, key)
            over -= size
        if dropped or over > 0:
            _logger.info("payloads_evicted", workflow=used.workflow, payloads=dropped, bytes_over=max(over, 0))


async def storage_view(usage: Usage, storage: Storage) -> dict[str, Any]:
    """Return what each workflow uses, and its quota."""
    rows: list[dict[str, Any]] = []
    for used in await usage.used():
        quota = storage.quota_for(used.workflow)
        rows.append(
            {
                "workflow": used.workflow,
                "payloads": used.payloads,
                "bytes": used.bytes,
                "quota": None if quota is None else quota.bytes,
                "policy": None if quota is None else quota.policy,
                "nearly_used": quota is not None and used.bytes >= WARN_AT * quota.bytes,
            }
        )
    return {"workflows": rows}
