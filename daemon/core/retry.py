"""When a failed attempt is tried again."""

from __future__ import annotations

from datetime import timedelta
from typing import Literal, assert_never

from msgspec import Struct

Backoff = Literal["fixed", "linear", "exponential"]

LONGEST_DELAY = timedelta(days=365)


class RetryPolicy(Struct, frozen=True, kw_only=True):
    """How often, how soon, and for which errors. The default is one attempt: no retry."""

    max_attempts: int = 1
    """Attempts in all, from 1."""
    backoff: Backoff = "exponential"
    initial: timedelta = timedelta(seconds=1)
    """Pause before the second attempt."""
    factor: float = 2.0
    """Growth of the pause, for `exponential`."""
    max: timedelta | None = None
    """Longest pause."""
    jitter: float = 0.0
    """Share of the pause that is left to chance, 0 to 1: 0.2 spreads it over 80 % to 100 % of itself."""
    non_retryable: tuple[str, ...] = ()
    """Error codes and exception class names that are never tried again."""


def delay_before(policy: RetryPolicy, attempt: int, jitter: float) -> timedelta:
    """Return the pause before `attempt` (2 is the first retry); `jitter` in [0, 1) is the dice already thrown."""
    longest = (policy.max or LONGEST_DELAY).total_seconds()
    try:
        seconds = min(policy.initial.total_seconds() * _growth(policy, attempt - 2), longest)
    except OverflowError:
        seconds = longest
    return timedelta(seconds=seconds * (1 - policy.jitter * jitter))


def _growth(policy: RetryPolicy, turn: int) -> float:
    match policy.backoff:
        case "fixed":
            return 1.0
        case "linear":
            return float(turn + 1)
        case "exponential":
            return float(policy.factor**turn)
        case _:
            assert_never(policy.backoff)


def may_retry(policy: RetryPolicy, *, attempt: int, code: str, type_name: str) -> bool:
    """Tell whether a failure of `attempt` with this error is followed by another attempt."""
    return attempt < policy.max_attempts and code not in policy.non_retryable and type_name not in policy.non_retryable
