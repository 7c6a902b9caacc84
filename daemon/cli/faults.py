"""Errors as messages and exit codes: one table.

Imports nothing heavy: an error's class is looked up by name, because its module may not have been imported.
"""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Mapping

EXIT_CODES: Mapping[str, int] = {
    "Failed": 1,
    "Refused": 1,
    "Rejected": 1,
    "Conflict": 1,
    "Undecodable": 1,
    "Unroutable": 1,
    "BadUsage": 2,
    "Misconfigured": 2,
    "Unusable": 2,
    "ExecutionNotFound": 3,
    "UnknownName": 3,
    "UnknownWorkflow": 3,
    "UnknownTrigger": 3,
    "NotFound": 3,
    "NoAnswer": 4,
    "Away": 4,
    "Unavailable": 4,
    "BrokerUnavailable": 4,
}
"""Name of the error's class, or of the nearest of its bases -> exit code; see the package."""

OURS = ("daemon.", "eventstore.", "triggers.")


class CommandError(Exception):
    """What a command found wrong; `hint` says what to do. Never raised itself."""

    def __init__(self, message: str, *, hint: str | None = None) -> None:
        super().__init__(message)
        self.hint = hint


class Failed(CommandError):
    """It was tried and did not work, or was refused."""


class BadUsage(CommandError):
    """The command cannot work as written."""


class NotFound(CommandError):
    """There is no such thing."""


class NoAnswer(CommandError):
    """The daemon, or what stands behind it, did not answer."""


def exit_code_of(error: BaseException) -> int | None:
    """Return the code for an error that is foreseen, the greatest for a group of such; None for a surprise."""
    if isinstance(error, BaseExceptionGroup):
        codes = [exit_code_of(one) for one in error.exceptions]
        return None if None in codes else max(code for code in codes if code is not None)
    for cls in type(error).__mro__:
        if cls.__module__.startswith(OURS) and cls.__name__ in EXIT_CODES:
            return EXIT_CODES[cls.__name__]
    return None


def report(error: BaseException) -> None:
    """Say on stderr what is wrong and what to do."""
    if isinstance(error, BaseExceptionGroup):
        for one in error.exceptions:
            report(one)
        return
    lines = str(error).splitlines() or [type(error).__name__]
    sys.stderr.write("".join(f"error: {line}\n" for line in lines))
    hint = getattr(error, "hint", None)
    if hint:
        sys.stderr.write(f"hint: {hint}\n")
