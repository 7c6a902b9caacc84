"""Random durable functions do the same however often their memory is lost."""

from __future__ import annotations

from typing import TYPE_CHECKING

from hypothesis import given, settings
from hypothesis import strategies as st

from tests.support.function_world import World
from tests.support.programs import program, programs

if TYPE_CHECKING:
    from tests.support.programs import Program


@given(programs(), st.integers(0, 10))
def test_a_program_that_always_crashes_has_the_same_story(written: Program, seed: int) -> None:
    """Its log, its result and the order of all it has seen are those of a run without a crash."""
    undisturbed = World(program, seed).run(written)
    everywhere = range(1, undisturbed.appends + 1)
    crashed = World(program, seed, lost=everywhere, crashed=everywhere).run(written)
    assert crashed.events == undisturbed.events


@given(programs(most=8), st.integers(0, 10))
@settings(max_examples=25 if settings().max_examples < 100 else 300)
def test_a_program_that_crashes_once_has_the_same_story(written: Program, seed: int) -> None:
    """The same for a single crash before, and after, each of its appends."""
    undisturbed = World(program, seed).run(written)
    for number in range(1, undisturbed.appends + 1):
        assert World(program, seed, lost=[number]).run(written).events == undisturbed.events
        assert World(program, seed, crashed=[number]).run(written).events == undisturbed.events
