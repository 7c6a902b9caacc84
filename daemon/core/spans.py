"""Spans: what a trace shows of an execution, made from its events. Pure.

A span is given out once, closed, by the event that closes it: an attempt, a timer or a wait for a signal by what
settles it, the execution and all that is still open in it by its end. The ids follow from the log, so the same events
give the same spans in any process, at any time.

`Trace` is the fold that this needs: what is open, and since when. It is small, and `trace_of` gives it from a state, so
it can be forgotten. An execution whose caller decided not to sample the trace has no spans.

Comes from: daemon/runtime/tracing. Goes to: daemon/runtime/otlp.
"""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime
from typing import TYPE_CHECKING
from uuid import UUID

from immutables import Map
from msgspec import Struct
from msgspec.structs import replace

from daemon.core import events as e
from daemon.core.address import UNDO, node_of, stands_in
from daemon.core.people import Deciding, Suspended
from daemon.core.span_sources import Source, source_of
from daemon.core.state import Awaiting, InFlight, Limited, Queued, Repeating, Retrying, Running, Sleeping, State, Step
from daemon.core.trace_ids import (
    SAMPLED,
    TraceParent,
    execution_span_id,
    parse_traceparent,
    step_span_id,
    trace_id,
    trigger_span_id,
    wait_span_id,
)

if TYPE_CHECKING:
    from collections.abc import Collection, Iterable, Iterator

Attribute = str | int | bool
Ending = e.StepSucceeded | e.StepCached | e.StepFailed | e.StepPostponed | e.StepSuspended
"""How an attempt ends."""

MAX_MESSAGE = 1000
"""Characters of an error that a span shows."""

HANDLER, TIMER, SIGNAL, PERSON = "handler", "timer", "signal", "person"
TURNS = "turns"
PAUSE, QUEUE = "pause", "queue"
"""Between two attempts, and before one that needs a slot: waits that belong to no attempt."""


class Span(Struct, frozen=True, kw_only=True):
    """One closed span. Ids are lower-case hex."""

    trace_id: str
    span_id: str
    parent_id: str | None
    remote_parent: bool = False
    """The parent was made outside of sagad."""
    name: str
    kind: str = "internal"
    """`internal` | `consumer` | `server`."""
    start: datetime
    end: datetime
    """Never before `start`, whatever the clocks said."""
    error: str | None = None
    """Message of what failed; None when nothing did."""
    attributes: Mapping[str, Attribute]


class Open(Struct, frozen=True):
    """What a step is at, since when: the span that will be closed next at its address."""

    kind: str
    """`handler` | `timer` | `signal` | `person` | `turns` | `pause` | `queue`."""
    attempt: int
    since: datetime
    signal: str = ""


class Trace(Struct, frozen=True, kw_only=True):
    """An execution as its trace needs it, from its start to its end."""

    execution_id: UUID
    workflow: str
    definition: str
    trigger_name: str | None
    trace_id: str
    caller: TraceParent | None
    """The span that it was started in."""
    source: Source | None
    """The message that started it; None when there was none, and so no span of one."""
    started_at: datetime
    open: Map[str, Open] = Map()

    @property
    def sampled(self) -> bool:
        """Whether the caller wants the trace; without a caller we do."""
        return self.caller is None or bool(self.caller.flags & SAMPLED)


def trace_of(state: State) -> Trace | None:
    """Return the trace as the events that led to the state leave it; None before the start and after the end."""
    if not isinstance(state, Running):
        return None
    now_open = {address: at_work for address, step in state.steps.items() if (at_work := _open(step)) is not None}
    return replace(_begun(state, state.started_at), open=Map(now_open))


def spans_of(trace: Trace | None, event: e.Event) -> tuple[Trace | None, tuple[Span, ...]]:
    """Return the trace after the event, and the spans that the event closes."""
    if isinstance(event, e.ExecutionStarted):
        begun = _begun(event, event.at)
        return begun, _sampled(begun, _trigger_span(begun))
    if trace is None:
        return None, ()
    match event:
        case e.SlotsAsked() if not event.address:
            return trace, ()
        case e.StepQueued() | e.SlotsAsked() | e.StepStarted():
            after, spans = _step(trace, event)
        case e.StepSucceeded() | e.StepCached() | e.StepFailed():
            after, spans = _step(trace, event)
        case e.StepPostponed() | e.StepSuspended():
            after, spans = _step(trace, event)
        case e.StepSkipped() if event.address in trace.open:
            spans = (_cancelled(trace, event.address, trace.open[event.address], event.at),)
            after = replace(trace, open=trace.open.delete(event.address))
        case e.ApprovalRequested():
            after, spans = _opened(trace, event.address, Open(PERSON, 1, event.at)), ()
        case e.SignalAwaited():
            after, spans = _opened(trace, event.address, Open(SIGNAL, 1, event.at, event.name)), ()
        case e.LoopStarted() | e.FanOutExpanded() | e.SagaStarted() | e.FunctionStarted():
            after, spans = _opened(trace, event.address, Open(TURNS, 1, event.at)), ()
        case e.TurnFailed() | e.TurnAbandoned() | e.UndoPlanned():
            after, spans = _given_up(trace, event)
        case e.FunctionAdvanced():
            after, spans = _closed(trace, event.cancelled, event.at)
        case e.TimerSet(purpose="wait"):
            after, spans = _opened(trace, event.address, Open(TIMER, 1, event.at)), ()
        case e.ExecutionCompleted() | e.ExecutionFailed() | e.ExecutionCancelled():
            return None, _sampled(trace, _ended(trace, event))
        case _:
            return trace, ()
    return after, _sampled(trace, spans)


