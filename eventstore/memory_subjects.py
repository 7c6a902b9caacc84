"""The keys of subjects in memory.

Comes from: `store`. Goes to: `memory`.
"""

from __future__ import annotations

from collections import defaultdict
from typing import TYPE_CHECKING

from msgspec.structs import replace

from eventstore.subjects import KeyUse, Sealed, SubjectKey

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Mapping, Sequence
    from datetime import datetime
    from uuid import UUID

    from eventstore.memory import MemoryIndex


class MemorySubjects:
    """`subjects.Subjects` in dicts."""

    def __init__(self, index: MemoryIndex) -> None:
        self._index = index
        self._keys: dict[str, SubjectKey] = {}
        self._used: defaultdict[UUID, set[str]] = defaultdict(set)
        self._at_rest: set[str] = set()
        self.count: Callable[[Sequence[UUID]], Awaitable[tuple[int, int, int]]]
        """Gives how many events, snapshots and results there are of executions."""
        self.drop: Callable[[Sequence[UUID]], Awaitable[None]]
        """Drops snapshots, chunks and results of executions."""

    def use(self, execution_id: UUID, key_ids: Sequence[str]) -> None:
        """Note that these are keys of the execution."""
        self._used[execution_id].update(key_ids)

    def is_there(self, key_id: str) -> bool:
        """Tell whether the key is known and was not destroyed."""
        key = self._keys.get(key_id)
        return key is not None and key.wrapped is not None

    def stored(self, key_ids: Sequence[str]) -> Mapping[str, bytes | None]:
        """Return what `wrapped` does."""
        return {key_id: self._keys[key_id].wrapped for key_id in key_ids if key_id in self._keys}

    async def in_use(self, hashes: Sequence[str]) -> Sequence[SubjectKey]:
        """See `subjects.Subjects`."""
        return [key for key in reversed(await self.known(hashes)) if key.forgotten_at is None]

    async def known(self, hashes: Sequence[str]) -> Sequence[SubjectKey]:
        """See `subjects.Subjects`."""
        found = [key for key in self._keys.values() if key.hash is not None and key.hash in hashes]
        return sorted(found, key=lambda key: key.created_at, reverse=True)

    async def of_execution(self, execution_id: UUID) -> Sequence[SubjectKey]:
        """See `subjects.Subjects`."""
        found = [self._keys[key_id] for key_id in self._used.get(execution_id, ())]
        return sorted(found, key=lambda key: (key.hash is not None, key.key_id))

    async def add(self, key: SubjectKey) -> None:
        """See `subjects.Subjects`."""
        if key.hash is None or not await self.in_use([key.hash]):
            self._keys.setdefault(key.key_id, key)

    async def wrapped(self, key_ids: Sequence[str]) -> Mapping[str, bytes | None]:
        """See `subjects.Subjects`."""
        return self.stored(key_ids)

    async def rewrap(self, key: SubjectKey) -> None:
        """See `subjects.Subjects`."""
        if self.is_there(key.key_id):
            self._keys[key.key_id] = replace(self._keys[key.key_id], wrapped=key.wrapped, hash=key.hash)

    async def uses(self, *, after: str = "", limit: int = 100) -> Sequence[KeyUse]:
        """See `subjects.Subjects`."""
        keys = sorted(key_id for key_id, key in self._keys.items() if key_id > after and key.hash is not None)
        return [
            KeyUse(
                key=self._keys[key_id],
                executions=len(self._executions([key_id])),
                open=len(await self.open_executions([key_id])),
            )
            for key_id in keys[:limit]
        ]

    async def sealed(self, key_ids: Sequence[str]) -> Sealed:
        """See `subjects.Subjects`."""
        found = self._executions(key_ids)
        events, snapshots, results = await self.count(found)
        return Sealed(executions=len(found), events=events, snapshots=snapshots, results=results)

    async def open_executions(self, key_ids: Sequence[str], *, limit: int = 100) -> Sequence[UUID]:
        """See `subjects.Subjects`."""
        rows = [await self._index.execution(execution_id) for execution_id in self._executions(key_ids)]
        return [row.execution_id for row in rows if row is not None and row.finished_at is None][:limit]

    async def destroy(self, key_ids: Sequence[str], *, by: str, reason: str, at: datetime) -> bool:
        """See `subjects.Subjects`."""
        async with self._index.writing:
            executions = self._executions(key_ids)
            beside = {key_id for each in executions for key_id in self._used[each]}
            every = [*key_ids, *(key_id for key_id in beside if self._keys[key_id].hash is None)]
            if await self.open_executions(every):
                return False
            for key_id in every:
                if self.is_there(key_id):
                    self._keys[key_id] = replace(
                        self._keys[key_id], wrapped=None, name=None, forgotten_at=at, forgotten_by=by, reason=reason
                    )
        await self.drop(executions)
        return True

    async def at_rest(self) -> Sequence[str]:
        """See `subjects.Subjects`."""
        return sorted(self._at_rest)

    async def add_at_rest(self, key_id: str, *, at: datetime) -> None:  # noqa: ARG002  the port's signature
        """See `subjects.Subjects`."""
        self._at_rest.add(key_id)

    def _executions(self, key_ids: Sequence[str]) -> list[UUID]:
        return sorted(execution_id for execution_id, keys in self._used.items() if keys & set(key_ids))
