"""What retention would do, has done, and has deleted, as the API and the CLI show it.

Comes from: daemon/api, daemon/cli. Goes to: `expiry`, eventstore/deletions.
"""

from __future__ import annotations

from collections import Counter
from typing import TYPE_CHECKING, Any

from msgspec.structs import asdict

from daemon.runtime.views import row_view

if TYPE_CHECKING:
    from collections.abc import Callable

    from daemon.runtime.expiry import Expired, Expiry
    from daemon.settings_retention import Retention, RetentionRule
    from eventstore.deletions import Deleted
    from eventstore.index import Index

SHOWN = 100
"""Of the executions that stay though a rule would let them go, the oldest."""
ENDS = frozenset({"completed", "failed", "cancelled"})


async def plan_view(
    expiry: Expiry,
    index: Index,
    retention: Retention,
    *,
    most: int | None = None,
    told: Callable[[int], None] = lambda _seen: None,
) -> dict[str, Any]:
    """Return what would go now, by rule, and what stays though it is old enough, and why. Changes nothing.

    Of the rules that definitions have, those are shown by which something would go, or stays all the same.

    With `most` so many are looked at, and `more` says whether there are others; `told` hears how many were.
    """
    going: Counter[RetentionRule] = Counter()
    looked_at: dict[RetentionRule, str] = dict.fromkeys(retention.rules, "settings")
    kept: Counter[str] = Counter()
    staying: list[dict[str, Any]] = []
    seen, more = 0, False
    async for due in expiry.due():
        if more := most is not None and seen >= most:
            break
        seen += 1
        told(seen)
        looked_at.setdefault(due.rule, "definition")
        if not due.why:
            going[due.rule] += 1
            continue
        kept[due.why] += 1
        if len(staying) < SHOWN:
            staying.append({**row_view(due.row), "why": due.why})
    counts = await index.counts()
    return {
        "archive": retention.archive,
        "rules": [
            {
                "workflow": rule.workflow,
                "status": rule.status or sorted(ENDS),
                "keep": rule.keep,
                "archive": rule.archive,
                "said_by": said_by,
                "going": going[rule],
            }
            for rule, said_by in looked_at.items()
        ],
        "going": going.total(),
        "kept": _kept(kept),
        "staying": staying,
        "open": sum(count for (_, status), count in counts.items() if status not in ENDS),
        "ended": sum(count for (_, status), count in counts.items() if status in ENDS),
        "more": more,
    }


def expired_view(done: Expired) -> dict[str, Any]:
    """Return what was done."""
    return {"deleted": done.deleted, "archived": done.archived, "kept": _kept(done.kept)}


def deleted_view(known: Deleted) -> dict[str, Any]:
    """Return what is known of an execution that was deleted."""
    view = asdict(known)
    del view["restored_at"]
    return view


def _kept(kept: Counter[str]) -> list[dict[str, Any]]:
    return [{"why": why, "executions": count} for why, count in kept.most_common()]
