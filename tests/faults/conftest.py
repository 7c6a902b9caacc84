"""Fixtures of the fault tests."""

from tests.support.process import sagad as sagad  # noqa: PLC0414  a fixture is found by being here
