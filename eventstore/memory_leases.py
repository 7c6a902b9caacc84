"""The leases of a store in memory: the daemons of one process, as tests have them.

Comes from: `store`. Goes to: `memory.MemoryIndex`.
"""

from __future__ import annotations

from collections import Counter
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING

from msgspec.structs import replace

from eventstore.errors import Fenced
from eventstore.leases import Member

if TYPE_CHECKING:
    import asyncio
    from collections.abc import AsyncIterator, Callable, Mapping, Sequence
    from datetime import datetime, timedelta
    from uuid import UUID

    from eventstore.memory import MemoryIndex


class MemoryLeases:
    """`leases.Leases` in dicts. `now` is the database's clock."""

    def __init__(self, index: MemoryIndex, now: Callable[[], datetime]) -> None:
        self._index = index
        self._now = now
        self._ends: dict[UUID, datetime] = {}
        self._ttls: dict[UUID, timedelta] = {}

    async def join(self, daemon_id: UUID, name: str, *, ttl: timedelta) -> None:
        """See `leases.Leases`."""
        now = self._now()
        self._index.members[daemon_id] = Member(daemon_id, name, now, now)
        self._ttls[daemon_id], self._ends[daemon_id] = ttl, now + ttl

    async def beat(self, daemon_id: UUID) -> Sequence[Member]:
        """See `leases.Leases`."""
        self._check(daemon_id)
        now = self._now()
        self._ends[daemon_id] = now + self._ttls[daemon_id]
        self._index.members[daemon_id] = replace(self._index.members[daemon_id], beat_at=now)
        return list(self._index.members.values())

    async def fence_dead(self, *, asker: UUID | None = None) -> Sequence[Member]:
        """See `leases.Leases`."""
        now = self._now()
        dead = [member for member in self._index.members.values() if self._ends[member.id] < now]
        dead = [member for member in dead if member.id != asker]
        for member in dead:
            await self.leave(member.id)
        return dead

    async def claim(self, daemon_id: UUID, *, limit: int) -> Sequence[UUID]:
        """See `leases.Leases`."""
        self._check(daemon_id)
        members, leases = self._index.members, self._index.leases
        free = [execution_id for execution_id, lease in leases.items() if lease.daemon not in members][:limit]
        for execution_id in free:
            leases[execution_id].daemon, leases[execution_id].hinted = daemon_id, False
        return free

    async def take(self, daemon_id: UUID, execution_id: UUID) -> bool:
        """See `leases.Leases`."""
        self._check(daemon_id)
        lease = self._index.leases.get(execution_id)
        if lease is None or (lease.daemon != daemon_id and lease.daemon in self._index.members):
            return False
        lease.daemon = daemon_id
        return True

    async def held(self, daemon_id: UUID) -> Sequence[UUID]:
        """See `leases.Leases`."""
        return [execution_id for execution_id, lease in self._index.leases.items() if lease.daemon == daemon_id]

    async def drop(self, daemon_id: UUID, execution_id: UUID, *, ended_at: datetime) -> None:
        """See `leases.Leases`."""
        lease, row = self._index.leases.get(execution_id), await self._index.execution(execution_id)
        if lease is not None and lease.daemon == daemon_id and row is not None and row.finished_at == ended_at:
            del self._index.leases[execution_id]

    async def hint(self, execution_id: UUID) -> bool:
        """See `leases.Leases`."""
        lease = self._index.leases.get(execution_id)
        if lease is None or lease.daemon is None or lease.daemon not in self._index.members:
            return False
        lease.hinted = True
        self._index.news.wake(lease.daemon)
        return True

    async def hinted(self, daemon_id: UUID) -> Sequence[UUID]:
        """See `leases.Leases`."""
        found = [
            (execution_id, lease)
            for execution_id, lease in self._index.leases.items()
            if lease.hinted and lease.daemon == daemon_id
        ]
        for _, lease in found:
            lease.hinted = False
        return [execution_id for execution_id, _ in found]

    async def counts(self) -> Mapping[UUID | None, int]:
        """See `leases.Leases`."""
        return Counter(lease.daemon for lease in self._index.leases.values())

    async def members(self) -> Sequence[Member]:
        """See `leases.Leases`."""
        return list(self._index.members.values())

    async def holder(self, execution_id: UUID) -> Member | None:
        """See `leases.Leases`."""
        lease = self._index.leases.get(execution_id)
        return None if lease is None or lease.daemon is None else self._index.members.get(lease.daemon)

    async def leave(self, daemon_id: UUID) -> None:
        """See `leases.Leases`."""
        async with self._index.writing:
            if self._index.members.pop(daemon_id, None) is not None:
                self._index.news.wake_all()

    @asynccontextmanager
    async def news(self, daemon_id: UUID) -> AsyncIterator[asyncio.Event]:
        """See `leases.Leases`."""
        with self._index.news.of(daemon_id) as event:
            yield event

    def _check(self, daemon_id: UUID) -> None:
        if daemon_id not in self._index.members:
            raise Fenced([daemon_id])
