"""Metrics for Prometheus, counted from what is committed. Nothing is global: a daemon has its own registry.

Labels are names of workflows, nodes, triggers and connections, and fixed words: never ids, addresses or values.

Comes from: `engine` (Committed), `intake` (verdicts), `measured_log`. Goes to: `/metrics`, by `exposition`.
"""

from __future__ import annotations

import asyncio
import platform
from functools import partial
from importlib.metadata import version
from typing import TYPE_CHECKING, TypeVar, assert_never, cast

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, ProcessCollector, generate_latest
from prometheus_client.core import GaugeMetricFamily
from prometheus_client.registry import Collector

from daemon.core import events as e
from daemon.core.address import node_of
from daemon.core.state import Finished, InFlight, NotStarted, Running
from triggers.message import Ack, DeadLetter, Retry

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Mapping, Sequence
    from datetime import datetime

    from prometheus_client import Metric

    from daemon.runtime.engine import Committed
    from triggers.message import ConnectionStatus, Verdict

STEP_SECONDS = (0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30, 60, 300)
EXECUTION_SECONDS = (0.01, 0.05, 0.1, 0.5, 1, 5, 10, 60, 300, 1800, 3600, 21_600, 86_400, 604_800)
APPEND_SECONDS = (0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 5)
BATCH_EVENTS = (1, 2, 5, 10, 25, 50, 100, 250, 500)


M = TypeVar("M", Counter, Histogram)


