"""The short form of `crash_points`: a share of all points of each story, and some pairs, by seed."""

from __future__ import annotations

import random
from typing import TYPE_CHECKING

import pytest

from tests.faults.crash_bench import Bench, stores, witness_service
from tests.faults.crash_points import Tally, enumerate_points
from tests.faults.crash_stories_waiting import ALL

if TYPE_CHECKING:
    from pathlib import Path

    from tests.faults.crash_stories import Story

SEED = 20


@pytest.mark.parametrize("story", ALL, ids=str)
@pytest.mark.parametrize(("kind", "share", "pairs"), [("memory", 0.15, 1), ("sqlite", 0.05, 0), ("postgres", 0.03, 0)])
async def test_a_crash_at_any_point_changes_nothing(
    story: Story, kind: str, share: float, pairs: int, tmp_path: Path
) -> None:
    """State, log and what the world was asked for agree with the uninterrupted run."""
    tally = Tally()
    with witness_service() as url, stores(kind, tmp_path) as new_url:
        bench = Bench(story, tmp_path, url, new_url)
        await enumerate_points(bench, tally, share=share, pairs=pairs, dice=random.Random(SEED))  # noqa: S311  a plan of faults
    assert tally.violations == []
    assert tally.runs > 0
    assert tally.missed <= tally.runs // 10
