"""Metrics of the gates before hosts and databases, read when they are asked for.

Comes from: `services`. Goes to: `/metrics`, by way of `metrics`.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily
from prometheus_client.registry import Collector

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

    from prometheus_client import Metric

    from daemon.nodes.gates import GateStatus

_STATES: Mapping[str, int] = {"closed": 0, "half-open": 1, "open": 2}


class ClientMetrics(Collector):
    """Labels are the names that the settings have, `api.example.com` and `sql:orders`."""

    def __init__(self, statuses: Callable[[], Sequence[GateStatus]]) -> None:
        """`statuses` is called in any thread."""
        self._statuses = statuses

    def collect(self) -> Sequence[Metric]:
        """Return one sample of each for each client."""
        state = GaugeMetricFamily(
            "sagad_client_circuit", "0 closed, 1 half-open: one call may try, 2 open.", labels=["client"]
        )
        rejected = CounterMetricFamily(
            "sagad_client_rejected", "Calls that failed at once, as the circuit was open.", labels=["client"]
        )
        waits = CounterMetricFamily("sagad_client_waits", "Calls that had to wait for a limit.", labels=["client"])
        waited = CounterMetricFamily("sagad_client_wait_seconds", "How long they waited.", labels=["client"])
        for status in self._statuses():
            state.add_metric([status.name], _STATES[status.state])
            rejected.add_metric([status.name], status.rejected)
            waits.add_metric([status.name], status.waits)
            waited.add_metric([status.name], status.waited_s)
        return [state, rejected, waits, waited]
