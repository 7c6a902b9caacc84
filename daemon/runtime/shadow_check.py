"""Executions that there are, lived again under other definitions; and what would have come of them. Pure.

Comes from: `shadow_range`, daemon/cli, daemon/api. Goes to: `shadow`, `shadow_outcome`, daemon/core/differences.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from datetime import datetime
from typing import TYPE_CHECKING, Any, NamedTuple
from uuid import UUID

from msgspec import UNSET, Struct
from msgspec.structs import replace

from daemon.core.address import node_of
from daemon.core.differences import differences, dotted
from daemon.core.errors import InvalidInput, Rejected
from daemon.core.redeciding import NO_OTHER
from daemon.core.state import INITIAL, State
from daemon.runtime.junit import Case, suite
from daemon.runtime.shadow import live
from daemon.runtime.shadow_outcome import RESULT, outcome
from daemon.runtime.shadow_tape import Tape
from daemon.runtime.what_if import SEVERITIES, Severity, check_values

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

    from daemon.core import events as e
    from daemon.core.differences import Difference, Place
    from daemon.core.plan import Plan
    from daemon.runtime.shadow import Lived, Missing
    from daemon.runtime.shadow_outcome import Outcome

MOST_TOLD = 100
"""Differences of one execution that are told."""


class Change(Struct, frozen=True, omit_defaults=True):
    """One place where the two outcomes differ; what one of them does not have is left out."""

    field: str
    """`steps.charge.status`, `sent.charge.input.amount`, `output.total`."""
    change: str
    """`add` | `remove` | `replace`."""
    recorded: Any = UNSET
    shadow: Any = UNSET


class Shadowed(Struct, frozen=True, kw_only=True):
    """One execution beside its shadow."""

    execution_id: UUID
    workflow: str
    trigger: str | None
    started_at: datetime
    recorded: str
    """Its status."""
    shadow: str
    """That of the shadow; empty when it could not begin."""
    severity: Severity
    reason: str = ""
    differences: Sequence[Change] = ()
    """At most `MOST_TOLD`; what says how it ended comes first."""
    differs_in: int = 0
    """How many there are."""
    ran: Sequence[str] = ()
    """Steps that only the shadow has run."""
    not_run: Sequence[str] = ()
    """Steps that only the recorded execution has run."""
    not_recorded: Sequence[str] = ()
    """Steps whose result the log does not have."""
    assumed: Sequence[str] = ()
    """Steps that were given a result that was recorded for another input, handler or place."""
    refused: Sequence[str] = ()
    """What came from outside, and was not taken."""


class ShadowReport(Struct, frozen=True, kw_only=True):
    """Many executions beside their shadows."""

    checked: int
    by_severity: Mapping[str, int]
    by_node: Mapping[str, int]
    """In how many of those that differ something differs at this node."""
    not_recorded: Mapping[str, int]
    """By node: in how many its result is not recorded."""
    differing: Sequence[Shadowed]
    """The worst first."""
    failed: Mapping[str, str]
    """Executions that could not be looked at, and why."""


class Life(NamedTuple):
    """What is known of an execution that is to be lived again."""

    execution_id: UUID
    workflow: str
    trigger: str | None
    started_at: datetime
    events: Sequence[e.Event]
    base: State = INITIAL
    """Where a fork goes on from."""
    later: Mapping[str, Plan] = NO_OTHER
    """The plans that it was migrated to, by hash."""


def shadowed(
    life: Life,
    old: Plan,
    new: Plan,
    *,
    missing: Missing,
    until: datetime,
    check_input: Callable[[Plan, Any], None],
) -> Shadowed:
    """Live it again under `new`, and compare.

    `old` is what it was pinned to at its begin; `until` is the time at which the log was read. Raises SubjectForgotten.
    """
    check_values(life.events, life.base)
    tape = Tape(old, life.events, life.base, life.later)
    was = outcome([event for each in tape.decisions for event in each.events], tape.final, tape.sent.values())
    found = Shadowed(
        execution_id=life.execution_id,
        workflow=life.workflow,
        trigger=life.trigger,
        started_at=life.started_at,
        recorded=was["status"],
        shadow="",
        severity="critical",
    )
    try:
        lived = live(tape, new, missing=missing, until=until, check_input=check_input)
    except (InvalidInput, Rejected) as error:
        return replace(found, reason=f"it would not begin: {error}")
    except (TypeError, KeyError) as error:
        return replace(found, reason=f"the state does not fit the definition: {error}")
    return _compared(found, was, lived, stops=missing == "stop")


def _compared(found: Shadowed, was: Outcome, lived: Lived, *, stops: bool) -> Shadowed:
    now = outcome(lived.events, lived.state, lived.sent)
    stopped = bool(lived.missing) and stops
    parts = [each for each in differences(was, now) if not (stopped and _not_reached(each))]
    parts.sort(key=lambda each: each.place[0] not in RESULT)
    begun = {address for address, step in was["steps"].items() if step.get("status") != "skipped"}
    begins = {address for address, step in now["steps"].items() if step.get("status") != "skipped"}
    return replace(
        found,
        shadow=now["status"],
        severity=_severity(was, now, parts, stopped=stopped),
        reason=_reason(was, now, parts, lived, stopped=stopped),
        differences=[_change(each) for each in parts[:MOST_TOLD]],
        differs_in=len(parts),
        ran=sorted(begins - begun),
        not_run=[] if stopped else sorted(begun - begins),
        not_recorded=lived.missing,
        assumed=lived.assumed,
        refused=lived.refused,
    )


def _not_reached(difference: Difference) -> bool:
    """Tell whether it only says that the shadow has not come as far."""
    return difference.place[0] in RESULT or difference.after is UNSET or difference.place[-1] == "status"


def _severity(
    was: Mapping[str, Any], now: Mapping[str, Any], parts: Sequence[Difference], *, stopped: bool
) -> Severity:
    if not stopped and was["status"] == "completed" and now["status"] == "failed":
        return "critical"
    if stopped or any(each.place[0] in RESULT for each in parts):
        return "major"
    return "minor" if parts else "none"


def _reason(was: Outcome, now: Outcome, parts: Sequence[Difference], lived: Lived, *, stopped: bool) -> str:
    """Tell the difference in a sentence."""
    if stopped:
        return f"it comes to {', '.join(lived.missing)}, which the log has no result for"
    if was["status"] != now["status"]:
        why = f": {now['error']['message']}" if now["error"] else ""
        waits = f", waiting for a {now['waits_for']}" if now["waits_for"] else ""
        return f"it was {was['status']}, and would be {now['status']}{why}{waits}"
    if not parts:
        return ""
    names = list(dict.fromkeys(_named(each.place) for each in parts))
    more = f" and {len(names) - 3} more" if len(names) > 3 else ""  # noqa: PLR2004  those that are named
    return f"another {', '.join(names[:3])}{more}"


def _line(change: Change) -> str:
    values = [json.dumps(value, ensure_ascii=False, default=str) for value in _sides(change)]
    return f"{change.field}: {change.change} {' → '.join(values)}"


def _sides(change: Change) -> list[Any]:
    return [value for value in (change.recorded, change.shadow) if value is not UNSET]


def _named(place: Place) -> str:
    match place:
        case ("sent", address, *_):
            return f"input of {address}"
        case ("steps", address, *_):
            return f"end of {address}"
        case ("variables", name, *_):
            return f"variable {name}"
        case _:
            return dotted(place[:1])


def _change(difference: Difference) -> Change:
    return Change(dotted(difference.place), difference.operation, difference.before, difference.after)


def report(found: Iterable[Shadowed], failed: Mapping[str, str]) -> ShadowReport:
    """Count them."""
    whole = list(found)
    differing = [each for each in whole if each.severity != "none"]
    return ShadowReport(
        checked=len(whole),
        by_severity={severity: sum(each.severity == severity for each in whole) for severity in SEVERITIES},
        by_node=_counted(_nodes(each) for each in differing),
        not_recorded=_counted({node_of(address) for address in each.not_recorded} for each in differing),
        differing=sorted(differing, key=lambda each: (-SEVERITIES.index(each.severity), each.started_at)),
        failed=failed,
    )


def _nodes(found: Shadowed) -> set[str]:
    """Return the nodes of which something differs."""
    changed = {each.field.split(".", 1)[1] for each in found.differences if each.field.startswith(("steps.", "sent."))}
    addresses = {*found.ran, *found.not_run, *found.not_recorded}
    return {node_of(address) for address in addresses} or {part.partition(".")[0] for part in changed}


def _counted(names: Iterable[set[str]]) -> Mapping[str, int]:
    whole = [name for each in names for name in each]
    return {name: whole.count(name) for name in sorted(set(whole))}


def junit(found: ShadowReport) -> str:
    """Return the report as JUnit XML, a test case for each execution whose shadow differs."""
    cases = [
        Case(
            workflow=each.workflow,
            name=str(each.execution_id),
            kind=each.severity,
            message=each.reason,
            text="\n".join(_line(part) for part in each.differences),
        )
        for each in found.differing
    ]
    return suite("sagad replay", found.checked, cases, found.failed)
