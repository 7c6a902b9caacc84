"""What befell a run, in a file of JSON lines and on the screen."""

from __future__ import annotations

import json
import sys
from typing import TYPE_CHECKING, Any

from tests.faults.chaos.fleet import now_s

if TYPE_CHECKING:
    from pathlib import Path


class Timeline:
    """Times are seconds since the beginning of the run."""

    def __init__(self, file: Path, *, quiet: bool) -> None:
        self._file = file.open("a", buffering=1)
        self._quiet = quiet
        self.began_s = now_s()

    def note(self, kind: str, *, at_s: float | None = None, ended_s: float | None = None, **more: Any) -> None:
        """Write a line."""
        at = round((now_s() if at_s is None else at_s) - self.began_s, 2)
        entry = {"at": at, "kind": kind, **more}
        if ended_s is not None:
            entry["lasted"] = round(ended_s - self.began_s - at, 2)
        self._file.write(f"{json.dumps(entry)}\n")
        if not self._quiet:
            lasted = f" {entry['lasted']:6.1f} s" if "lasted" in entry else " " * 9
            sys.stdout.write(f"{at:8.1f}{lasted}  {kind:18} {more.get('what', '')}\n")
            sys.stdout.flush()

    def close(self) -> None:
        """End it."""
        self._file.close()
