"""What `doctor` says of one thing it has looked at."""

from __future__ import annotations

from typing import TYPE_CHECKING

from msgspec import Struct

if TYPE_CHECKING:
    from daemon.core.errors import Misconfigured


class Finding(Struct, frozen=True):
    """One thing, how it is, and how to mend it."""

    about: str
    status: str
    """`ok` | `warning` | `broken`."""
    detail: str
    mend: str = ""


def fine(about: str, detail: str) -> Finding:
    """Return that it is as it should be."""
    return Finding(about, "ok", detail)


def doubtful(about: str, detail: str, mend: str) -> Finding:
    """Return that it works, but perhaps not as meant."""
    return Finding(about, "warning", detail, mend)


def broken(about: str, detail: str, mend: str) -> Finding:
    """Return that the daemon cannot work like this."""
    return Finding(about, "broken", detail, mend)


def problems(about: str, error: Misconfigured, mend: str) -> list[Finding]:
    """Return a finding for each problem; its own hint goes before `mend`."""
    found = []
    for problem in error.problems:
        place = ":".join(str(part) for part in (problem.file, problem.line, problem.column) if part is not None)
        detail = f"{place}: {problem.message}" if place else problem.message
        found.append(broken(about, detail, problem.hint or mend))
    return found
