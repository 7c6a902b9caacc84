"""Moments and breakpoints as JSON, for the API. Pure.

Comes from: daemon/api/debugging. Goes to: `looking`, daemon/runtime/views.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from daemon.core.evaluation import EvaluationError
from daemon.core.state import Queued, Running
from daemon.debugger.lines import recorded_lines
from daemon.debugger.looking import frames, said, seen, step_at
from daemon.runtime.projection import status_of
from daemon.runtime.views import error_view, state_view

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from uuid import UUID

    from daemon.core.break_events import Breakpoint
    from daemon.core.node import NodeType
    from daemon.core.state import State
    from daemon.core.state_breaks import Stop
    from daemon.debugger.lines import Lines
    from daemon.debugger.moments import Moment
    from daemon.debugger.paging import Seen
    from daemon.debugger.playing import Played

View = dict[str, Any]


def stop_view(execution_id: UUID, state: State) -> View:
    """Return the breakpoints of an execution, and where it stands."""
    breaking = state.breaking if isinstance(state, Running) else None
    stop = state.stop if isinstance(state, Running) else None
    steps = state.steps if isinstance(state, Running) and stop is not None else {}
    waiting = sorted((step.ticket, address) for address, step in steps.items() if isinstance(step, Queued))
    return {
        "execution_id": execution_id,
        "status": status_of(state),
        "breakpoints": [] if breaking is None else [breakpoint_view(each) for each in breaking.breakpoints],
        "actor": None if breaking is None else breaking.actor or None,
        "moving": None if breaking is None else breaking.moving or None,
        "standing": None if stop is None else _standing(stop),
        "held": [address for _, address in waiting],
    }


def breakpoint_view(each: Breakpoint) -> View:
    """Return a breakpoint with all its fields."""
    return {"node": each.node, "condition": each.condition, "errors": each.errors}


def _standing(stop: Stop) -> View:
    return {
        "stop": stop.version,
        "address": stop.address,
        "breakpoint": None if stop.breakpoint is None else breakpoint_view(stop.breakpoint),
        "actor": stop.actor,
        "since": stop.since,
        "error": error_view(stop.error),
        "attempt": stop.attempt,
    }


def moment_views(moments: Sequence[Moment], first: int, count: int, node_types: Mapping[str, NodeType]) -> View:
    """Return moments from the one with the number `first`, of `count` that there are."""
    texts: dict[str, Lines] = {}
    shown = [_view(number, each, _lines(each, texts, node_types)) for number, each in enumerate(moments, first)]
    following = first + len(shown)
    return {"moments": shown, "count": count, "next": following if shown and following <= count else None}


def moment_view(execution_id: UUID, found: Seen, node_types: Mapping[str, NodeType]) -> View:
    """Return a moment with all that is seen there."""
    moment = found.moment
    lines = _lines(moment, {}, node_types)
    around = [{"name": each.name, "address": each.address, "line": lines.line_of(each.node)} for each in frames(moment)]
    try:
        known: View = seen(moment, found.outputs)
    except EvaluationError as error:
        known = {"error": str(error)}
    return {
        **_view(found.number, moment, lines),
        "seen": known,
        "step": step_at(moment),
        "frames": around,
        "state": state_view(execution_id, moment.state),
    }


def played_view(each: Played) -> View:
    """Return one event of a replay."""
    return {
        "version": each.version,
        "since_start_s": each.since_start.total_seconds(),
        "at": each.event.at,
        "type": each.event.NAME,
        "address": each.address or None,
        "data": each.data,
    }


def _view(number: int, moment: Moment, lines: Lines) -> View:
    return {
        "moment": number,
        "version": moment.version,
        "at": moment.at,
        "address": moment.address or None,
        "what": moment.what,
        "said": said(moment),
        "error": error_view(moment.error),
        "depth": moment.depth,
        "line": lines.line_of(frames(moment)[0].node),
    }


def _lines(moment: Moment, texts: dict[str, Lines], node_types: Mapping[str, NodeType]) -> Lines:
    found = texts.get(moment.plan.hash)
    if found is None:
        found = texts[moment.plan.hash] = recorded_lines(moment.plan, node_types)
    return found
