"""How far a partition is settled, when messages settle out of order. Pure.

Comes from: `kafka`.
"""

from __future__ import annotations

from collections import deque


class Watermark:
    """The offsets taken from one partition, and the one to commit: below it, everything is settled."""

    def __init__(self) -> None:
        self._open: deque[int] = deque()
        self._settled: set[int] = set()
        self._end: int | None = None
        self._committed: int | None = None

    def __len__(self) -> int:
        """Count from the first that is not settled on: what would come again after a crash."""
        return len(self._open)

    def take(self, offset: int) -> None:
        """Note a message received; offsets rise, and may have gaps."""
        self._open.append(offset)
        self._end = offset + 1

    def settle(self, offset: int) -> None:
        """Note its final verdict."""
        self._settled.add(offset)
        while self._open and self._open[0] in self._settled:
            self._settled.remove(self._open.popleft())

    def to_commit(self) -> int | None:
        """Return the offset to commit, the first that is not settled; None when that is committed already."""
        reached = self._open[0] if self._open else self._end
        return None if reached == self._committed else reached

    def committed(self, offset: int) -> None:
        """Note that the broker has it."""
        self._committed = offset