def _begun(first: e.ExecutionStarted | Running, at: datetime) -> Trace:
    return Trace(
        execution_id=first.execution_id,
        workflow=first.workflow,
        definition=first.definition,
        trigger_name=first.trigger_name,
        trace_id=trace_id(first.execution_id, first.traceparent),
        caller=parse_traceparent(first.traceparent) if first.traceparent is not None else None,
        source=source_of(first.trigger),
        started_at=at,
    )


def _open(step: Step) -> Open | None:
    match step:
        case InFlight():
            return Open(HANDLER, step.attempt, step.since)
        case Sleeping():
            return Open(TIMER, 1, step.since)
        case Awaiting():
            return Open(SIGNAL, 1, step.since, step.name)
        case Deciding():
            return Open(PERSON, 1, step.since)
        case Suspended():
            return Open(PAUSE, step.attempt, step.since)
        case Retrying():
            return Open(PAUSE, step.attempt, step.since)
        case Queued() | Limited():
            return Open(QUEUE, step.attempt, step.since)
        case Repeating():
            return Open(TURNS, 1, step.since)
        case _:
            return None


def _opened(trace: Trace, address: str, what: Open) -> Trace:
    return replace(trace, open=trace.open.set(address, what))


def _step(trace: Trace, event: e.StepQueued | e.SlotsAsked | e.StepStarted | Ending) -> tuple[Trace, Iterable[Span]]:
    """Close what the step was at, and open what it is at now."""
    address, before = event.address, trace.open.get(event.address)
    between = before is not None and before.kind in {PAUSE, QUEUE}
    spans = [_wait_span(trace, address, before, event.at, "ended")] if before is not None and between else []
    match event:
        case e.StepQueued() | e.SlotsAsked():
            trace = _opened(trace, address, Open(QUEUE, before.attempt if before else 1, event.at))
        case e.StepStarted():
            trace = _opened(trace, address, Open(HANDLER, event.attempt, event.at))
        case _:
            at_work = before if before is not None and not between else Open("", event.attempt, event.at)
            spans.append(_settled(trace, event, at_work))
            if _goes_on(event):
                trace = _opened(trace, address, Open(PAUSE, event.attempt + 1, event.at))
            elif before is not None:
                trace = replace(trace, open=trace.open.delete(address))
    return trace, spans


def _goes_on(event: Ending) -> bool:
    """Tell whether another attempt follows."""
    return isinstance(event, e.StepPostponed | e.StepSuspended) or (
        isinstance(event, e.StepFailed) and event.retry_at is not None
    )


def _settled(trace: Trace, event: Ending, at_work: Open) -> Span:
    if isinstance(event, e.StepPostponed | e.StepSuspended):
        status = "postponed" if isinstance(event, e.StepPostponed) else "suspended"
        return _step_span(trace, event.address, at_work, event.at, {"sagad.status": status})
    if isinstance(event, e.StepSucceeded | e.StepCached):
        chosen = {"sagad.to": ", ".join(event.to)} if event.to is not None else {}
        taken: dict[str, Attribute] = {"sagad.status": "succeeded", "sagad.port": event.port, **chosen}
        if isinstance(event, e.StepCached):
            taken |= {"sagad.status": "cached", "sagad.cached_from": str(event.origin.execution_id)}
        return _step_span(trace, event.address, at_work, event.at, taken)
    outcome = {"sagad.status": "failed", "sagad.retried": event.retry_at is not None, **_error(event.error)}
    return _step_span(trace, event.address, at_work, event.at, outcome, error=event.error.message)


def _given_up(trace: Trace, event: e.TurnFailed | e.TurnAbandoned | e.UndoPlanned) -> tuple[Trace, Iterable[Span]]:
    """Close all that is open in the turn; of what is to be undone, what is given up: what drains goes on."""
    if isinstance(event, e.UndoPlanned):
        staying = [address for address, what in trace.open.items() if what.kind == TURNS or address.endswith(UNDO)]
        scope, but = event.scope, {*event.draining, *staying}
    else:
        scope, but = event.address, set()
    inside = [address for address in sorted(trace.open) if stands_in(address, scope) and address not in but]
    return _closed(trace, inside, event.at)


