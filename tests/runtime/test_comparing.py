"""What differs between states: laws over generated executions, and what people are shown."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import jsonpatch
import pytest
from hypothesis import given
from hypothesis import strategies as st

from daemon.core.differences import natural
from daemon.core.evolve import fold
from daemon.runtime.comparing import IDENTITY, TIMES, Side, compared, patch_of
from daemon.runtime.views import plain, state_view
from eventstore.log import Recorded
from tests.core.generator.executions import case
from tests.core.histories import History, histories
from tests.core.spec import EXECUTION

if TYPE_CHECKING:
    from collections.abc import Sequence


def side(history: History, version: int) -> Side:
    events = history.events[:version]
    recorded = [Recorded(EXECUTION, number, number, event) for number, event in enumerate(events, start=1)]
    return Side(EXECUTION, fold(events), recorded)


def document(given: Side) -> Any:
    return plain(state_view(given.execution_id, given.state))


@given(histories(max_turns=60), st.data())
def test_a_state_is_the_same_as_itself(history: History, data: st.DataObject) -> None:
    one = side(history, data.draw(st.integers(0, len(history.events))))
    view = compared(one, side(history, one.state.version))
    assert view["same"]
    assert not any(view[name] for name in ("execution", "variables", "waiting", "timing"))
    assert view["steps"] == {"added": [], "removed": [], "changed": []}
    assert patch_of(one, one) == []


@given(histories(max_turns=60), st.data())
def test_the_patch_leads_from_the_first_state_to_the_second(history: History, data: st.DataObject) -> None:
    """In both directions, applied by a library that knows nothing of us."""
    one, other = (side(history, data.draw(st.integers(0, len(history.events)))) for _ in range(2))
    for before, after in ((one, other), (other, one)):
        patched = jsonpatch.apply_patch(document(before), patch_of(before, after))
        assert patched == document(after)


@pytest.mark.parametrize("first", range(0, 100, 25))
def test_the_same_holds_for_the_whole_language(first: int) -> None:
    """Of generated executions; and those that are said to be the same differ in times and identities only."""
    for number in range(first, first + 25):
        if (history := case(number).history) is None:
            continue
        end = len(history.events)
        one, other = side(history, end * number // (first + 25)), side(history, end)
        assert jsonpatch.apply_patch(document(one), patch_of(one, other)) == document(other)
        view = compared(one, other)
        assert not view["same"] or _bare(document(one)) == _bare(document(other))
        assert [step["address"] for step in view["steps"]["added"]] == [
            address for address in _sorted(document(other)) if address not in document(one).get("steps", {})
        ]


def _bare(value: Any) -> Any:
    if isinstance(value, dict):
        return {key: _bare(each) for key, each in value.items() if key not in IDENTITY | TIMES and each != {}}
    return [_bare(each) for each in value] if isinstance(value, list) else value


def _sorted(view: Any) -> Sequence[str]:
    return sorted(view.get("steps", {}), key=natural)
