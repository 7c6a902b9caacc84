"""What can go wrong, by what the caller should do."""

from __future__ import annotations

from typing import Any


class ClientError(Exception):
    """Base of the errors of this package; never raised itself."""


class NotFound(ClientError):
    """There is no such thing, or retention has deleted it: the message says where it is then."""


class Refused(ClientError):
    """The daemon does not do this, now or ever: repeating it unchanged does not help. Nothing was recorded."""

    def __init__(self, message: str, status: int) -> None:
        super().__init__(message)
        self.status = status
        """Of the HTTP answer."""


class NoAnswer(ClientError):
    """No daemon answered, or it cannot now. What was asked for may have been done: repeat it, with the same key."""


class NotCompleted(ClientError):
    """The execution has ended, and not well."""

    def __init__(self, execution: dict[str, Any]) -> None:
        error = execution.get("error") or {}
        message = error.get("message") or execution.get("reason") or ""
        super().__init__(f"execution {execution['execution_id']} {execution['status']}" + (message and f": {message}"))
        self.execution = execution
        """As `Execution.show` gives it."""
