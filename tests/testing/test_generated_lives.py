"""Generated definitions on real daemons that die: each execution ends, and its log keeps the laws."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from tests.testing.generated_lives import live

if TYPE_CHECKING:
    from daemon.testing import Sagad

IN_A_TEST = 10


@pytest.mark.parametrize("first", [0, 10, 20, 30])
async def test_they_end_on_a_store_in_memory(sagad: Sagad, first: int) -> None:
    lives = [await live(sagad, number, "memory") for number in range(first, first + IN_A_TEST)]
    assert max(lives) > 1, "no daemon has died"


@pytest.mark.parametrize("first", [40, 45])
async def test_they_end_on_a_store_in_a_file(sagad: Sagad, first: int) -> None:
    lives = [await live(sagad, number, "sqlite") for number in range(first, first + IN_A_TEST // 2)]
    assert max(lives) > 1, "no daemon has died"
