"""Two states of one execution, or of two: what differs, for people and as data. Pure.

Steps are compared by address. Times, and what only tells one execution from another, are no differences: how long
things took stands beside them. The patch is of the documents that `sagad state --json` prints, times and all.

Comes from: `history`. Goes to: daemon/api, daemon/cli.
"""

from __future__ import annotations

from datetime import datetime
from typing import TYPE_CHECKING, Any, NamedTuple

from msgspec import UNSET

from daemon.core.differences import Difference, differences, dotted, natural, patch
from daemon.runtime.timings import timings
from daemon.runtime.views import plain, state_view

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from uuid import UUID

    from daemon.core.state import State
    from daemon.runtime.views import View
    from eventstore.log import Recorded

IDENTITY = frozenset({"execution_id", "version", "parent"})
TIMES = frozenset({"started_at", "finished_at", "since", "due", "at"})
_MAPS = ("steps", "variables", "timers", "signals")
_SETTLED = frozenset({"succeeded", "failed", "skipped", "abandoned"})


class Side(NamedTuple):
    """One of the two: a state, and the events that led to it; without them nothing is said of how long things took."""

    execution_id: UUID
    state: State
    events: Sequence[Recorded] = ()


def compared(before: Side, after: Side) -> View:
    """Return what differs, as data. `same`: nothing does but times, versions and identities."""
    one, other = _document(before), _document(after)
    parts: dict[str, list[Difference]] = {"execution": [], "steps": [], "variables": [], "waiting": []}
    for each in differences(one, other):
        if _tells(each):
            parts[_part_of(each)].append(each)
    steps = _steps(parts["steps"])
    return {
        "from": _head(before, one),
        "to": _head(after, other),
        "same": not any(parts.values()),
        "execution": [_change(each, each.place) for each in parts["execution"]],
        "variables": [_change(each, each.place[1:]) for each in parts["variables"]],
        "steps": steps,
        "waiting": [_change(each, each.place) for each in parts["waiting"]],
        "timing": _timing(before, after, one, other),
    }


def patch_of(before: Side, after: Side) -> list[dict[str, Any]]:
    """Return the JSON Patch that makes the document of the second state of that of the first."""
    one, other = (plain(state_view(side.execution_id, side.state)) for side in (before, after))
    return patch(differences(one, other))


def _document(side: Side) -> dict[str, Any]:
    """Return the state as it is compared: what one kind of state has no place for is empty."""
    document: dict[str, Any] = plain(state_view(side.execution_id, side.state))
    return {**{name: {} for name in _MAPS}, "breaking": None, **document}


def _tells(difference: Difference) -> bool:
    """Whether it is more than a time, or than which execution and version this is."""
    first, last = difference.place[0], difference.place[-1]
    if len(difference.place) == 1:
        return first not in IDENTITY | TIMES
    of_a_step = first == "steps" and len(difference.place) > 2  # noqa: PLR2004  more than the step's address
    inside = of_a_step and difference.place[2] in {"output", "input", "error", "state", "progress"}
    return first in {"input", "output", "variables", "trigger"} or inside or last not in TIMES or first == "error"


def _part_of(difference: Difference) -> str:
    match difference.place[0]:
        case "steps" | "variables" as part:
            return str(part)
        case "timers" | "signals":
            return "waiting"
        case _:
            return "execution"


def _change(difference: Difference, place: tuple[str | int, ...]) -> View:
    view: View = {"field": dotted(place), "change": difference.operation}
    view |= {} if difference.before is UNSET else {"from": difference.before}
    return view | ({} if difference.after is UNSET else {"to": difference.after})


def _steps(found: Sequence[Difference]) -> View:
    added, removed = [], []
    changed: dict[str, list[View]] = {}
    for each in found:
        address = str(each.place[1])
        if len(each.place) > 2:  # noqa: PLR2004  more than the step's address
            changed.setdefault(address, []).append(_change(each, each.place[2:]))
        elif each.before is UNSET:
            added.append(each.after)
        else:
            removed.append(each.before)
    rows = [{"address": address, "changes": changes} for address, changes in changed.items()]
    return {"added": added, "removed": removed, "changed": rows}


def _head(side: Side, document: Mapping[str, Any]) -> View:
    names = ("execution_id", "workflow", "definition", "version", "status")
    at = side.events[-1].event.at if side.events else None
    return {**{name: document[name] for name in names}, "at": at}


def _timing(before: Side, after: Side, one: Mapping[str, Any], other: Mapping[str, Any]) -> list[View]:
    """Return how long the steps took that both have ended and that took another time."""
    if not before.events or not after.events:
        return []
    took, takes = _took(before, one), _took(after, other)
    return [
        {"address": address, "from_ms": took[address], "to_ms": takes[address]}
        for address in sorted(took.keys() & takes.keys(), key=natural)
        if took[address] != takes[address]
    ]


def _took(side: Side, document: Mapping[str, Any]) -> Mapping[str, float]:
    """Return how long each settled step took in milliseconds, from when it was first heard of; of all, by `""`."""
    begun = timings(recorded.event for recorded in side.events)
    found = {
        address: _ms(begun[address].begun_at, step["finished_at"])
        for address, step in document["steps"].items()
        if step["status"] in _SETTLED and address in begun
    }
    if document["finished_at"] is not None:
        found[""] = _ms(datetime.fromisoformat(document["started_at"]), document["finished_at"])
    return found


def _ms(begun: datetime, ended: str) -> float:
    return round((datetime.fromisoformat(ended) - begun).total_seconds() * 1000, 3)
