"""Retry policies and durations as they stand in a definition.

Comes from: `parsing`. Goes to: `retry`.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from msgspec.structs import replace

from daemon.core.durations import DurationError, parse_duration

if TYPE_CHECKING:
    from collections.abc import Mapping
    from datetime import timedelta

    from daemon.core.problems import Findings, Path
    from daemon.core.retry import RetryPolicy


def parse_retry(
    given: Mapping[str, Any] | None, default: RetryPolicy, path: Path, findings: Findings, *, node: str | None = None
) -> RetryPolicy:
    """Read a policy of the right structure; what it does not say is as in `default`."""
    if given is None:
        return default
    read: dict[str, Any] = {key: value for key, value in given.items() if key not in ("initial", "max")}
    for key in ("initial", "max"):
        if key in given and (duration := read_duration(given[key], (*path, key), findings, node=node)) is not None:
            read[key] = duration
    if "non_retryable" in given:
        read["non_retryable"] = tuple(given["non_retryable"])
    policy = replace(default, **read)
    if policy.max is not None and policy.max < policy.initial:
        message = "the longest pause is shorter than the first"
        findings.error(message, (*path, "max"), node=node, hint="make `initial` shorter or `max` longer")
    if policy.max_attempts == 1:
        findings.warn("one attempt is no retry", path, node=node, hint="set `max_attempts` to 2 or more")
    return policy


def read_duration(value: object, path: Path, findings: Findings, *, node: str | None = None) -> timedelta | None:
    """Read a duration; one that is none is a mistake, and gives None."""
    try:
        return parse_duration(value)
    except DurationError as error:
        findings.error(error.message, path, node=node, hint=error.hint)
        return None
