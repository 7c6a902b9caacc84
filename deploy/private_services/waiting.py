"""Waiting for a condition, never for an amount of time."""

import time
from collections.abc import Callable

from deploy.private_services.errors import ServiceError

POLL_INTERVAL_S = 0.05


def holds_within(limit_s: float, condition: Callable[[], bool]) -> bool:
    """Ask again and again until the condition holds (True) or the time is over (False)."""
    deadline = time.monotonic() + limit_s
    while not condition():
        if time.monotonic() > deadline:
            return False
        time.sleep(POLL_INTERVAL_S)
    return True


def wait_until(condition: Callable[[], bool], *, limit_s: float, what: str) -> None:
    """Return as soon as the condition holds.

    Raises:
        ServiceError: it did not hold within `limit_s` seconds; `what` completes "waited in vain for ...".

    """
    if not holds_within(limit_s, condition):
        raise ServiceError(f"waited {limit_s:.0f} s in vain for {what}")
