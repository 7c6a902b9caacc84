"""What another definition would have decided about executions that there are. Pure.

An execution is pinned to its definition, so a change never breaks one that is under way; but whoever wants to move it,
or to know what a change means, asks here: what was decided is decided again (see daemon/core/redeciding), and where the
two part is told, with how much that matters.

Comes from: `histories_checked`, daemon/cli. Goes to: daemon/core/redeciding.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import datetime
from typing import TYPE_CHECKING, Any, Literal
from uuid import UUID

import msgspec
from msgspec import Struct
from msgspec.structs import replace

from daemon.core import events as e
from daemon.core.address import node_of
from daemon.core.redeciding import NO_NAMES, divergence
from daemon.core.state import INITIAL, State
from daemon.core.subjects import GONE, SubjectForgotten
from daemon.runtime.junit import Case, suite

if TYPE_CHECKING:
    from collections.abc import Iterable

    from daemon.core.plan import Plan
    from daemon.core.redeciding import Divergence

Severity = Literal["none", "minor", "major", "critical"]
SEVERITIES: tuple[Severity, ...] = ("none", "minor", "major", "critical")
ACTIONS: Mapping[Severity, str] = {
    "none": "goes on with either definition",
    "minor": "another time or text: goes on with either definition, if that does not matter",
    "major": "another way: leave it to its definition, or fork it before the step",
    "critical": "nothing can go on from there: leave it to its definition until it has ended",
}
_TIMES = (e.TimerSet, e.TimerCancelled, e.OutputsReleased)
"""Events that differ without anything else being done."""


class Verdict(Struct, frozen=True, kw_only=True):
    """What another definition means for one execution."""

    execution_id: UUID
    workflow: str
    status: str
    severity: Severity
    action: str
    events: int
    """How many it has."""
    version: int | None = None
    """Of the first event that would have been another; None for none."""
    at: datetime | None = None
    step: str = ""
    recorded: Any = None
    """The event as it is in the log; None when there is none at this place."""
    found: Any = None
    """The event that the other definition decides; None when it decides none."""
    reason: str = ""


def verdict(
    execution_id: UUID,
    old: Plan,
    new: Plan,
    events: Sequence[e.Event],
    base: State = INITIAL,
    *,
    status: str,
    names: Mapping[str, str] = NO_NAMES,
) -> Verdict:
    """Decide the events again under the other definition; `base` is where a fork goes on from.

    `names` has the old and the new ids of nodes that have another there. Raises SubjectForgotten.
    """
    check_values(events, base)
    workflow = old.definition.workflow
    parted = None if old.hash == new.hash else divergence(old, new, events, base, names)
    same = Verdict(
        execution_id=execution_id,
        workflow=workflow,
        status=status,
        severity="none",
        action=ACTIONS["none"],
        events=len(events),
    )
    if parted is None:
        return same
    severity = _severity(parted)
    shown = parted.recorded or parted.found
    return replace(
        same,
        severity=severity,
        action=ACTIONS[severity],
        version=parted.version,
        at=shown.at if shown is not None else None,
        step=getattr(shown, "address", ""),
        recorded=_shown(parted.recorded),
        found=_shown(parted.found),
        reason=parted.reason or _reason(parted),
    )


def check_values(events: Sequence[e.Event], base: State) -> None:
    """Raise SubjectForgotten when there are no values to decide on."""
    subjects = (each.subject for each in events if isinstance(each, e.ExecutionStarted))
    if any(subject.startswith(GONE) for subject in (base.subject, *subjects)):
        raise SubjectForgotten


def _severity(parted: Divergence) -> Severity:
    if parted.reason:
        return "critical"
    recorded, found = parted.recorded, parted.found
    if isinstance(recorded, _TIMES) or isinstance(found, _TIMES):
        return "minor"
    if isinstance(recorded, e.StepFailed) and isinstance(found, e.StepFailed):
        return "minor" if (recorded.retry_at is None) == (found.retry_at is None) else "major"
    return "major"


def _reason(parted: Divergence) -> str:
    """Tell the difference in a sentence."""
    recorded, found = parted.recorded, parted.found
    if recorded is None:
        return f"the other definition decides one thing more: {_named(found)}"
    if found is None:
        return f"the other definition does not decide this: {_named(recorded)}"
    if type(recorded) is not type(found) or _address(recorded) != _address(found):
        return f"it was {_named(recorded)}, and would be {_named(found)}"
    was, now = _shown(recorded), _shown(found)
    names = ", ".join(sorted(name for name in {*was, *now} if was.get(name) != now.get(name) and name != "event"))
    return f"{_named(recorded)} has another {names}"


def _named(event: e.Event | None) -> str:
    return "" if event is None else " ".join(part for part in (event.NAME, _address(event)) if part)


def _address(event: e.Event) -> str:
    address: str = getattr(event, "address", "") or getattr(event, "timer_id", "")
    return address


def _shown(event: e.Event | None) -> dict[str, Any]:
    if event is None:
        return {}
    return {"event": event.NAME, **msgspec.json.decode(msgspec.json.encode(event))}


class Report(Struct, frozen=True, kw_only=True):
    """What another definition means for many."""

    checked: int
    by_severity: Mapping[str, int]
    by_node: Mapping[str, int]
    """Of those that part: at which node."""
    parted: Sequence[Verdict]
    """The worst first."""
    failed: Mapping[str, str]
    """Executions that could not be looked at, and why."""


def report(verdicts: Iterable[Verdict], failed: Mapping[str, str]) -> Report:
    """Count the verdicts."""
    whole = list(verdicts)
    parted = [each for each in whole if each.severity != "none"]
    nodes = [node_of(each.step) or "the execution" for each in parted]
    return Report(
        checked=len(whole),
        by_severity={severity: sum(each.severity == severity for each in whole) for severity in SEVERITIES},
        by_node={name: nodes.count(name) for name in sorted(set(nodes))},
        parted=sorted(parted, key=lambda each: (-SEVERITIES.index(each.severity), each.execution_id)),
        failed=failed,
    )


def junit(found: Report) -> str:
    """Return the report as JUnit XML, a test case for each execution that parts, for CI pipelines."""
    cases = [
        Case(
            each.workflow,
            str(each.execution_id),
            each.severity,
            each.reason,
            f"at version {each.version}, step {each.step or '-'}: {each.action}",
        )
        for each in found.parted
    ]
    return suite("sagad check", found.checked, cases, found.failed)
