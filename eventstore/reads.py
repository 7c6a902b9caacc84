"""Which payloads were read lately, so that those that nobody reads can go first.

Noted in memory, and written by whoever takes the notes, now and then: reading itself writes nothing. What reads the
whole log, or stored forms (followers, exports, `verify`), is not counted. A crash forgets what was not written yet.

Comes from: the logs. Goes to: daemon/runtime/quotas, `usage.Usage.note_reads`.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterable

MOST = 100_000
"""More are not noted before the notes are taken."""


class Reads:
    """Hashes of payloads. Notes nothing until it is `wanted`. For one event loop."""

    def __init__(self) -> None:
        self.wanted = False
        self._noted: set[str] = set()

    def note(self, hashes: Iterable[str]) -> None:
        """Note that these were read."""
        if self.wanted and len(self._noted) < MOST:
            self._noted.update(hashes)

    def take(self) -> set[str]:
        """Return what was noted since the last time."""
        taken, self._noted = self._noted, set()
        return taken
