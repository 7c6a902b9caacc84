"""Executions and events as JSON, the same for the API and the command line. Pure.

What these functions return is encoded by `encode`: times are RFC 3339 in UTC, recorded JSON values stand in it as they
are. `plain` gives ordinary dicts and lists instead. Secrets need no care here: events never hold them.

Comes from: `history`, eventstore/index. Goes to: daemon/api, daemon/cli.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any
from uuid import UUID

import msgspec

from daemon.core.people import Deciding, Suspended
from daemon.core.state import (
    Abandoned,
    Awaiting,
    Failed,
    Finished,
    InFlight,
    Limited,
    NotStarted,
    Queued,
    Repeating,
    Retrying,
    Running,
    Skipped,
    Sleeping,
    Succeeded,
    Turn,
    cause,
)
from daemon.runtime.projection import status_of
from daemon.runtime.timings import timings

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from datetime import timedelta

    from daemon.core.child_events import Parent
    from daemon.core.definition import Definition
    from daemon.core.events import StepError
    from daemon.core.state import State, Step
    from daemon.runtime.timings import Attempt, Timing
    from eventstore.index import ExecutionRow
    from eventstore.leases import Member
    from eventstore.log import Recorded

View = dict[str, Any]
"""Encodable by `encode`; may hold `msgspec.Raw`, datetimes and UUIDs."""

STEP_STATUSES: Mapping[type[Step], str] = {
    Queued: "queued",
    Limited: "limited",
    InFlight: "running",
    Retrying: "retrying",
    Sleeping: "sleeping",
    Awaiting: "awaiting",
    Deciding: "deciding",
    Suspended: "suspended",
    Repeating: "running",
    Turn: "running",
    Succeeded: "succeeded",
    Failed: "failed",
    Skipped: "skipped",
    Abandoned: "abandoned",
}

_encode = msgspec.json.Encoder().encode


def encode(view: Any) -> bytes:
    """Return the JSON text."""
    return _encode(view)


def plain(view: Any) -> Any:
    """Return the view in JSON's own types."""
    return msgspec.json.decode(_encode(view))


def event_view(recorded: Recorded) -> View:
    """Return one event: its place, its name and time, and its own fields under `data`."""
    event = recorded.event
    data = {name: getattr(event, name) for name in event.__struct_fields__ if name != "at"}
    return {
        "version": recorded.version,
        "position": recorded.position,
        "type": event.NAME,
        "at": event.at,
        "data": data,
    }


def daemons_view(members: Sequence[Member], held: Mapping[UUID | None, int], *, this: UUID | None = None) -> View:
    """Return the daemons of the store; `held` is the number of leases by daemon, `this` is the one that answers."""
    shown = [
        {
            "id": member.id,
            "name": member.name,
            "rank": rank,
            "this": member.id == this,
            "joined_at": member.joined_at,
            "beat_at": member.beat_at,
            "executions": held.get(member.id, 0),
        }
        for rank, member in enumerate(members)
    ]
    return {"daemons": shown, "orphans": sum(held.values()) - sum(held.get(member.id, 0) for member in members)}


def row_view(row: ExecutionRow) -> View:
    """Return an execution as lists show it."""
    return {
        "execution_id": row.execution_id,
        "workflow": row.workflow,
        "definition": row.definition,
        "status": row.status,
        "waits_for": row.cause or None,
        "trigger": row.trigger,
        "dedupe_key": row.dedupe_key,
        "started_at": row.started_at,
        "updated_at": row.updated_at,
        "finished_at": row.finished_at,
        "error": row.error,
    }


def execution_view(execution_id: UUID, state: State, history: Sequence[Recorded]) -> View:
    """Return an execution with all its steps; `history` is all of its events, at least one, `state` their fold."""
    timed = timings(recorded.event for recorded in history)
    steps = [step_view(address, step, timed.get(address)) for address, step in ordered_steps(state, timed)]
    return {**summary_view(execution_id, state), "updated_at": history[-1].event.at, "steps": steps}


def state_view(execution_id: UUID, state: State) -> View:
    """Return all that the fold knows."""
    view: View = summary_view(execution_id, state)
    if not isinstance(state, NotStarted):
        steps = sorted(state.steps.items())
        view["steps"] = {address: step_view(address, step) for address, step in steps}
        view["variables"] = dict(sorted(state.variables.items()))
    if isinstance(state, Running):
        view["breaking"] = state.breaking
        view["timers"] = dict(sorted(state.timers.items()))
    if not isinstance(state, Finished):
        waiting = sorted(state.signals.items(), key=lambda item: item[1].version)
        view["signals"] = dict(waiting)
    return view


def summary_view(execution_id: UUID, state: State) -> View:
    """Return an execution without its steps."""
    view: View = {
        "execution_id": execution_id,
        "workflow": None,
        "definition": None,
        "status": status_of(state),
        "version": state.version,
        "waits_for": cause(state) or None,
        "trigger": None,
        "dedupe_key": None,
        "parent": None,
        "started_at": None,
        "finished_at": None,
        "input": None,
        "output": None,
        "error": None,
        "failed_step": None,
        "reason": None,
    }
    if isinstance(state, NotStarted):
        return view
    view |= {
        "workflow": state.workflow,
        "definition": state.definition,
        "trigger": state.trigger,
        "dedupe_key": state.dedupe_key,
        "parent": _parent_view(state.parent),
        "started_at": state.started_at,
        "input": state.input,
    }
    if isinstance(state, Finished):
        view |= {
            "finished_at": state.finished_at,
            "output": state.output,
            "error": error_view(state.error),
            "failed_step": state.failed_step or None,
            "reason": state.reason or None,
        }
    return view


