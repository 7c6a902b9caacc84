"""What is said about executions that were deleted, and about workflows that may begin none."""

from __future__ import annotations

import pytest

from daemon.core.errors import ExecutionDeleted, ExecutionNotFound, StorageFull
from tests.core.spec import EXECUTION, NOON


@pytest.mark.parametrize(("archived_as", "where"), [("s3://b/x", "archived as s3://b/x"), (None, "not archived")])
def test_what_was_deleted_is_told_from_what_never_was(archived_as: str | None, where: str) -> None:
    """Whoever handles the one handles the other."""
    error = ExecutionDeleted(EXECUTION, NOON, archived_as)
    assert isinstance(error, ExecutionNotFound)
    assert str(error) == f"execution {EXECUTION} was deleted at {NOON:%Y-%m-%d %H:%M:%S} UTC, {where}"
    assert error.archived_as == archived_as


def test_a_quota_says_what_is_used_of_it() -> None:
    assert str(StorageFull("w", 9, 5)) == "no execution of w is started: its payloads take 9 bytes, its quota is 5"
