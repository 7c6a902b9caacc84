"""What differs between two values, and the patch that leads from one to the other."""

from __future__ import annotations

import json
from typing import Any

import jsonpatch
from hypothesis import given
from hypothesis import strategies as st
from msgspec import UNSET

from daemon.core.differences import Difference, differences, dotted, natural, patch, pointer

KEYS = st.text("ab/~.[0", max_size=3)
VALUES = st.recursive(
    st.none() | st.booleans() | st.integers(-2, 2) | st.floats(-1, 1) | st.text("ab", max_size=2),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(KEYS, inner, max_size=4),
    max_leaves=20,
)


def text(value: Any) -> str:
    return json.dumps(value, sort_keys=True)


@given(VALUES)
def test_equal_values_have_no_differences(value: Any) -> None:
    assert list(differences(value, json.loads(json.dumps(value)))) == []


@given(VALUES, VALUES)
def test_values_without_differences_are_equal(before: Any, after: Any) -> None:
    assert (list(differences(before, after)) == []) is (text(before) == text(after))


@given(VALUES, VALUES)
def test_the_patch_makes_the_second_of_the_first(before: Any, after: Any) -> None:
    """As a library reads RFC 6902 that knows nothing of us."""
    operations = patch(differences(before, after))
    assert text(jsonpatch.apply_patch(before, operations)) == text(after)


@given(VALUES, VALUES)
def test_the_differences_back_are_the_same_places(before: Any, after: Any) -> None:
    there, back = differences(before, after), differences(after, before)
    assert [(each.place, each.before, each.after) for each in there] == [
        (each.place, each.after, each.before) for each in back
    ]


def test_what_was_added_removed_and_replaced() -> None:
    before, after = {"a": 1, "b": [1, 2, 3], "c": 1}, {"a": "1", "b": [1, 5], "d": {}}
    assert list(differences(before, after)) == [
        Difference(("a",), 1, "1"),
        Difference(("b", 1), 2, 5),
        Difference(("b", 2), 3, UNSET),
        Difference(("c",), 1, UNSET),
        Difference(("d",), UNSET, {}),
    ]


def test_items_are_removed_from_the_end_of_a_list() -> None:
    paths = [each["path"] for each in patch(differences([1, 2, 3], [1]))]
    assert paths == ["/2", "/1"]


def test_a_place_is_written_as_a_pointer_and_for_people() -> None:
    place = ("steps", "each[2].a/b~", "output", 3, "price")
    assert pointer(place) == "/steps/each[2].a~1b~0/output/3/price"
    assert dotted(place) == "steps.each[2].a/b~.output[3].price"


def test_addresses_are_sorted_as_people_count() -> None:
    addresses = ["each[10].a", "each[2].b", "each[2].a", "charge", "", "each"]
    assert sorted(addresses, key=natural) == ["", "charge", "each", "each[2].a", "each[2].b", "each[10].a"]
