"""What can go wrong at the edge, sorted by what the caller must do."""

from __future__ import annotations


class TriggerError(Exception):
    """Base of the others; never raised itself."""


class BrokerUnavailable(TriggerError):
    """The broker did not answer or did not confirm. Repeat after a pause; the message may or may not be there."""


class Unroutable(TriggerError):
    """The broker has no place for the message: unknown topic, exchange or queue, no permission, or too large.

    Repeating helps only after somebody has changed the broker or the settings.
    """


class TooLarge(Unroutable):
    """The broker takes no message of this size."""


class ExpressionFailed(TriggerError):
    """Raised by the callables of a `Route` when their expression has no value for this message."""


class BadCloudEvent(TriggerError):
    """The message says that it is a CloudEvent and breaks the specification."""


class Refused(TriggerError):
    """A webhook delivery was not accepted. `status` is the HTTP status to answer with; the sender may try again."""

    def __init__(self, reason: str, status: int) -> None:
        super().__init__(reason)
        self.reason = reason
        self.status = status
