"""Why a step failed: part of events, of the state, and of what an `error` edge hands on."""

from __future__ import annotations

from msgspec import Struct

from daemon.core.values import NULL, Json


class StepError(Struct, frozen=True, gc=False, omit_defaults=True):
    """Why an attempt failed: what an `error` edge hands on as `{message, code, type, attempt}`."""

    message: str
    code: str
    """Stable word for rules: `error`, `timeout`, `expression`, `http_404`, or what the handler chose."""
    type: str = ""
    """Class name of the Python exception, when there was one."""
    attempt: int = 1
    details: Json = NULL
