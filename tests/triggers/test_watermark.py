"""The committed offset never passes a message without a verdict, and reaches the end when all have one."""

from hypothesis import given
from hypothesis import strategies as st

from triggers.watermark import Watermark


@st.composite
def _settlings(draw: st.DrawFn) -> tuple[list[int], list[int]]:
    """Give rising offsets with gaps, and some of them in the order in which they settle."""
    offsets = sorted(draw(st.sets(st.integers(0, 200), min_size=1, max_size=30)))
    order = draw(st.permutations(offsets))
    return offsets, order[: draw(st.integers(0, len(order)))]


@given(_settlings())
def test_it_stands_at_the_first_that_is_not_settled(story: tuple[list[int], list[int]]) -> None:
    offsets, order = story
    mark = Watermark()
    for offset in offsets:
        mark.take(offset)
    settled: set[int] = set()
    for offset in order:
        mark.settle(offset)
        settled.add(offset)
        unsettled = [o for o in offsets if o not in settled]
        assert mark.to_commit() == (unsettled[0] if unsettled else offsets[-1] + 1)
        assert len(mark) == (len([o for o in offsets if o >= unsettled[0]]) if unsettled else 0)


def test_what_is_committed_is_not_committed_again() -> None:
    mark = Watermark()
    assert mark.to_commit() is None
    mark.take(7)
    mark.settle(7)
    assert mark.to_commit() == 8
    mark.committed(8)
    assert mark.to_commit() is None
