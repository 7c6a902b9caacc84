"""One wish for many executions."""

from __future__ import annotations

import pytest

from daemon.cli.bulk import Asked, each_of
from daemon.cli.faults import Failed, NoAnswer


def refused(execution_id: str, error: str) -> Asked:
    return {"id": execution_id, "error": error}


def test_what_is_refused_is_told_and_the_rest_is_asked() -> None:
    def ask(execution_id: str) -> Asked:
        if execution_id == "b":
            raise Failed("no")
        return {"id": execution_id, "error": None}

    done = each_of(["a", "b", "c"], ask, refused, lambda _: None, quiet=True)
    assert done == [{"id": "a", "error": None}, {"id": "b", "error": "no"}, {"id": "c", "error": None}]


@pytest.mark.parametrize(("dies_at", "shown"), [("a", []), ("b", [[{"id": "a", "error": None}]])])
def test_without_a_daemon_the_rest_is_not_asked(dies_at: str, shown: list[list[Asked]]) -> None:
    """What was done until then is shown."""
    asked: list[str] = []
    told: list[list[Asked]] = []

    def ask(execution_id: str) -> Asked:
        asked.append(execution_id)
        if execution_id == dies_at:
            raise NoAnswer("it died")
        return {"id": execution_id, "error": None}

    with pytest.raises(NoAnswer, match="it died"):
        each_of(["a", "b", "c"], ask, refused, told.append, quiet=True)
    assert (asked[-1], told) == (dies_at, shown)
