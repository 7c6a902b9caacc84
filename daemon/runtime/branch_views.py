"""What a fork or a rewind would go on from, and who goes on from whom, as JSON. Pure.

Comes from: `branches`, eventstore/index. Goes to: daemon/api.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from daemon.core import events as e
from daemon.core.address import UNDO
from daemon.core.evolve_saga import newest_first
from daemon.core.people import Suspended
from daemon.core.state import InFlight, Limited, NotStarted, Queued, Retrying, Running
from daemon.runtime.projection import status_of

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence
    from uuid import UUID

    from daemon.core.commands import Command
    from daemon.core.state import Owed, State, Step
    from daemon.runtime.branches import Past
    from daemon.runtime.views import View
    from eventstore.index import ForkRow


def past_view(past: Past, now: State) -> View:
    """Return what is at a cut, and what a rewind to it would undo; `now` is the execution's newest state."""
    cut, base = past.cut, past.base
    steps = _steps(base)
    again = getattr(cut.again, "address", "")
    return {
        "execution_id": cut.execution_id,
        "version": cut.version,
        "at": cut.at,
        "status": status_of(base),
        "again": None if cut.again is None else _told(cut.again),
        "under_way": [
            {"address": address, "key": f"{_key(base, address)}/{address}"}
            for address, step in sorted(steps.items())
            if _under_way(step) and address != again
        ],
        "undone": list(past.undone),
        "to_undo": [
            {"address": owed.address, "kind": owed.kind, "unknown": owed.unknown, "input": owed.input}
            for version, owed in _owed(now)
            if version > cut.down_to
        ],
        "left": _left(past, now),
    }


def _told(command: Command) -> str:
    """Return what a command does, and to which step, timer or signal."""
    named = (getattr(command, name, "") for name in ("address", "timer_id", "name"))
    return " ".join((type(command).__name__, *(name for name in named if name)))


def _steps(state: State) -> Mapping[str, Step]:
    return state.steps if isinstance(state, Running) else {}


def _under_way(step: Step) -> bool:
    waits_again = isinstance(step, Queued | Limited) and step.attempt > 1
    return waits_again or isinstance(step, InFlight | Retrying | Suspended)


def _key(base: State, address: str) -> str:
    return base.keys.get(address, str(base.execution_id)) if isinstance(base, Running) else ""


def _owed(state: State) -> Iterable[tuple[int, Owed]]:
    return () if isinstance(state, NotStarted) else newest_first(state)


def _left(past: Past, now: State) -> Sequence[str]:
    """Return the steps that were done since and have no compensation: what they did outside stays as it is."""
    owed = {owed.address for _, owed in _owed(now)}
    since = past.between[past.cut.down_to - past.cut.version :]
    started = {event.address for event in past.between if isinstance(event, e.StepStarted)}
    started |= {address for address, step in _steps(past.base).items() if _under_way(step)}
    done = [event.address for event in since if isinstance(event, e.StepSucceeded) and event.address in started]
    return [address for address in done if address not in owed and not address.endswith(UNDO)]


def lineage_view(execution_id: UUID, fork: ForkRow | None, forks: Sequence[ForkRow]) -> View:
    """Return what an execution goes on from, and what goes on from it."""
    return {
        "execution_id": execution_id,
        "source": None if fork is None else {"execution_id": fork.source, "at_version": fork.at_version},
        "forks": [
            {"execution_id": row.execution_id, "at_version": row.at_version, "forked_at": row.forked_at}
            for row in forks
        ],
    }
