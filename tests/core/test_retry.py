"""How long the pause before an attempt is, and which errors are tried again."""

from __future__ import annotations

from datetime import timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st

from daemon.core.retry import LONGEST_DELAY, Backoff, RetryPolicy, delay_before, may_retry

SECOND = timedelta(seconds=1)


@pytest.mark.parametrize(
    ("backoff", "seconds"), [("fixed", [1, 1, 1, 1]), ("linear", [1, 2, 3, 4]), ("exponential", [1, 2, 4, 8])]
)
def test_the_pause_grows_as_the_policy_says(backoff: Backoff, seconds: list[int]) -> None:
    policy = RetryPolicy(max_attempts=9, backoff=backoff, initial=SECOND)
    assert [delay_before(policy, attempt, 0).total_seconds() for attempt in (2, 3, 4, 5)] == seconds


def test_the_longest_pause_bounds_it_at_any_attempt() -> None:
    assert delay_before(RetryPolicy(initial=SECOND, max=5 * SECOND), 50, 0) == 5 * SECOND
    assert delay_before(RetryPolicy(initial=SECOND), 100_000, 0) == LONGEST_DELAY


@given(jitter=st.floats(0, 1, exclude_max=True), share=st.floats(0, 1))
def test_jitter_only_shortens_and_by_its_share_at_most(jitter: float, share: float) -> None:
    pause = delay_before(RetryPolicy(initial=SECOND, jitter=share), 2, jitter)
    assert 1 - share - 1e-6 <= pause.total_seconds() <= 1  # a timedelta counts microseconds


def test_attempts_end_and_some_errors_are_never_tried_again() -> None:
    policy = RetryPolicy(max_attempts=2, non_retryable=("declined", "ValueError"))
    assert may_retry(policy, attempt=1, code="error", type_name="OSError")
    assert not may_retry(policy, attempt=2, code="error", type_name="OSError")
    assert not may_retry(policy, attempt=1, code="declined", type_name="")
    assert not may_retry(policy, attempt=1, code="error", type_name="ValueError")
