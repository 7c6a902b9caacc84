"""Metrics for Prometheus, counted from what is committed. Nothing is global: a daemon has its own registry.

Labels are names of workflows, nodes, triggers and connections, and fixed words: never ids, addresses or values.

Comes from: `engine` (Committed), `intake` (verdicts), `measured_log`. Goes to: `/metrics`, by `exposition`.
"""

from __future__ import annotations

import asyncio
import platform
from functools import partial
from importlib.metadata import version
from typing import TYPE_CHECKING, Any, assert_never

from prometheus_client import CollectorRegistry, Gauge, Histogram, ProcessCollector, generate_latest
from prometheus_client.core import GaugeMetricFamily
from prometheus_client.registry import Collector

from daemon.core import events as e
from daemon.core.address import node_of
from daemon.core.state import Finished, InFlight, NotStarted, Running
from daemon.runtime.tallies import Spread, Tallied, Tally
from triggers.message import Ack, DeadLetter, Retry

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Mapping, Sequence
    from datetime import datetime

    from prometheus_client import Metric

    from daemon.runtime.engine import Committed
    from eventstore.usage import Used
    from triggers.message import ConnectionStatus, Verdict

STEP_SECONDS = (0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30, 60, 300)
EXECUTION_SECONDS = (0.01, 0.05, 0.1, 0.5, 1, 5, 10, 60, 300, 1800, 3600, 21_600, 86_400, 604_800)
APPEND_SECONDS = (0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 5)
BATCH_EVENTS = (1, 2, 5, 10, 25, 50, 100, 250, 500)


