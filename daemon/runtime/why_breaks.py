"""Why an execution stands at a breakpoint, in sentences. Pure.

Comes from: daemon/core/state_breaks. Goes to: `why`.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from daemon.runtime.why_words import Cause, ago

if TYPE_CHECKING:
    from collections.abc import Iterator
    from datetime import datetime

    from daemon.core.break_events import Breakpoint
    from daemon.core.state import Queued, Running
    from daemon.core.state_breaks import Stop


def stop_causes(state: Running, now: datetime) -> Iterator[Cause]:
    """Give the cause of an execution that stands."""
    if (stop := state.stop) is not None:
        told = f"It stands at a breakpoint {_where(stop)} since {ago(stop.since, now)}, {_whose(stop)}"
        sentence = f"{told}. `sagad debug --live {state.execution_id}` lets it go on."
        yield Cause(kind="breakpoint", sentence=sentence, address=stop.address, since=stop.since)


def held(address: str, step: Queued, now: datetime) -> Cause:
    """Return the cause of a step that could begin if the execution did not stand."""
    sentence = f"Step {address}: ready since {ago(step.since, now)}, held until the execution goes on."
    return Cause(kind="breakpoint", sentence=sentence, address=address, since=step.since)


def _where(stop: Stop) -> str:
    if stop.error is None:
        return f"before step {stop.address} begins"
    attempt = f" in attempt {stop.attempt}" if stop.begun else ""
    return f"where step {stop.address} has failed{attempt} ({stop.error.message}; code {stop.error.code})"


def _whose(stop: Stop) -> str:
    if stop.breakpoint is None:
        return f"where {stop.actor} had it go to"
    return f"set by {stop.actor}: {in_words(stop.breakpoint)}"


def in_words(breakpoint_: Breakpoint) -> str:
    """Return a breakpoint as the debugger's prompt takes it."""
    where = " ".join(part for part in ("error" if breakpoint_.errors else "", breakpoint_.node) if part)
    condition = f"if {breakpoint_.condition}" if breakpoint_.condition else ""
    return " ".join(part for part in ("break", where, condition) if part)
