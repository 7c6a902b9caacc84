"""Quotas for payloads: counted now and then, with a word before one is used up, and what its policy says beyond it.

What is counted is a moment old, so a quota may be passed by what is written meanwhile. No payload is dropped that an
execution needs to go on.

Comes from: daemon/main, `intake`. Goes to: eventstore/usage, `room`.
"""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Any

import structlog

from daemon.core.errors import StorageFull
from daemon.runtime.leases import first_of
from daemon.runtime.room import Room
from eventstore.errors import StoreError, Unavailable

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Mapping, Sequence
    from datetime import datetime

    from daemon.runtime.clock import Clock
    from daemon.runtime.room import Made
    from daemon.settings_retention import Quota, Storage
    from eventstore.codec import Codec
    from eventstore.reads import Reads
    from eventstore.store import Store
    from eventstore.usage import Usage, Used

WARN_AT = 0.8
"""Of a quota."""

_logger = structlog.get_logger(__name__)


class Quotas:
    """A follower that keeps payloads within their quotas: every daemon counts, one makes room."""

    def __init__(
        self,
        store: Store,
        codec: Codec,
        clock: Clock,
        storage: Storage,
        *,
        leads: Callable[[], bool] = lambda: True,
        counted: Callable[[Sequence[Used]], None] = lambda _used: None,
    ) -> None:
        """`leads` tells whether this is the daemon that makes room; `counted` hears what each workflow uses."""
        self._usage = store.usage
        self._reads = store.reads
        self._reads.wanted = any(quota.policy == "evict_lru" for quota in storage.quotas)
        self._room = Room(store, codec, clock)
        self._ways: Mapping[str, Callable[[str, int], Awaitable[Made]]] = {
            "compress": self._room.compress,
            "external": self._room.move_out,
            "evict_oldest": self._room.evict,
            "evict_lru": self._room.evict_lru,
        }
        self._leads = leads
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
        while (self._storage.quotas or self._storage.external) and not self._stopping.is_set():
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
        await note_reads(self._usage, self._reads, at=self._clock.now())
        found = await self._usage.used()
        self._counted(found)
        full: dict[str, Used] = {}
        for used in found:
            quota = self._storage.quota_for(used.workflow)
            if quota is None:
                continue
            self._warn(used, quota)
            if used.bytes > quota.bytes and quota.policy == "fail":
                full[used.workflow] = used
            elif used.bytes > quota.bytes and self._leads():
                await self._make_room(used, quota)
        self._full = full
        if self._leads():
            await self._room.sweep()

    def _warn(self, used: Used, quota: Quota) -> None:
        """Say it once, until there is room again."""
        if used.bytes < WARN_AT * quota.bytes:
            self._warned.discard(used.workflow)
        elif used.workflow not in self._warned:
            self._warned.add(used.workflow)
            said = {"workflow": used.workflow, "bytes": used.bytes, "quota": quota.bytes, "policy": quota.policy}
            _logger.warning("payload_quota_nearly_used", **said)

    async def _make_room(self, used: Used, quota: Quota) -> None:
        """Do what the policy says until the quota holds, or nothing is left to do it to."""
        over = used.bytes - quota.bytes
        make = self._ways.get(quota.policy)
        if make is None:
            return
        try:
            made = await make(used.workflow, over)
        except Unavailable as error:
            _logger.warning("no_room_made", workflow=used.workflow, policy=quota.policy, error=str(error))
            return
        said = {"workflow": used.workflow, "policy": quota.policy, "bytes": made.bytes}
        _logger.info("payloads_made_room", payloads=made.payloads, bytes_over=max(over - made.bytes, 0), **said)


async def note_reads(usage: Usage, reads: Reads, *, at: datetime) -> None:
    """Write which payloads were read since the last time. Raises Unavailable: then it is written the next time."""
    if taken := reads.take():
        try:
            await usage.note_reads(sorted(taken), at=at)
        except StoreError:
            reads.note(taken)
            raise


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
                "outside": used.outside,
                "quota": None if quota is None else quota.bytes,
                "policy": None if quota is None else quota.policy,
                "nearly_used": quota is not None and used.bytes >= WARN_AT * quota.bytes,
            }
        )
    return {"workflows": rows}