def _closed(trace: Trace, addresses: Collection[str], at: datetime) -> tuple[Trace, Iterable[Span]]:
    """Close what is open at these addresses: it was given up."""
    spans = [_cancelled(trace, address, trace.open[address], at) for address in addresses]
    still_open = trace.open
    for address in addresses:
        still_open = still_open.delete(address)
    return replace(trace, open=still_open), spans


def _cancelled(trace: Trace, address: str, what: Open, at: datetime) -> Span:
    if what.kind in {PAUSE, QUEUE}:
        return _wait_span(trace, address, what, at, "cancelled")
    return _step_span(trace, address, what, at, {"sagad.status": "cancelled"})


def _ended(trace: Trace, event: e.ExecutionCompleted | e.ExecutionFailed | e.ExecutionCancelled) -> Iterator[Span]:
    """Close all that is open, in a fixed order, then the execution."""
    for address, what in sorted(trace.open.items()):
        yield _cancelled(trace, address, what, event.at)
    above = trigger_span_id(trace.execution_id) if trace.source else None
    yield _span(
        trace,
        execution_span_id(trace.execution_id),
        name=trace.workflow,
        parent_id=above or _caller_id(trace),
        remote_parent=above is None and trace.caller is not None,
        start=trace.started_at,
        end=event.at,
        error=event.error.message if isinstance(event, e.ExecutionFailed) else None,
        attributes=_outcome(event),
    )


def _outcome(event: e.ExecutionCompleted | e.ExecutionFailed | e.ExecutionCancelled) -> Mapping[str, Attribute]:
    match event:
        case e.ExecutionCompleted():
            return {"sagad.status": "completed"}
        case e.ExecutionCancelled():
            return {"sagad.status": "cancelled"}
        case _:
            return {"sagad.status": "failed", "sagad.failed_step": event.address, **_error(event.error)}


def _trigger_span(trace: Trace) -> Iterator[Span]:
    """Give the span of the message. It has no length: in the log its coming is the execution's start."""
    if trace.source is None:
        return
    yield _span(
        trace,
        trigger_span_id(trace.execution_id),
        name=trace.source.span_name,
        kind=trace.source.span_kind,
        parent_id=_caller_id(trace),
        remote_parent=trace.caller is not None,
        start=trace.started_at,
        end=trace.started_at,
        attributes=trace.source.attributes,
    )


def _step_span(
    trace: Trace,
    address: str,
    at_work: Open,
    end: datetime,
    outcome: Mapping[str, Attribute],
    *,
    error: str | None = None,
) -> Span:
    waited: dict[str, Attribute] = {}
    if at_work.kind in {TIMER, SIGNAL, PERSON, TURNS}:
        waited["sagad.wait"] = at_work.kind
    if at_work.signal:
        waited["sagad.signal"] = at_work.signal
    return _span(
        trace,
        step_span_id(trace.execution_id, address, at_work.attempt),
        name=node_of(address),
        parent_id=execution_span_id(trace.execution_id),
        start=at_work.since,
        end=end,
        error=error,
        attributes={"sagad.step": address, "sagad.attempt": at_work.attempt, **waited, **outcome},
    )


def _wait_span(trace: Trace, address: str, what: Open, end: datetime, status: str) -> Span:
    return _span(
        trace,
        wait_span_id(trace.execution_id, address, what.attempt, what.kind),
        name=f"{node_of(address)} {what.kind}",
        parent_id=execution_span_id(trace.execution_id),
        start=what.since,
        end=end,
        attributes={
            "sagad.step": address,
            "sagad.attempt": what.attempt,
            "sagad.wait": what.kind,
            "sagad.status": status,
        },
    )


def _span(
    trace: Trace,
    span_id: str,
    *,
    name: str,
    kind: str = "internal",
    parent_id: str | None,
    remote_parent: bool = False,
    start: datetime,
    end: datetime,
    error: str | None = None,
    attributes: Mapping[str, Attribute],
) -> Span:
    common: dict[str, Attribute] = {
        "sagad.execution_id": str(trace.execution_id),
        "sagad.workflow": trace.workflow,
        "sagad.definition": trace.definition,
    }
    if trace.trigger_name is not None:
        common["sagad.trigger"] = trace.trigger_name
    return Span(
        trace_id=trace.trace_id,
        span_id=span_id,
        parent_id=parent_id,
        remote_parent=remote_parent,
        name=name,
        kind=kind,
        start=start,
        end=max(start, end),
        error=error[:MAX_MESSAGE] if error is not None else None,
        attributes={**common, **attributes},
    )


def _error(error: e.StepError) -> dict[str, Attribute]:
    return {"error.type": error.type or error.code, "sagad.error_code": error.code}


def _caller_id(trace: Trace) -> str | None:
    return trace.caller.parent_span_id if trace.caller is not None else None


def _sampled(trace: Trace, spans: Iterable[Span]) -> tuple[Span, ...]:
    return tuple(spans) if trace.sampled else ()
