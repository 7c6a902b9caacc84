"""Counters and histograms that cost next to nothing to count: a dictionary in the event loop, read at exposition.

The Prometheus client takes a lock and walks all buckets at each observation, several microseconds for each step. These
are counted in one event loop. Another thread may read them meanwhile: it copies what is there, so a histogram's sum may
be one value ahead of its buckets, and nothing else.

Goes to: `metrics`.
"""

from __future__ import annotations

from bisect import bisect_left
from typing import TYPE_CHECKING

from prometheus_client.core import CounterMetricFamily, HistogramMetricFamily
from prometheus_client.registry import Collector

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from prometheus_client import Metric


class Tally:
    """A counter with labels; `counts` has a number by label values."""

    def __init__(self, name: str, shown: str, labels: Sequence[str]) -> None:
        self._named = name, shown, labels
        self.counts: dict[tuple[str, ...], int] = {}

    def add(self, *labels: str) -> None:
        """Count one."""
        self.counts[labels] = self.counts.get(labels, 0) + 1

    def family(self) -> Metric:
        """Return it as Prometheus sees it."""
        name, shown, labels = self._named
        family = CounterMetricFamily(name, shown, labels=labels)
        for values, count in list(self.counts.items()):
            family.add_metric(values, count)
        return family


class Spread:
    """A histogram with labels. `bounds` are the upper ends of its buckets, growing; one without an end is added."""

    def __init__(self, name: str, shown: str, labels: Sequence[str], bounds: Sequence[float]) -> None:
        self._named = name, shown, labels
        self._bounds = tuple(bounds)
        self._ends = (*(str(float(bound)) for bound in bounds), "+Inf")
        self._spreads: dict[tuple[str, ...], tuple[list[int], list[float]]] = {}

    def add(self, value: float, *labels: str) -> None:
        """Count one value; a negative one, from clocks that disagree, counts as zero."""
        found = self._spreads.get(labels)
        if found is None:
            found = self._spreads[labels] = [0] * len(self._ends), [0.0]
        buckets, total = found
        value = max(value, 0.0)
        buckets[bisect_left(self._bounds, value)] += 1
        total[0] += value

    def family(self) -> Metric:
        """Return it as Prometheus sees it."""
        name, shown, labels = self._named
        family = HistogramMetricFamily(name, shown, labels=labels)
        for values, (buckets, total) in list(self._spreads.items()):
            sums, reached = [], 0
            for end, count in zip(self._ends, tuple(buckets), strict=True):
                reached += count
                sums.append((end, float(reached)))
            family.add_metric(values, sums, total[0])
        return family


class Tallied(Collector):
    """Gives what several tallies and spreads have counted."""

    def __init__(self, counted: Sequence[Tally | Spread]) -> None:
        self._counted = counted

    def collect(self) -> Iterable[Metric]:
        """Return them as they are now."""
        return [each.family() for each in self._counted]
