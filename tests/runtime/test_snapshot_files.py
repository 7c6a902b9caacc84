"""Documents of snapshots: whatever is changed in one is told with its place, or is a state all the same."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, get_origin, get_type_hints

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st
from immutables import Map

from daemon.core.errors import InvalidInput
from daemon.core.evolve import fold
from daemon.core.snapshot import FORMAT, encode_state
from daemon.core.state import Finished, NotStarted, Running
from daemon.runtime.snapshot_files import read_state
from tests.core.histories import History, histories

if TYPE_CHECKING:
    from collections.abc import Iterator

Place = tuple[str | int, ...]
ODD: st.SearchStrategy[Any] = (
    st.none() | st.booleans() | st.integers() | st.text(max_size=3) | st.just([]) | st.just({}) | st.just({"a": 1})
)


def places(value: Any, place: Place = ()) -> Iterator[Place]:
    """Yield every place in a JSON value."""
    parts = value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ()
    for key, inner in parts:
        yield (*place, key)
        yield from places(inner, (*place, key))


MAPS = {
    name
    for kind in (NotStarted, Running, Finished)
    for name, hint in get_type_hints(kind).items()
    if get_origin(hint) is Map
}
"""Fields whose keys are addresses and names."""


def put(document: Any, place: Place, value: Any) -> bytes:
    at = document
    for part in place[:-1]:
        at = at[part]
    at[place[-1]] = value
    return msgspec.json.encode(document)


@given(histories(max_turns=30), st.data())
def test_whatever_was_changed_is_told_with_its_place(history: History, data: st.DataObject) -> None:
    """The place that is told is the one that was changed, or one around it or in it."""
    text = encode_state(fold(history.events))
    document = msgspec.json.decode(text)
    place = data.draw(st.sampled_from(list(places(document))))
    try:
        read_state(FORMAT, put(document, place, data.draw(ODD)))
    except InvalidInput as refused:
        told = str(refused).partition(": ")[0]
        changed = "$.state" + "".join(_written(place))
        assert changed.startswith(told.removesuffix("`")) or told.startswith(changed) or "key` in" in told


def _written(place: Place) -> Iterator[str]:
    """Write fields of structs with a dot, and entries of maps and lists in brackets, as far as it is known here."""
    for depth, part in enumerate(place):
        in_a_map = isinstance(part, str) and depth == 1 and place[0] in MAPS
        yield f"[{part}]" if isinstance(part, int) else f'["{part}"]' if in_a_map else f".{part}"


def test_the_entry_of_a_map_is_named() -> None:
    """One of very many, found without trying each."""
    steps = {f"each[{number}].a": {"type": "Skipped", "at": "2031-05-01T00:00:00Z"} for number in range(3000)}
    steps["each[1234].a"]["at"] = "soon"
    running = {"type": "Running", "version": 1, "execution_id": "0" * 32, "workflow": "w", "definition": "d"}
    running |= dict.fromkeys(("input", "trigger", "trigger_name", "dedupe_key", "traceparent"))
    text = msgspec.json.encode({**running, "started_at": "2031-05-01T00:00:00Z", "steps": steps})
    with pytest.raises(InvalidInput, match=r'^\$\.state\.steps\["each\[1234\]\.a"\]\.at: '):
        read_state(FORMAT, text)
