"""Random definitions and executions of the whole language: 1,000 by default, any number by hand (`generator`).

python -m tests.core.generator --cases 50000 --processes 2
"""

from __future__ import annotations

import pytest

from daemon.core.events import EVENT_TYPES, ExecutionForked, ExecutionMigrated, ExecutionRewound, RewindRequested
from daemon.nodes import builtin_node_types
from tests.core.generator.dice import Dice
from tests.core.generator.executions import case
from tests.core.generator.graphs import LEVELS
from tests.core.generator.shrinking import smallest
from tests.core.generator.trial import fault_of

CASES = 1_000
IN_A_TEST = 50
OF_BRANCHES = {ExecutionForked, RewindRequested, ExecutionRewound, ExecutionMigrated}
"""See `test_branching_properties`: these go on from any of the executions that are drawn here."""


@pytest.mark.parametrize("first", range(0, CASES, IN_A_TEST))
def test_all_laws_hold(first: int) -> None:
    """Every case ends, and every law holds for it."""
    for number in range(first, first + IN_A_TEST):
        fault = fault_of(case(number))
        assert fault is None, f"{fault}; the smallest like it: python -m tests.core.generator --case {number}"


def test_the_cases_have_everything_that_there_is() -> None:
    """Every type of node, every event, bodies as deep in each other as they are to be."""
    drawn = [case(number) for number in range(200)]
    plans = [each.history.plan for each in drawn if each.history is not None]
    nodes = [node for plan in plans for node in plan.nodes.values()]
    assert {node.type.name for node in nodes} == {*builtin_node_types(), "notice"}
    assert max(node.id.count("_") for node in nodes) == LEVELS
    events = {type(event) for each in drawn if each.history is not None for event in each.history.events}
    assert events == set(EVENT_TYPES) - OF_BRANCHES
    assert {plan.definition.undo for plan in plans} == {"automatic", "manual", "confirm_each", "none"}


def test_a_number_is_a_case() -> None:
    """Drawn again, by its number or by its choices, it is the same."""
    one, other = case(7), case(7)
    again = case(0, one.choices)
    assert one.history is not None
    assert other.history is not None
    assert again.history is not None
    assert one.history.events == other.history.events == again.history.events
    assert one.document == again.document


def test_choices_are_made_smaller_while_the_fault_stays() -> None:
    """What is left of the choices is what the fault needs."""

    def shows_it(choices: tuple[tuple[int, ...], ...]) -> bool:
        dice = Dice(again=choices[0])
        drawn = [dice.below(100) for _ in range(dice.below(10))]
        return any(each > 40 for each in drawn)

    assert smallest(((9, 1, 2, 77, 3, 50, 4, 5, 99, 6),), shows_it) == ((1, 41),)