class Metrics:
    """All metrics of one daemon."""

    def __init__(self) -> None:
        self.registry = registry = CollectorRegistry()
        gauge, histogram = partial(Gauge, registry=registry), partial(Histogram, registry=registry)
        by_step, by_end = ["workflow", "node"], ["workflow", "status"]

        self._events = Tally("sagad_events", "Events committed.", ["type"])
        self._started = Tally("sagad_executions_started", "Executions started.", ["workflow"])
        self._finished = Tally("sagad_executions_finished", "Executions completed, failed or cancelled.", by_end)
        shown = "From the start of an execution to its end."
        self._execution_seconds = Spread("sagad_execution_duration_seconds", shown, by_end, EXECUTION_SECONDS)

        self._steps = Tally("sagad_steps", "Steps succeeded, failed or skipped.", [*by_step, "outcome"])
        self._attempts = Tally("sagad_step_attempts", "Attempts begun by handlers.", by_step)
        shown = "Attempts that failed and are followed by another."
        self._retries = Tally("sagad_step_retries", shown, by_step)
        shown = "Attempts that have asked for another, without a failure."
        self._postponed = Tally("sagad_step_postponements", shown, by_step)
        shown = "From the start of a handler's attempt to its recorded outcome."
        self._step_seconds = Spread("sagad_step_duration_seconds", shown, by_step, STEP_SECONDS)

        shown = "Steps that looked for their result in the cache: hit, miss, or away when the cache did not answer."
        self._cache = Tally("sagad_cache_lookups", shown, [*by_step, "outcome"])

        self._limit_seconds = Spread("sagad_limit_wait_seconds", "Waits for a limit.", ["limit"], STEP_SECONDS)
        shown = "Messages by verdict: started, collected, signalled, duplicate, skipped, filtered, retry, dead_letter."
        self._messages = Tally("sagad_messages", shown, ["trigger", "outcome"])
        shown = "Executions that retention has deleted."
        self._deleted = Tally("sagad_executions_deleted", shown, ["workflow"])
        self._fenced = Tally("sagad_daemon_fenced", "How often other daemons have taken this one for dead.", [])
        counted = [each for each in vars(self).values() if isinstance(each, Tally | Spread)]
        registry.register(Tallied(counted))
        shown = "Duration of one commit of the log."
        self.append_seconds = histogram("sagad_append_duration_seconds", shown, ["outcome"], buckets=APPEND_SECONDS)
        self.append_events = histogram("sagad_append_events", "Events in one commit of the log.", buckets=BATCH_EVENTS)

        self._active = gauge("sagad_executions_active", "Executions with handlers or commands at work.")
        self._parked = gauge("sagad_executions_parked", "Executions that cannot go on until somebody mends them.")
        self._handlers = gauge("sagad_handlers_running", "Handlers at work.")
        self._payloads = gauge("sagad_payload_bytes", "Bytes of payloads, where there are quotas.", ["workflow"])
        self._up = _Connections()
        registry.register(self._up)
        self._waiting = gauge("sagad_limit_waiting", "Who waits for a limit, on all daemons.", ["limit"])
        self._queues: Callable[[], Mapping[str, int]] = dict
        build = gauge("sagad_build_info", "The running program; always 1.", ["version", "python"])
        build.labels(version("sagad"), platform.python_version()).set(1)
        ProcessCollector(registry=registry)

        self._sources: tuple[tuple[Gauge, Callable[[], float]], ...] = ()
        self._connections: Callable[[], Iterable[ConnectionStatus]] = tuple

    def committed(self, committed: Committed) -> None:
        """Count what one append has brought: a listener of the engine."""
        after = committed.after
        workflow = "" if isinstance(after, NotStarted) else after.workflow
        for event in committed.events:
            self._events.add(event.NAME)
            count = _COUNTED.get(type(event))
            if count is not None:
                count(self, event, workflow, committed)
        if isinstance(after, Finished) and not isinstance(committed.before, Finished):
            self._finished.add(workflow, after.status)
            self._execution_seconds.add((after.finished_at - after.started_at).total_seconds(), workflow, after.status)

    def count_started(self, _: e.ExecutionStarted, workflow: str, __: Committed) -> None:
        """Count an execution."""
        self._started.add(workflow)

    def count_attempt(self, event: e.StepStarted, workflow: str, _: Committed) -> None:
        """Count an attempt."""
        self._attempts.add(workflow, node_of(event.address))

    def count_outcome(
        self, event: e.StepSucceeded | e.StepFailed | e.StepPostponed, workflow: str, committed: Committed
    ) -> None:
        """Count how an attempt ended, and how long it took if there was a handler."""
        node, since = node_of(event.address), _begun(committed, event.address)
        if since is not None:
            self._step_seconds.add((event.at - since).total_seconds(), workflow, node)
        if isinstance(event, e.StepSucceeded):
            self._steps.add(workflow, node, "succeeded")
        elif isinstance(event, e.StepPostponed):
            self._postponed.add(workflow, node)
        elif event.retry_at is not None:
            self._retries.add(workflow, node)
        else:
            self._steps.add(workflow, node, "failed")

    def count_cached(self, event: e.StepCached, workflow: str, _: Committed) -> None:
        """Count a step that has got the result of another."""
        node = node_of(event.address)
        self._steps.add(workflow, node, "succeeded")
        self._cache.add(workflow, node, "hit")

    def not_cached(self, workflow: str, node: str, outcome: str) -> None:
        """Count a look into the cache that found nothing: `miss` or `away`."""
        self._cache.add(workflow, node, outcome)

    def count_waited(self, event: e.SlotsTaken, _: str, committed: Committed) -> None:
        """Count how long a slot was waited for."""
        before = committed.before
        asked = before.limited.get(event.address) if isinstance(before, Running) else None
        if asked is not None:
            for slot in event.slots:
                self._limit_seconds.add((event.at - asked.since).total_seconds(), slot.limit)

    def count_skipped(self, event: e.StepSkipped, workflow: str, _: Committed) -> None:
        """Count a step that will not run."""
        self._steps.add(workflow, node_of(event.address), "skipped")

    def fenced(self) -> None:
        """Count that this daemon was taken for dead."""
        self._fenced.add()

    def deleted(self, workflow: str) -> None:
        """Count an execution that retention has deleted."""
        self._deleted.add(workflow)

    def payloads(self, found: Sequence[Used]) -> None:
        """Show what each workflow's payloads take."""
        self._payloads.clear()
        for used in found:
            self._payloads.labels(used.workflow).set(used.bytes)

    def message(self, trigger: str, verdict: Verdict) -> None:
        """Count a message by what became of it; `trigger` is a qualified name."""
        self._messages.add(trigger, _outcome(verdict))

    def watch(
        self,
        *,
        active: Callable[[], float],
        parked: Callable[[], float],
        handlers: Callable[[], float],
        connections: Callable[[], Iterable[ConnectionStatus]],
        waiting: Callable[[], Mapping[str, int]] = dict,
    ) -> None:
        """Show what these functions return; they are called in the event loop, at each `exposition`."""
        self._sources = ((self._active, active), (self._parked, parked), (self._handlers, handlers))
        self._connections, self._queues = connections, waiting

    async def exposition(self) -> bytes:
        """Return all metrics in Prometheus' text form."""
        for gauge, value in self._sources:
            gauge.set(value())
        self._up.take(self._connections())
        self._waiting.clear()
        for limit, count in self._queues().items():
            self._waiting.labels(limit).set(count)
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
    """Return when the handler's attempt began: before this append, or in it."""
    before = committed.before
    step = before.steps.get(address) if isinstance(before, Running) else None
    if isinstance(step, InFlight):
        return step.since
    begun = (each.at for each in committed.events if isinstance(each, e.StepStarted) and each.address == address)
    return next(begun, None)


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


_COUNTED: Mapping[type[e.Event], Callable[[Metrics, Any, str, Committed], None]] = {
    e.ExecutionStarted: Metrics.count_started,
    e.StepStarted: Metrics.count_attempt,
    e.StepSucceeded: Metrics.count_outcome,
    e.StepCached: Metrics.count_cached,
    e.StepFailed: Metrics.count_outcome,
    e.StepPostponed: Metrics.count_outcome,
    e.StepSkipped: Metrics.count_skipped,
    e.SlotsTaken: Metrics.count_waited,
}
