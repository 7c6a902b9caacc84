"""Payloads of a file on their way, kept on disk: a file may hold more of them than memory does.

Comes from: `archive_file`.
"""

from __future__ import annotations

import tempfile
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterable


class Spool:
    """Payloads of a file, out of memory until they are wanted."""

    def __init__(self) -> None:
        self._file = tempfile.TemporaryFile()  # noqa: SIM115  closed by `close`
        self._places: dict[str, tuple[int, int] | None] = {}

    def put(self, key: str, data: bytes | None) -> None:
        """Take one; None for one that was deleted."""
        self._places[key] = None
        if data is not None:
            self._places[key] = self._file.seek(0, 2), len(data)
            self._file.write(data)

    def get(self, keys: Iterable[str]) -> dict[str, bytes | None]:
        """Return those of these that there are."""
        return {key: self._read(self._places[key]) for key in keys if key in self._places}

    def _read(self, place: tuple[int, int] | None) -> bytes | None:
        if place is None:
            return None
        self._file.seek(place[0])
        return self._file.read(place[1])

    def close(self) -> None:
        """Give the space back."""
        self._file.close()