def _parent_view(parent: Parent | None) -> View | None:
    return None if parent is None else {"execution_id": parent.execution_id, "address": parent.address}


def step_view(address: str, step: Step, timing: Timing | None = None) -> View:
    """Return a step; `timing` adds when its attempts began and ended."""
    postponed = isinstance(step, Retrying) and step.error is None
    view: View = {"address": address, "status": "postponed" if postponed else STEP_STATUSES[type(step)]}
    match step:
        case Queued() | Limited():
            view |= {"attempt": step.attempt, "since": step.since}
        case InFlight(child=UUID() as child):
            view |= {"status": "awaiting", "attempt": step.attempt, "since": step.since, "input": step.input}
            view |= {"child": child}
        case InFlight():
            view |= {"attempt": step.attempt, "since": step.since, "input": step.input, "progress": step.progress}
        case Retrying():
            view |= {"attempt": step.attempt, "since": step.since, "due": step.due, "input": step.input}
            view |= {"error": error_view(step.error)}
        case Sleeping():
            view |= {"since": step.since, "due": step.due}
        case Awaiting():
            view |= {"since": step.since, "due": step.due, "signal": step.name}
        case Deciding():
            view |= {"since": step.since, "due": step.due, **approval_view(step)}
        case Suspended():
            view |= {"attempt": step.attempt, "since": step.since, "due": step.due, "input": step.input}
            view |= {"question": str(step.question), "reason": step.reason, "expects": step.expects}
            view |= {"problem": step.problem or None}
        case Repeating():
            names = ("total", "begun", "running", "succeeded", "failed")
            pages = {"pages": step.pages} if step.paged else {}
            view |= {"since": step.since, "turns": {name: getattr(step, name) for name in names} | pages}
        case Turn():
            view |= {"since": step.since}
        case Succeeded():
            view |= {"attempt": step.attempt, "finished_at": step.at, "port": step.port or None, "output": step.output}
            view |= {} if step.to is None else {"to": step.to}
            view |= {"cached": True} if step.cached else {}
        case Failed():
            view |= {"attempt": step.error.attempt, "finished_at": step.at, "error": error_view(step.error)}
            view |= {"port": step.port or None, "output": step.output}
        case Skipped() | Abandoned():
            view |= {"finished_at": step.at}
    if isinstance(step, InFlight | Retrying | Queued | Limited | Suspended) and step.postponed:
        view |= {"state": step.state, "postponed": step.postponed}
    if timing is not None:
        _add_timing(view, step, timing)
    return view


def _add_timing(view: View, step: Step, timing: Timing) -> None:
    view |= {"started_at": timing.begun_at, "attempts": [_attempt_view(one) for one in timing.attempts]}
    view.setdefault("input", timing.input)
    if timing.child is not None:
        view["child"] = timing.child
    if isinstance(step, Succeeded) and step.released:
        view["output"] = timing.output
    if timing.cached is not None:
        hit = timing.cached
        view["cached"] = {
            "name": hit.cache,
            "key": hit.key,
            "age_s": _seconds(hit.at - hit.origin.stored_at),
            **_plain(hit.origin),
        }
    if timing.streamed is not None:
        view["streamed"] = _plain(timing.streamed)


_plain = msgspec.structs.asdict


def _seconds(length: timedelta) -> float:
    return round(max(length.total_seconds(), 0.0), 3)


def approval_view(step: Deciding) -> View:
    """Return what is asked, of whom, and what they have said."""
    return {
        "question": str(step.question),
        "prompt": step.prompt,
        "needed": step.need,
        "comment": step.comment,
        "form": step.form,
        "on_timeout": step.on_timeout if step.due is not None else None,
        "escalated": step.escalated,
        "approvers": [
            {**msgspec.structs.asdict(voice), "decision": voice.decision or None, "actor": voice.actor or None}
            for voice in (*step.overruled, *step.voices)
        ],
    }


def error_view(error: StepError | None) -> View | None:
    """Return an error with all its fields; None for none."""
    return None if error is None else msgspec.structs.asdict(error)


def definition_view(definition: Definition) -> View:
    """Return a workflow's current definition: the document as it was written, and its hash."""
    return {
        "workflow": definition.workflow,
        "hash": definition.hash,
        "description": definition.description,
        "input_schema": definition.input_schema,
        "triggers": [
            {"name": f"{definition.workflow}/{trigger.name}", "kind": trigger.kind} for trigger in definition.triggers
        ],
        "definition": msgspec.Raw(definition.document),
    }


def ordered_steps(state: State, timed: Mapping[str, Timing]) -> list[tuple[str, Step]]:
    """Return the steps in the order in which they were first heard of."""
    if isinstance(state, NotStarted):
        return []
    return [(address, state.steps[address]) for address in timed if address in state.steps]


def _attempt_view(attempt: Attempt) -> View:
    took = attempt.ended_at - attempt.started_at if attempt.ended_at is not None else None
    duration_ms = round(took.total_seconds() * 1000, 3) if took is not None else None
    return {**msgspec.structs.asdict(attempt), "error": error_view(attempt.error), "duration_ms": duration_ms}
