"""What an exception of a handler looks like in the log: bounded, and without secrets.

Comes from: `steps`, `process_worker`. Goes to: daemon/core/events.
"""

from __future__ import annotations

import traceback
from pathlib import Path
from typing import TYPE_CHECKING

from msgspec.structs import replace

from daemon.core.events import StepError
from daemon.core.values import NULL, Json, bounded_json, from_json, to_json
from daemon.nodes.context import StepFailure

if TYPE_CHECKING:
    from types import TracebackType

    from daemon.runtime.secrets import Disclosed

MAX_MESSAGE = 2_000
MAX_TRACEBACK = 8_000
"""Characters."""

_MAX_FRAMES = 30
_OURS = str(Path(__file__).parents[1])


class ProcessFailure(Exception):
    """A handler failed in another process, where its exception was described already."""

    def __init__(self, error: StepError, *, retryable: bool) -> None:
        super().__init__(error.message)
        self.error, self.retryable = error, retryable


def describe(error: BaseException, attempt: int) -> tuple[StepError, bool]:
    """Return how the exception is recorded, and whether the attempt may be tried again."""
    match error:
        case ProcessFailure():
            return error.error, error.retryable
        case StepFailure():
            type_name = "" if type(error) is StepFailure else type(error).__name__
            details = _details(error.details)
            code = _well_formed(str(error.code)) or "error"
            return StepError(_message(error), code, type_name, attempt, details), bool(error.retryable)
        case _:
            details = to_json({"traceback": _traceback(error)})
            return StepError(_message(error), "error", type(error).__name__, attempt, details), True


def without_secrets(error: StepError, disclosed: Disclosed) -> StepError:
    """Return the error with every secret struck out."""
    details = to_json(disclosed.hide_in(from_json(error.details)))
    return replace(error, message=disclosed.hide(error.message), details=details)


def _message(error: BaseException) -> str:
    try:
        text = _well_formed(str(error)) or type(error).__name__
    except Exception:  # noqa: BLE001  an exception of the user's that cannot even be shown
        text = type(error).__name__
    return text if len(text) <= MAX_MESSAGE else text[: MAX_MESSAGE - 1] + "…"


def _details(value: object) -> Json:
    if value is None:
        return NULL
    try:
        return bounded_json(value)
    except (TypeError, ValueError, OverflowError):
        return to_json(_well_formed(repr(value))[:MAX_MESSAGE])


def _traceback(error: BaseException) -> str:
    """Return the end of the traceback, from where it leaves our own frames; all of it when it never does."""
    trace: TracebackType | None = error.__traceback__
    while trace is not None and trace.tb_frame.f_code.co_filename.startswith(_OURS):
        trace = trace.tb_next
    text = "".join(traceback.format_exception(type(error), error, trace or error.__traceback__, limit=-_MAX_FRAMES))
    return _well_formed(text)[-MAX_TRACEBACK:]


def _well_formed(text: str) -> str:
    """Return text that has a UTF-8 form: file names and the like may hold lone surrogates."""
    return text.encode(errors="replace").decode()
