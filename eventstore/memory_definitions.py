"""Definitions and cursors in memory.

Comes from: `store`.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Sequence
    from datetime import datetime

    from eventstore.log import StoredDefinition


class MemoryDefinitions:
    """`log.Definitions` in a dict."""

    def __init__(self) -> None:
        self._by_hash: dict[str, StoredDefinition] = {}

    async def put(self, definition: StoredDefinition) -> None:
        """See `log.Definitions`."""
        self._by_hash.setdefault(definition.hash, definition)

    async def get(self, definition_hash: str) -> StoredDefinition | None:
        """See `log.Definitions`."""
        return self._by_hash.get(definition_hash)

    async def find(self, workflow: str, prefix: str) -> Sequence[str]:
        """See `log.Definitions`."""
        of_workflow = (known.hash for known in self._by_hash.values() if known.workflow == workflow)
        return sorted(found for found in of_workflow if found.startswith(prefix))[:2]

    async def hashes(self, *, after: str = "", limit: int) -> Sequence[str]:
        """See `log.Definitions`."""
        return sorted(found for found in self._by_hash if found > after)[:limit]

    async def first_seen(self, workflow: str) -> datetime | None:
        """See `log.Definitions`."""
        return min(
            (known.first_seen_at for known in self._by_hash.values() if known.workflow == workflow), default=None
        )


class MemoryCursors:
    """`log.Cursors` in a dict."""

    def __init__(self) -> None:
        self._positions: dict[str, int] = {}

    async def load(self, name: str) -> int:
        """See `log.Cursors`."""
        return self._positions.get(name, 0)

    async def save(self, name: str, position: int) -> None:
        """See `log.Cursors`."""
        self._positions[name] = max(position, self._positions.get(name, 0))
