"""Fixtures that every test may ask for, and how Hypothesis searches.

The examples are the same in every run, so that a test fails for its own reasons only. `HYPOTHESIS_PROFILE=explore`
looks for new ones.
"""

from __future__ import annotations

import os
import signal
from typing import TYPE_CHECKING

import pytest
import structlog
from hypothesis import HealthCheck, settings

if TYPE_CHECKING:
    from collections.abc import Iterator

pytest_plugins = ["tests.support.services"]

QUIET = [HealthCheck.too_slow, HealthCheck.data_too_large, HealthCheck.filter_too_much]
settings.register_profile("repeatable", deadline=None, derandomize=True, suppress_health_check=QUIET, max_examples=50)
settings.register_profile("explore", deadline=None, suppress_health_check=QUIET, max_examples=1000)
settings.load_profile(os.environ.get("HYPOTHESIS_PROFILE", "repeatable"))

if signal.getsignal(signal.SIGINT) == signal.SIG_IGN:
    signal.signal(signal.SIGINT, signal.default_int_handler)  # a shell lets its background jobs ignore it; ours inherit


@pytest.fixture(autouse=True)
def logs_as_they_were() -> Iterator[None]:
    """Undo what a test has done to logging: commands that run in its process configure it for good."""
    before = structlog.get_config()
    yield
    structlog.configure(**before)