class Metrics:
    """All metrics of one daemon."""

    def __init__(self) -> None:
        self.registry = registry = CollectorRegistry()
        self._children: dict[tuple[int | str, ...], Counter | Histogram] = {}
        counter, gauge = partial(Counter, registry=registry), partial(Gauge, registry=registry)
        histogram = partial(Histogram, registry=registry)
        by_step, by_end = ["workflow", "node"], ["workflow", "status"]

        self._events = counter("sagad_events", "Events committed.", ["type"])
        self._started = counter("sagad_executions_started", "Executions started.", ["workflow"])
        self._finished = counter("sagad_executions_finished", "Executions completed, failed or cancelled.", by_end)
        shown = "From the start of an execution to its end."
        self._execution_seconds = histogram(
            "sagad_execution_duration_seconds", shown, by_end, buckets=EXECUTION_SECONDS
        )

        self._steps = counter("sagad_steps", "Steps succeeded, failed or skipped.", [*by_step, "outcome"])
        self._attempts = counter("sagad_step_attempts", "Attempts begun by handlers.", by_step)
        self._retries = counter("sagad_step_retries", "Attempts that failed and are followed by another.", by_step)
        shown = "From the start of a handler's attempt to its recorded outcome."
        self._step_seconds = histogram("sagad_step_duration_seconds", shown, by_step, buckets=STEP_SECONDS)

        shown = "Messages by verdict: started, signalled, duplicate, filtered, retry or dead_letter."
        self._messages = counter("sagad_messages", shown, ["trigger", "outcome"])
        shown = "Duration of one commit of the log."
        self.append_seconds = histogram("sagad_append_duration_seconds", shown, ["outcome"], buckets=APPEND_SECONDS)
        self.append_events = histogram("sagad_append_events", "Events in one commit of the log.", buckets=BATCH_EVENTS)

        self._active = gauge("sagad_executions_active", "Executions with handlers or commands at work.")
        self._parked = gauge("sagad_executions_parked", "Executions that cannot go on until somebody mends them.")
        self._handlers = gauge("sagad_handlers_running", "Handlers at work.")
        self._up = _Connections()
        registry.register(self._up)
        build = gauge("sagad_build_info", "The running program; always 1.", ["version", "python"])
        build.labels(version("sagad"), platform.python_version()).set(1)
        ProcessCollector(registry=registry)

        self._sources: tuple[tuple[Gauge, Callable[[], float]], ...] = ()
        self._connections: Callable[[], Iterable[ConnectionStatus]] = tuple

    def _child(self, metric: M, *labels: str) -> M:
        """Return `metric.labels(*labels)`, which is too slow to be asked for at each step."""
        key: tuple[int | str, ...] = (id(metric), *labels)
        child = self._children.get(key)
        if child is None:
            child = self._children[key] = metric.labels(*labels)
        return cast("M", child)

    def committed(self, committed: Committed) -> None:
        """Count what one append has brought: a listener of the engine."""
        for event in committed.events:
            self._child(self._events, event.NAME).inc()
        after = committed.after
        if isinstance(after, NotStarted):
            return
        began: dict[str, datetime] = {}
        for event in committed.events:
            self._count(event, after.workflow, committed, began)
        if isinstance(after, Finished) and not isinstance(committed.before, Finished):
            self._child(self._finished, after.workflow, after.status).inc()
            seconds = (after.finished_at - after.started_at).total_seconds()
            self._child(self._execution_seconds, after.workflow, after.status).observe(max(0, seconds))

    def _count(self, event: e.Event, workflow: str, committed: Committed, began: dict[str, datetime]) -> None:
        match event:
            case e.ExecutionStarted():
                self._child(self._started, workflow).inc()
            case e.StepStarted():
                began[event.address] = event.at
                self._child(self._attempts, workflow, node_of(event.address)).inc()
            case e.StepSucceeded() | e.StepFailed():
                node = node_of(event.address)
                since = began.pop(event.address, None) or _begun(committed, event.address)
                if since is not None:
                    self._child(self._step_seconds, workflow, node).observe(max(0, (event.at - since).total_seconds()))
                if isinstance(event, e.StepFailed) and event.retry_at is not None:
                    self._child(self._retries, workflow, node).inc()
                else:
                    outcome = "succeeded" if isinstance(event, e.StepSucceeded) else "failed"
                    self._child(self._steps, workflow, node, outcome).inc()
            case e.StepSkipped():
                self._child(self._steps, workflow, node_of(event.address), "skipped").inc()
            case _:
                pass

    def message(self, trigger: str, verdict: Verdict) -> None:
        """Count a message by what became of it; `trigger` is a qualified name."""
        self._child(self._messages, trigger, _outcome(verdict)).inc()

    def watch(
        self,
        *,
        active: Callable[[], float],
        parked: Callable[[], float],
        handlers: Callable[[], float],
        connections: Callable[[], Iterable[ConnectionStatus]],
    ) -> None:
        """Show what these functions return; they are called in the event loop, at each `exposition`."""
        self._sources = ((self._active, active), (self._parked, parked), (self._handlers, handlers))
        self._connections = connections

    async def exposition(self) -> bytes:
        """Return all metrics in Prometheus' text form."""
        for gauge, value in self._sources:
            gauge.set(value())
        self._up.take(self._connections())
        return await asyncio.to_thread(generate_latest, self.registry)


class _Connections(Collector):
    """Which connections are up, as they were when last asked: they come and go with the definitions."""

    def __init__(self) -> None:
        self._up: Mapping[str, bool] = {}

    def take(self, statuses: Iterable[ConnectionStatus]) -> None:
        """Keep them by name; of several with one name all must be up."""
        up: dict[str, bool] = {}
        for status in statuses:
            up[status.name] = up.get(status.name, True) and status.connected
        self._up = up

    def collect(self) -> Sequence[Metric]:
        """Return one gauge, with a sample for each name."""
        gauge = GaugeMetricFamily("sagad_connection_up", "Whether the connection is up.", labels=["name"])
        for name, connected in self._up.items():
            gauge.add_metric([name], float(connected))
        return [gauge]


def _begun(committed: Committed, address: str) -> datetime | None:
    """Return when the handler's attempt began that was at work before this append."""
    before = committed.before
    step = before.steps.get(address) if isinstance(before, Running) else None
    return step.since if isinstance(step, InFlight) else None


def _outcome(verdict: Verdict) -> str:
    match verdict:
        case Ack(outcome=outcome):
            return outcome
        case Retry():
            return "retry"
        case DeadLetter():
            return "dead_letter"
        case _:
            assert_never(verdict)
