"""Snapshots in memory.

Comes from: `store.open_store`.
"""

from __future__ import annotations

from collections import defaultdict
from typing import TYPE_CHECKING

from msgspec.structs import replace

from eventstore.snapshots import Snapshot, Stored

if TYPE_CHECKING:
    from collections.abc import Sequence
    from datetime import datetime
    from uuid import UUID


class MemorySnapshots:
    """`snapshots.Snapshots` in dicts."""

    def __init__(self) -> None:
        self._by_execution: defaultdict[UUID, dict[int, Snapshot]] = defaultdict(dict)

    async def save(self, snapshot: Snapshot, *, keep_last: int) -> None:
        """See `snapshots.Snapshots`."""
        kept = self._by_execution[snapshot.execution_id]
        before = kept.get(snapshot.version)
        if before is not None and snapshot.label is None:
            snapshot = replace(snapshot, label=before.label)
        kept[snapshot.version] = snapshot
        unlabelled = sorted((version for version, held in kept.items() if held.label is None), reverse=True)
        for version in unlabelled[keep_last:]:
            del kept[version]

    async def latest(
        self, execution_id: UUID, *, up_to_version: int | None = None, covers_to: datetime | None = None
    ) -> Snapshot | None:
        """See `snapshots.Snapshots`."""
        fitting = (
            held
            for held in self._by_execution.get(execution_id, {}).values()
            if (up_to_version is None or held.version <= up_to_version)
            and (covers_to is None or (held.covers_to is not None and held.covers_to <= covers_to))
        )
        return max(fitting, key=lambda held: held.version, default=None)

    async def get(self, execution_id: UUID, version: int) -> Snapshot | None:
        """See `snapshots.Snapshots`."""
        return self._by_execution.get(execution_id, {}).get(version)

    async def all_of(self, execution_id: UUID) -> Sequence[Snapshot]:
        """See `snapshots.Snapshots`."""
        return [held for _, held in sorted(self._by_execution.get(execution_id, {}).items())]

    async def stored(self, execution_id: UUID) -> Sequence[Stored]:
        """See `snapshots.Snapshots`."""
        return [
            Stored(held.version, held.format, len(held.state), held.taken_at, held.label, held.covers_to)
            for held in await self.all_of(execution_id)
        ]

    async def clear(self, execution_id: UUID, *, version: int | None = None) -> int:
        """See `snapshots.Snapshots`."""
        if version is None:
            return len(self._by_execution.pop(execution_id, {}))
        return 0 if self._by_execution.get(execution_id, {}).pop(version, None) is None else 1
